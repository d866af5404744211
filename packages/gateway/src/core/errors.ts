import { errorTable, type ErrorCode, type ErrorRow } from './error-table.ts'
import type { MistakeCode } from './mistakes.ts'

const unread: ReadonlySet<ErrorCode> = new Set([
  'body_too_large',
  'invalid_json',
  'ambiguous_message',
  'unsupported_media_type',
])

export type { ErrorCode } from './error-table.ts'

/** All codes, in the order of their statuses. */
export const errorCodes = Object.keys(errorTable) as readonly ErrorCode[]

/**
 * One mistake in a request. `pointer` is an RFC 6901 pointer into the body, or `query:name`, or
 * `header:name`.
 */
export interface Mistake {
  readonly pointer: string
  readonly code: MistakeCode
  readonly detail: string
}

/** The resource that a refusal concerns. */
export interface DeniedResource {
  readonly kind: string
  readonly name: string
  readonly uid?: string
}

export interface GatewayErrorOptions {
  /** Callers see it where the table exposes it, so it must not carry secrets or internals. */
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
      options.detail ?? errorTable[code].title,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.mistakes = options.mistakes ?? []
    this.headers = options.headers ?? {}
    this.denied = options.denied
  }

  get status(): number {
    return errorTable[this.code].status
  }
  /** The JSON-RPC error code for MCP endpoints. */
  get rpcCode(): number {
    const { rpc, status }: ErrorRow = errorTable[this.code]
    return rpc ?? (status < 500 ? -32600 : -32603)
  }
  get title(): string {
    return errorTable[this.code].title
  }
  /** The text for callers; the help of the code where the detail is missing or may not be shown. */
  get detail(): string {
    const { exposeDetail, help, title } = errorTable[this.code]
    return exposeDetail && this.message !== title ? this.message : help
  }
  /** True if the gateway could not read the message, so its id and method are unknown. */
  get isUnread(): boolean {
    return unread.has(this.code)
  }
  /** True when sending the same request again can succeed and cannot run anything twice. */
  get retry(): boolean {
    return errorTable[this.code].retry
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
