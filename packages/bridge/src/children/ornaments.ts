/** Bytes. Longer ornaments are not looked for. */
const longestHead = 4096
const longestTail = 256

const sequence = String.raw`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)`
const blank = String.raw`[\x00-\x1a\x1c-\x20]`
const head = new RegExp(String.raw`^(?:\xef\xbb\xbf|${sequence}|${blank})*`)
const tail = new RegExp(String.raw`(?:${sequence}|${blank})*$`)

/**
 * A server's line without the ornaments that tools put around JSON: blanks, a byte order mark, and
 * escape sequences for terminal colours.
 */
export function withoutOrnaments(line: Uint8Array): Uint8Array {
  if (opens(line[0]) && closes(line[line.length - 1])) return line

  const start = head.exec(latin1(line.subarray(0, longestHead)))?.[0].length ?? 0
  const rest = line.subarray(start)
  const end = tail.exec(latin1(rest.subarray(-longestTail)))?.[0].length ?? 0
  return rest.subarray(0, rest.length - end)
}

function opens(byte: number | undefined): boolean {
  return byte === 0x7b || byte === 0x5b
}

function closes(byte: number | undefined): boolean {
  return byte === 0x7d || byte === 0x5d
}

/** One character for each byte, so that positions in the text are positions in the bytes. */
function latin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
}
