import { eachMember, sliceText, valueAt, type Slice } from './json-slice.ts'

/** What routing needs to know of a JSON-RPC message; the rest of it stays bytes. */
export interface MessageOutline {
  /** The raw text of the id: `1`, `"a"`, `null`. Opaque: 0, "" and integers beyond 2^53 are ids like any other. */
  readonly id: string | undefined
  readonly idSlice: Slice | undefined
  readonly method: string | undefined
  readonly paramsSlice: Slice | undefined
  readonly isResponse: boolean
  /** The place after the message; undefined when it is not whole. */
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
 * The same text for every way to write one id or token, and another text for every other id:
 * servers answer `"a\/b"` with `"a/b"` and `1.0` with `1`. Numbers are compared as decimals, since
 * 2^53 and 2^53 + 1 are one double but two ids.
 */
export function idKey(raw: string): string {
  if (raw.startsWith('"')) return isPlainText.test(raw) ? raw : JSON.stringify(JSON.parse(raw))
  return raw.length < 16 && isPlainInteger.test(raw) ? raw : decimalKey(raw)
}
const isPlainText = /^"[^\\\u007f-\uffff]*"$/
const isPlainInteger = /^(0|-?[1-9]\d*)$/

/** No number that is an id is longer: computing with longer ones takes too much time. */
const longestNumber = 64

/**
 * A JSON number without the freedom to write it in several ways: `12e3` is `12000`, `-0` is `0`.
 * A longer number stays as it is.
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

/** Whether two ids or tokens are one to a server that reads numbers as doubles, as most do. */
export function sameToServers(one: string, other: string): boolean {
  return (
    one === other ||
    idKey(one) === idKey(other) ||
    (!one.startsWith('"') && Number(one) === Number(other))
  )
}

/** Whether servers that read numbers as doubles, as most do, give an id back as it was. */
export function survivesDoubles(id: string): boolean {
  if (id.startsWith('"')) return true

  // A fraction or an exponent may vanish: `1e-400` is 0 to them, and `1.00000000000000001` is 1.
  const read = Number(id)
  return Number.isSafeInteger(read) && idKey(id) === idKey(String(read))
}

/**
 * Whether a value can be an id or a progress token: a string, `null`, or a number of reasonable
 * length. Readers round or cut longer numbers, and give other values back in their own spelling.
 */
export function isIdValue(raw: string): boolean {
  return (
    raw.startsWith('"') || raw === 'null' || (raw.length <= longestNumber && /^[-\d]/.test(raw))
  )
}

/** The raw progress token that a request asks with (`params._meta.progressToken`). */
export function requestedProgressToken(
  bytes: Uint8Array,
  { paramsSlice }: MessageOutline,
): Slice | undefined {
  return paramsSlice === undefined
    ? undefined
    : valueAt(bytes, ['_meta', 'progressToken'], paramsSlice)
}

/** The raw progress token that a `notifications/progress` carries. */
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
  /** As language servers say it (LSP 3.17); MCP names no code. */
  requestCancelled: -32800,
} as const

/**
 * Whether text that is cut like JSON may be passed on as JSON. A whole look costs too much for each
 * message, so only the mistakes that JSON writers make are looked for: the numbers that JSON lacks.
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

/** The `data` of an error answer, for an error with a stable code: those are in lower case. */
export function errorData(error: object): object | undefined {
  const { code, retry } = error as { readonly code?: unknown; readonly retry?: unknown }
  if (typeof code !== 'string' || !/^[a-z]/.test(code)) return undefined
  return { code, ...(typeof retry === 'boolean' ? { retryable: retry } : {}) }
}
