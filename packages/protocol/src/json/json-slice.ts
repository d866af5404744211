/**
 * Finds members of JSON objects in raw bytes without building values, so that forwarded bytes keep
 * big integers, key order and escapes. Results mean nothing unless the JSON is valid (RFC 8259).
 */

/** A part of the bytes, from `start`, inclusive, to `end`, exclusive. */
export interface Slice {
  readonly start: number
  readonly end: number
}

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from
  while (isSpace(bytes[at])) at += 1
  return at
}

/** The place after the string that begins at `from`. */
function skipString(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(quote, from + 1); at !== -1; at = bytes.indexOf(quote, at + 1)) {
    let slashes = at - 1
    while (bytes[slashes] === backslash) slashes -= 1
    // An even number of backslashes before the quote escape each other.
    if (((at - slashes) & 1) === 1) return at + 1
  }
  return bytes.length
}

/** The place after the value that begins at `from`. */
function skipValue(bytes: Uint8Array, from: number): number {
  const first = bytes[from]
  if (first === quote) return skipString(bytes, from)
  let at = from
  if (first !== openBrace && first !== openBracket) {
    while (
      at < bytes.length &&
      !isSpace(bytes[at]) &&
      bytes[at] !== comma &&
      bytes[at] !== closeBrace &&
      bytes[at] !== closeBracket
    )
      at += 1
    return at
  }
  return nestedEnd(bytes, from) ?? bytes.length
}

/** The place after the object or array that begins at `from`; undefined if it does not end. */
export function nestedEnd(bytes: Uint8Array, from: number): number | undefined {
  let depth = 0
  let at = from
  while (at < bytes.length) {
    const byte = bytes[at]
    if (byte === quote) {
      at = skipString(bytes, at)
      continue
    }
    if (byte === openBrace || byte === openBracket) depth += 1
    else if (byte === closeBrace || byte === closeBracket) depth -= 1
    at += 1
    if (depth === 0) return at
  }
  return undefined
}

/**
 * Visits the members of the object at `slice` in order, until `visit` returns true. Returns the
 * place where it stopped: the closing brace if it has visited a complete object.
 */
export function eachMember(
  bytes: Uint8Array,
  slice: Slice,
  visit: (name: string, value: Slice) => boolean | void,
): number {
  let at = skipSpace(bytes, slice.start)
  if (bytes[at] !== openBrace) return at

  at = skipSpace(bytes, at + 1)
  while (at < slice.end && bytes[at] === quote) {
    const nameEnd = skipString(bytes, at)
    const name = sliceText(bytes, { start: at + 1, end: nameEnd - 1 })
    const colonAt = skipSpace(bytes, nameEnd)
    if (bytes[colonAt] !== colon) return colonAt

    const start = skipSpace(bytes, colonAt + 1)
    const end = skipValue(bytes, start)
    if (
      visit(name.includes('\\') ? (JSON.parse(`"${name}"`) as string) : name, { start, end }) ===
      true
    )
      return end

    at = skipSpace(bytes, end)
    if (bytes[at] !== comma) return at

    at = skipSpace(bytes, at + 1)
  }

  return at
}

/** Tells whether an array stands at `slice`: a batch, if a message is expected there. */
export function isArray(
  bytes: Uint8Array,
  slice: Slice = { start: 0, end: bytes.length },
): boolean {
  return bytes[skipSpace(bytes, slice.start)] === openBracket
}

/** The elements of the array at `slice`; empty if there is no array. */
export function elements(bytes: Uint8Array, slice: Slice): Slice[] {
  const found: Slice[] = []
  let at = skipSpace(bytes, slice.start)
  if (bytes[at] !== openBracket) return found
  at = skipSpace(bytes, at + 1)
  while (at < slice.end && bytes[at] !== closeBracket) {
    const end = skipValue(bytes, at)
    found.push({ start: at, end })
    at = skipSpace(bytes, end)
    if (bytes[at] !== comma) break
    at = skipSpace(bytes, at + 1)
  }
  return found
}

/**
 * The value at a path of member names, or undefined. If a name stands twice, the first member
 * counts.
 */
export function valueAt(
  bytes: Uint8Array,
  path: readonly string[],
  within: Slice = { start: 0, end: bytes.length },
): Slice | undefined {
  let place: Slice | undefined = within
  for (const wanted of path) {
    const from: Slice = place
    place = undefined
    eachMember(bytes, from, (name, value) => {
      if (name !== wanted) return false
      place = value
      return true
    })
    if (place === undefined) return undefined
  }
  return place
}

/**
 * Copies the bytes with other bytes in place of the slices, which are in order and do not overlap.
 */
export function replaceSlices(
  bytes: Uint8Array,
  changes: readonly { readonly slice: Slice; readonly by: Uint8Array }[],
): Uint8Array {
  const length = changes.reduce(
    (sum, { slice, by }) => sum - (slice.end - slice.start) + by.length,
    bytes.length,
  )
  const result = new Uint8Array(length)
  let from = 0
  let to = 0

  for (const { slice, by } of changes) {
    result.set(bytes.subarray(from, slice.start), to)
    to += slice.start - from
    result.set(by, to)
    to += by.length
    from = slice.end
  }

  result.set(bytes.subarray(from), to)
  return result
}

/**
 * Puts JSON on one line (MCP stdio). Line breaks stand outside strings (RFC 8259 section 7) and
 * become spaces. NEL, LS and PS end lines for some readers, stand in strings only, and are escaped.
 */
export function onOneLine(bytes: Uint8Array): Uint8Array {
  const flat =
    bytes.includes(0x0a) || bytes.includes(0x0d)
      ? bytes.map((byte) => (byte === 0x0a || byte === 0x0d ? 0x20 : byte))
      : bytes
  const text = Buffer.from(flat.buffer, flat.byteOffset, flat.byteLength)
  if (!separators.some((separator) => text.includes(separator))) return flat

  return Buffer.from(
    text
      .toString()
      .replaceAll('\u0085', String.raw`\u0085`)
      .replaceAll('\u2028', String.raw`\u2028`)
      .replaceAll('\u2029', String.raw`\u2029`),
  )
}

/** NEL, LINE SEPARATOR (LS) and PARAGRAPH SEPARATOR (PS) in UTF-8. */
const separators = ['\u0085', '\u2028', '\u2029'].map((text) => Buffer.from(text))

/** Keeps a byte order mark inside a text, where it is a character like any other. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** The text of a slice, unchanged. */
export function sliceText(bytes: Uint8Array, { start, end }: Slice): string {
  // Ids and tokens are nearly always short ASCII. A decoder would cost more for them than the rest
  // of the outline.
  let text = ''
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number
    if (byte > 0x7f) return decoder.decode(bytes.subarray(start, end))
    text += String.fromCharCode(byte)
  }
  return text
}
