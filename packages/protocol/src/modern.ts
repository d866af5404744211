import { errorCode } from './message.ts'
import {
  DuplicateMember,
  readString,
  readUnambiguous,
  writeObject,
  type RawObject,
} from './json/raw-object.ts'
import { modernVersion } from './versions.ts'

/**
 * Keys of the envelope in `params._meta` of each modern request (MCP 2026-07-28, basic/index,
 * `_meta`).
 */
export const metaKey = {
  protocolVersion: 'io.modelcontextprotocol/protocolVersion',
  clientCapabilities: 'io.modelcontextprotocol/clientCapabilities',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  logLevel: 'io.modelcontextprotocol/logLevel',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const

/**
 * The headers of a request, from which its era is read, as Node gives them. An absent header is
 * undefined.
 */
export type EraHeaders = Readonly<Record<string, string | string[] | undefined>>

/** Joins repeated headers, so that they match nothing. */
function headerOf(headers: EraHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/** A refusal that the specification defines: HTTP status and JSON-RPC error. */
export interface Refusal {
  readonly status: number
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/**
 * A tool argument that a header repeats (`x-mcp-header`; MCP 2026-07-28, transports, custom
 * headers).
 */
export interface DeclaredHeader {
  /** Lower case: `mcp-param-region`. */
  readonly header: string
  readonly path: readonly string[]
}

/** A request of 2026-07-28 with valid envelope and headers. The id and the members are raw JSON. */
export interface ModernRequest {
  readonly id: string
  readonly method: string
  /** Has `_meta` only if that is the text of `meta`, which counts. */
  readonly params: RawObject
  readonly meta: RawObject
  /**
   * Says how `Mcp-Param-*` headers and arguments disagree; undefined for requests without headers.
   */
  readonly paramHeaderMistake?: (declared: readonly DeclaredHeader[]) => string | undefined
  /** The arguments to repeat in headers, for a request that the translation itself makes. */
  readonly declaredHeaders?: readonly DeclaredHeader[]
}

/** The parameters of a request as a server gets them. */
export function paramsWithMeta({ meta, params }: Pick<ModernRequest, 'meta' | 'params'>): string {
  return writeObject(params.has('_meta') ? params : new Map(params).set('_meta', writeObject(meta)))
}

export type Classified =
  | { readonly era: 'legacy' }
  | { readonly era: 'modern'; readonly request: ModernRequest }
  /** A notification. The modern era has no use for notifications over HTTP. */
  | { readonly era: 'modern'; readonly request: undefined }
  | { readonly era: 'modern'; readonly refusal: Refusal; readonly id: string | undefined }

/**
 * The parameter with the subject of a request, which `Mcp-Name` repeats (MCP 2026-07-28,
 * transports, standard headers).
 */
const nameOf: Readonly<Record<string, string>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
}

const levels = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency']

/** The gravity of a log level, from 0 for `debug`; undefined if the text is not a log level. */
export function gravity(level: string | undefined): number | undefined {
  const index = level === undefined ? -1 : levels.indexOf(level)
  return index === -1 ? undefined : index
}

/**
 * Tells whether a POST needs `classify`: most are legacy, and this quick check shows it. `body` is
 * valid JSON.
 */
export function mayBeModern(body: Uint8Array, headers: EraHeaders): boolean {
  const header = headerOf(headers, 'mcp-protocol-version')
  return (
    (header !== undefined && header >= modernVersion) ||
    Buffer.from(body.buffer, body.byteOffset, body.length).includes(metaKey.protocolVersion)
  )
}

/**
 * Finds the era of a POST in its body (valid JSON); headers are a cross-check. Malformed modern
 * claims never count as legacy. (MCP 2026-07-28, versioning; the ladder of the official server SDK)
 * @throws DuplicateMember
 */
export function classify(body: string, headers: EraHeaders): Classified {
  const header = headerOf(headers, 'mcp-protocol-version')
  const headerIsModern =
    header !== undefined && header >= modernVersion && /^\d{4}-\d{2}-\d{2}$/.test(header)

  const message = readUnambiguous(body)
  if (message === undefined) {
    if (!headerIsModern) return { era: 'legacy' }
    return refuse(
      undefined,
      errorCode.invalidRequest,
      'The body must be one JSON-RPC request or notification.',
    )
  }

  const method = readString(message.get('method'))
  const id = message.get('id')
  const params = readUnambiguous(message.get('params'))
  const meta = readUnambiguous(params?.get('_meta'))

  const claimed = meta?.get(metaKey.protocolVersion)
  if (method === undefined || (claimed === undefined && !headerIsModern)) {
    if (!headerIsModern) return { era: 'legacy' }
    return refuse(
      id,
      errorCode.invalidRequest,
      'The body must be a JSON-RPC request or notification; answers travel in a retry.',
    )
  }

  if (id === undefined) return { era: 'modern', request: undefined }
  if (id === 'null' || !/^["\-\d]/.test(id))
    return refuse(undefined, errorCode.invalidRequest, 'The id must be a string or a number.')

  const mistake = envelopeMistake(meta)
  if (mistake !== undefined) return refuse(id, errorCode.invalidParams, mistake)

  const version = readString(claimed)
  if (params === undefined || meta === undefined || version === undefined)
    return refuse(id, errorCode.invalidParams, 'params._meta is missing.')

  const disagreement = headerMistake(headers, version, method, params)
  if (version !== modernVersion && header === version) {
    const message = `The protocol version ${version.slice(0, 50)} is not supported.`
    return refuse(id, errorCode.unsupportedVersion, message, {
      supported: [modernVersion],
      requested: version,
    })
  }

  if (disagreement !== undefined)
    return refuse(id, errorCode.headerMismatch, `Bad Request: ${disagreement}`)

  return { era: 'modern', request: { id, method, params, meta } }
}

/**
 * As `classify`, for code that answers the request: refuses a repeated member instead of throwing.
 */
export function classifyRequest(body: string, headers: EraHeaders): Classified {
  try {
    return classify(body, headers)
  } catch (error) {
    if (!(error instanceof DuplicateMember)) throw error
    return refuse(undefined, errorCode.invalidRequest, error.message)
  }
}

function refuse(id: string | undefined, code: number, message: string, data?: unknown): Classified {
  return {
    era: 'modern',
    id,
    refusal: { status: 400, code, message, ...(data === undefined ? {} : { data }) },
  }
}

function envelopeMistake(meta: RawObject | undefined): string | undefined {
  const missing = [metaKey.protocolVersion, metaKey.clientCapabilities].filter(
    (key) => meta?.get(key) === undefined,
  )
  if (missing.length > 0) return `Invalid params: _meta lacks ${missing.join(' and ')}.`
  if (readString(meta?.get(metaKey.protocolVersion)) === undefined)
    return `Invalid params: _meta ${metaKey.protocolVersion} must be a string.`
  for (const key of [metaKey.clientCapabilities, metaKey.clientInfo]) {
    const value = meta?.get(key)
    if (value !== undefined && !value.startsWith('{'))
      return `Invalid params: _meta ${key} must be an object.`
  }
  const level = meta?.get(metaKey.logLevel)
  if (level !== undefined && gravity(readString(level)) === undefined)
    return `Invalid params: _meta ${metaKey.logLevel} is no log level.`
  return undefined
}

function headerMistake(
  headers: EraHeaders,
  version: string,
  method: string,
  params: RawObject,
): string | undefined {
  const versionHeader = headerOf(headers, 'mcp-protocol-version')
  const methodHeader = headerOf(headers, 'mcp-method')
  const nameHeader = headerOf(headers, 'mcp-name')
  if (versionHeader === undefined) return 'the header MCP-Protocol-Version is required.'
  if (versionHeader !== version)
    return 'the header MCP-Protocol-Version and _meta name different versions.'
  if (methodHeader === undefined) return 'the header Mcp-Method is required.'
  if (methodHeader.trim() !== method)
    return 'the header Mcp-Method and the body name different methods.'

  const field = Object.hasOwn(nameOf, method) ? nameOf[method] : undefined
  const name = field === undefined ? undefined : readString(params.get(field))
  if (name === undefined) return undefined
  if (nameHeader === undefined) return `the header Mcp-Name is required for ${method}.`

  return decodeHeaderValue(nameHeader.trim()) === name
    ? undefined
    : `the header Mcp-Name and params.${field} differ.`
}

const encodedStart = '=?base64?'
const encodedEnd = '?='

/**
 * Writes a text as the value of `Mcp-Name` or `Mcp-Param-*`: plain ASCII as it is, other text in
 * base64 (MCP 2026-07-28, transports).
 */
export function encodeHeaderValue(text: string): string {
  const plain =
    /^[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?$/.test(text) &&
    !(text.startsWith(encodedStart) && text.endsWith(encodedEnd))
  return plain ? text : `${encodedStart}${Buffer.from(text).toString('base64')}${encodedEnd}`
}

/** Reads the text of a header value; undefined if its base64 is malformed. */
export function decodeHeaderValue(value: string): string | undefined {
  if (!value.startsWith(encodedStart) || !value.endsWith(encodedEnd)) return value
  const encoded = value.slice(encodedStart.length, -encodedEnd.length)
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded))
    return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(encoded, 'base64'),
    )
  } catch {
    return undefined
  }
}

/**
 * The name that `Mcp-Name` must carry for a request; undefined if the request needs no such header.
 */
export function headerName(method: string, params: RawObject): string | undefined {
  return Object.hasOwn(nameOf, method)
    ? readString(params.get(nameOf[method] as string))
    : undefined
}

/**
 * The HTTP status for the JSON-RPC error of a server whose transport gave none (stdio). Without an
 * error, the status is 200.
 */
export function statusOf(code: number | undefined): number {
  if (code === undefined) return 200
  if (code === errorCode.methodNotFound) return 404
  const bad: readonly number[] = [
    errorCode.headerMismatch,
    errorCode.missingCapability,
    errorCode.unsupportedVersion,
    errorCode.invalidRequest,
    errorCode.parse,
  ]
  return bad.includes(code) ? 400 : 200
}
