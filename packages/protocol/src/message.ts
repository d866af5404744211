import { eachMember, sliceText, valueAt, type Slice } from './json/json-slice.ts'

/** The parts of a JSON-RPC message that routing needs. The rest stays bytes. */
export interface MessageOutline {
  /**
   * The raw text of the id: `1`, `"a"`, `null`. Opaque: 0, "" and integers beyond 2^53 are ids too.
   */
  readonly id: string | undefined
  readonly idSlice: Slice | undefined
  readonly method: string | undefined
  readonly paramsSlice: Slice | undefined
  readonly isResponse: boolean
  /** The place after the message; undefined if the message is incomplete. */
  readonly end: number | undefined
}

/** Outlines the JSON-RPC message in the bytes, which hold valid JSON. */
export function outline(
  bytes: Uint8Array,
  within: Slice = { start: 0, end: bytes.length },
): MessageOutline {
  let idSlice: Slice | undefined
  let method: string | undefined
  let paramsSlice: Slice | undefined
  let isResponse = false

  const stop = eachMember(bytes, within, (name, value) => {
    if (name === 'id') idSlice = value
    else if (name === 'method') method = textOf(bytes, value)
    else if (name === 'params') paramsSlice = value
    else if (name === 'result' || name === 'error') isResponse = true
  })

  return {
    id: idSlice === undefined ? undefined : sliceText(bytes, idSlice),
    idSlice,
    method,
    paramsSlice,
    isResponse: isResponse && method === undefined,
    end: bytes[stop] === 0x7d ? stop + 1 : undefined,
  }
}

/** The string that a slice holds, or undefined if it holds another value. */
function textOf(bytes: Uint8Array, slice: Slice): string | undefined {
  const raw = sliceText(bytes, slice)
  if (!raw.startsWith('"')) return undefined
  return raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1)
}

/**
 * One key for each id or token, in any spelling: servers answer `"a\/b"` with `"a/b"` and `1.0`
 * with `1`. Numbers count as decimals: 2^53 and 2^53 + 1 are one double but two ids.
 */
export function idKey(raw: string): string {
  if (raw.startsWith('"')) return isPlainText.test(raw) ? raw : JSON.stringify(JSON.parse(raw))
  return raw.length < 16 && isPlainInteger.test(raw) ? raw : decimalKey(raw)
}
const isPlainText = /^"[^\\\u007f-\uffff]*"$/
const isPlainInteger = /^(0|-?[1-9]\d*)$/

/** Most characters of a number that is an id. Longer numbers take too much time to compute with. */
const longestNumber = 64

/**
 * Writes a JSON number in one form only: `12e3` is `12000`, `-0` is `0`. A number that is too long
 * for an id stays as it is.
 */
function decimalKey(raw: string): string {
  if (raw.length > longestNumber) return raw
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(raw)
  if (parts === null) return raw
  const [, sign = '', whole = '', fraction = '', power = '0'] = parts

  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  if (digits === '') return '0'
  const significant = digits.replace(/0+$/, '')
  const exponent =
    BigInt(power) - BigInt(fraction.length) + BigInt(digits.length - significant.length)
  const short = exponent >= 0n && exponent <= 30n

  return short
    ? `${sign}${significant}${'0'.repeat(Number(exponent))}`
    : `${sign}${significant}e${exponent}`
}

/**
 * Tells whether two ids or tokens are equal to servers that read numbers as doubles, as most do.
 */
export function sameToServers(one: string, other: string): boolean {
  return (
    one === other ||
    idKey(one) === idKey(other) ||
    (!one.startsWith('"') && Number(one) === Number(other))
  )
}

/** Tells whether servers that read numbers as doubles, as most do, return an id unchanged. */
export function survivesDoubles(id: string): boolean {
  if (id.startsWith('"')) return true

  // Doubles may lose a fraction or an exponent: `1e-400` is 0, and `1.00000000000000001` is 1.
  const read = Number(id)
  return Number.isSafeInteger(read) && idKey(id) === idKey(String(read))
}

/**
 * Tells whether a value can be an id or a progress token: a string, `null`, or a number of at most
 * 64 characters. Readers round or cut longer numbers, and respell other values.
 */
export function isIdValue(raw: string): boolean {
  return (
    raw.startsWith('"') || raw === 'null' || (raw.length <= longestNumber && /^[-\d]/.test(raw))
  )
}

/** The raw progress token of a request (`params._meta.progressToken`). */
export function requestedProgressToken(
  bytes: Uint8Array,
  { paramsSlice }: MessageOutline,
): Slice | undefined {
  return paramsSlice === undefined
    ? undefined
    : valueAt(bytes, ['_meta', 'progressToken'], paramsSlice)
}

/** The raw progress token of a `notifications/progress`. */
export function notifiedProgressToken(
  bytes: Uint8Array,
  { paramsSlice }: MessageOutline,
): Slice | undefined {
  return paramsSlice === undefined ? undefined : valueAt(bytes, ['progressToken'], paramsSlice)
}

export const errorCode = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  sessionNotFound: -32001,
  /** Resource not found, up to 2025-11-25; later versions say invalid params. */
  resourceNotFound: -32002,
  /** From 2026-07-28 on. */
  headerMismatch: -32020,
  missingCapability: -32021,
  unsupportedVersion: -32022,
  /** In 2025-11-25 only. */
  urlElicitationRequired: -32042,
  /** The code of language servers (LSP 3.17). MCP names no code. */
  requestCancelled: -32800,
} as const

/**
 * Tells whether sliced text may be passed on as JSON. Full parsing costs too much for each message,
 * so this looks only for numbers that JSON lacks, the mistake of JSON writers.
 */
export function hasJsonNumbers(text: string | Buffer): boolean {
  if (!text.includes('NaN') && !text.includes('Infinity')) return true
  try {
    JSON.parse(text.toString())
    return true
  } catch {
    return false
  }
}

/** The answer to a `ping`. `id` is raw JSON. */
export function emptyAnswer(id: string): string {
  return `{"jsonrpc":"2.0","id":${id},"result":{}}`
}

/** A JSON-RPC error answer. `id` is raw JSON. */
export function errorAnswer(
  id: string | undefined,
  code: number,
  message: string,
  data?: unknown,
): string {
  const tail = data === undefined ? '' : `,"data":${JSON.stringify(data)}`
  return `{"jsonrpc":"2.0","id":${id ?? 'null'},"error":{"code":${code},"message":${JSON.stringify(message)}${tail}}}`
}

/**
 * The `data` of an error answer, for an error with a stable code. Stable codes are in lower case.
 */
export function errorData(error: object): object | undefined {
  const { code, retry } = error as { readonly code?: unknown; readonly retry?: unknown }
  if (typeof code !== 'string' || !/^[a-z]/.test(code)) return undefined
  return { code, ...(typeof retry === 'boolean' ? { retryable: retry } : {}) }
}
