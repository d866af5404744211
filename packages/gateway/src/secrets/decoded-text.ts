/** Bytes as the text that they are; undefined for what is none, or none that a variable of an environment can hold. */
export function decodedText(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
