/**
 * Decodes UTF-8. Undefined when the bytes are no text, or hold a NUL, which no environment variable
 * can hold.
 */
export function decodedText(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
