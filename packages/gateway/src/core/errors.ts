/**
 * Every error: stable code, HTTP status, JSON-RPC code (for MCP endpoints), title, safe to retry.
 * -32700…-32603 are JSON-RPC's own; MCP SDKs expect -32001 for an unknown session.
 */
const table = {
  invalid_json: { status: 400, rpc: -32700, title: 'The body is not valid JSON', retry: false },
  invalid_request: { status: 400, rpc: -32600, title: 'The request is not valid', retry: false },
  ambiguous_message: { status: 400, rpc: -32600, title: 'The message is ambiguous', retry: false },
  validation_failed: { status: 400, rpc: -32602, title: 'The request has mistakes', retry: false },
  unauthenticated: { status: 401, rpc: -32600, title: 'Authentication is required', retry: false },
  insufficient_scope: { status: 403, rpc: -32600, title: 'The token lacks a scope', retry: false },
  forbidden: { status: 403, rpc: -32600, title: 'Not allowed', retry: false },
  variable_not_allowed: {
    status: 403,
    rpc: -32600,
    title: 'A variable may not be set',
    retry: false,
  },
  caller_is_workload: {
    status: 403,
    rpc: -32600,
    title: 'Servers of the gateway are not callers',
    retry: false,
  },
  forwarded_request: {
    status: 403,
    rpc: -32600,
    title: 'The request came through a proxy',
    retry: false,
  },
  quota_exceeded: { status: 403, rpc: -32600, title: 'The quota is used up', retry: false },
  host_not_allowed: {
    status: 403,
    rpc: -32600,
    title: 'The Host header is not allowed',
    retry: false,
  },
  origin_not_allowed: {
    status: 403,
    rpc: -32600,
    title: 'The Origin header is not allowed',
    retry: false,
  },
  not_found: { status: 404, rpc: -32601, title: 'Not found', retry: false },
  session_not_found: { status: 404, rpc: -32001, title: 'Session not found', retry: false },
  method_not_allowed: { status: 405, rpc: -32600, title: 'Method not allowed', retry: false },
  not_acceptable: { status: 406, rpc: -32600, title: 'Not acceptable', retry: false },
  name_taken: { status: 409, rpc: -32600, title: 'The name is taken', retry: false },
  declared_in_file: {
    status: 409,
    rpc: -32600,
    title: 'A file declares the resource',
    retry: false,
  },
  secret_in_use: { status: 409, rpc: -32600, title: 'The secret is in use', retry: false },
  runs_elsewhere: { status: 409, rpc: -32600, title: 'It does not run here', retry: false },
  conflict: { status: 409, rpc: -32600, title: 'The resource changed meanwhile', retry: true },
  precondition_failed: {
    status: 412,
    rpc: -32600,
    title: 'The resource changed since it was read',
    retry: false,
  },
  body_too_large: { status: 413, rpc: -32600, title: 'The body is too large', retry: false },
  environment_too_large: {
    status: 413,
    rpc: -32600,
    title: 'The environment is too large',
    retry: false,
  },
  uri_too_long: { status: 414, rpc: -32600, title: 'The address is too long', retry: false },
  unsupported_media_type: {
    status: 415,
    rpc: -32600,
    title: 'Unsupported media type',
    retry: false,
  },
  share_used_up: {
    status: 429,
    rpc: -32600,
    title: 'The share of the caller is used up',
    retry: true,
  },
  too_many_requests: { status: 429, rpc: -32600, title: 'Too many requests', retry: true },
  headers_too_large: { status: 431, rpc: -32600, title: 'The headers are too large', retry: false },
  client_closed_request: {
    status: 499,
    rpc: -32603,
    title: 'The client closed the request',
    retry: false,
  },
  internal: { status: 500, rpc: -32603, title: 'Internal error', retry: false },
  upstream_unreachable: {
    status: 502,
    rpc: -32603,
    title: 'The server cannot be reached',
    retry: true,
  },
  upstream_failed: { status: 502, rpc: -32603, title: 'The server broke off', retry: false },
  upstream_not_mcp: {
    status: 502,
    rpc: -32603,
    title: 'The server does not speak MCP at this address',
    retry: false,
  },
  answer_dropped: {
    status: 502,
    rpc: -32603,
    title: 'The gateway has no room for the answer',
    retry: false,
  },
  upstream_redirects: {
    status: 502,
    rpc: -32603,
    title: 'The server answers with a redirect',
    retry: false,
  },
  upstream_untrusted: {
    status: 502,
    rpc: -32603,
    title: "The server's certificate is not trusted",
    retry: false,
  },
  endpoint_forbidden: {
    status: 502,
    rpc: -32603,
    title: 'The server is at an address that the gateway may not call',
    retry: false,
  },
  upstream_unauthorized: {
    status: 502,
    rpc: -32603,
    title: 'The server does not accept the gateway',
    retry: false,
  },
  no_ready_replica: { status: 503, rpc: -32603, title: 'No replica is ready', retry: true },
  no_room: { status: 503, rpc: -32603, title: 'The gateway has no room now', retry: true },
  too_many_connections: {
    status: 503,
    rpc: -32603,
    title: 'Too many connections to the server are open',
    retry: true,
  },
  stopped: { status: 503, rpc: -32603, title: 'The server is stopped', retry: false },
  secret_unreadable: {
    status: 503,
    rpc: -32603,
    title: 'A stored secret cannot be decrypted',
    retry: false,
  },
  rules_too_costly: {
    status: 503,
    rpc: -32603,
    title: 'The tool rules take too long',
    retry: false,
  },
  draining: { status: 503, rpc: -32603, title: 'The gateway is shutting down', retry: true },
  checks_busy: {
    status: 503,
    rpc: -32603,
    title: 'Too many requests wait to be checked',
    retry: true,
  },
  store_unavailable: { status: 503, rpc: -32603, title: 'The store is not available', retry: true },
  cluster_unavailable: {
    status: 503,
    rpc: -32603,
    title: 'The cluster does not answer',
    retry: true,
  },
  issuer_unavailable: {
    status: 503,
    rpc: -32603,
    title: 'The identity provider cannot be reached',
    retry: true,
  },
  upstream_timeout: {
    status: 504,
    rpc: -32603,
    title: 'The server did not answer in time',
    retry: false,
  },
  loop_detected: {
    status: 508,
    rpc: -32603,
    title: 'The endpoint leads back to the gateway',
    retry: false,
  },
  storage_full: { status: 507, rpc: -32603, title: 'The store is full', retry: true },
} as const satisfies Record<string, ErrorKind>

interface ErrorKind {
  readonly status: number
  readonly rpc: number
  readonly title: string
  readonly retry: boolean
}

export type ErrorCode = keyof typeof table

const unread: ReadonlySet<ErrorCode> = new Set([
  'body_too_large',
  'invalid_json',
  'ambiguous_message',
  'unsupported_media_type',
])

/** All codes, in the order of their statuses. */
export const errorCodes = Object.keys(table) as readonly ErrorCode[]

/**
 * One mistake in a request. `pointer` is an RFC 6901 pointer into the body, or `query:name`, or
 * `header:name`.
 */
export interface Mistake {
  readonly pointer: string
  readonly code: string
  readonly detail: string
}

/** The resource that a refusal concerns. */
export interface DeniedResource {
  readonly kind: string
  readonly name: string
  readonly uid?: string
}

export interface GatewayErrorOptions {
  /** Shown to the caller, so it must not carry secrets or internals. */
  readonly detail?: string
  readonly mistakes?: readonly Mistake[]
  /** Response headers that belong to the error (`Allow`, `Retry-After`, `WWW-Authenticate`). */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * The resource that the caller was refused, for the audit log. Callers never see it, because it
   * may be invisible to them.
   */
  readonly denied?: DeniedResource
  /** Logged once, at the edge; never shown. */
  readonly cause?: unknown
}

/** The only error type that crosses a module boundary on purpose. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: ErrorCode
  readonly mistakes: readonly Mistake[]
  readonly headers: Readonly<Record<string, string>>
  readonly denied: DeniedResource | undefined

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    super(
      options.detail ?? table[code].title,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.mistakes = options.mistakes ?? []
    this.headers = options.headers ?? {}
    this.denied = options.denied
  }

  get status(): number {
    return table[this.code].status
  }
  /** The JSON-RPC error code for MCP endpoints. */
  get rpcCode(): number {
    return table[this.code].rpc
  }
  get title(): string {
    return table[this.code].title
  }
  /** True if the gateway could not read the message, so its id and method are unknown. */
  get isUnread(): boolean {
    return unread.has(this.code)
  }
  /** True when sending the same request again can succeed and cannot run anything twice. */
  get retry(): boolean {
    return table[this.code].retry
  }
}

/**
 * Converts anything thrown to a `GatewayError`. Unknown errors become `internal` and keep their
 * cause.
 */
export function toGatewayError(thrown: unknown): GatewayError {
  return thrown instanceof GatewayError ? thrown : new GatewayError('internal', { cause: thrown })
}

/**
 * The error for a session that does not exist or belongs to another caller. The client must
 * initialize again.
 */
export function unknownSession(
  more: Pick<GatewayErrorOptions, 'cause' | 'denied'> = {},
): GatewayError {
  const detail = 'The session is not known. Initialize again.'
  return new GatewayError('session_not_found', { ...more, detail })
}
