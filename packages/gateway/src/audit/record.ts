import { escapeInvisible } from '../lib/invisible.ts'

/** The resource of a record. */
export interface AuditedResource {
  readonly kind: string
  readonly name: string
  /** The resource's incarnation. */
  readonly uid?: string
}

export interface AuditedPrincipal {
  readonly issuer: string
  readonly id: string
  readonly name: string
  /** The means of authentication: `development`, `anonymous`, `token`, or `api-key` with its id. */
  readonly method: string
}

export type AuditOutcome = 'allowed' | 'denied' | 'failed'

/** One decision or change, as the record shows it. */
export interface AuditEvent {
  /** For example `adapter.create` or `mcp.tools/call`. */
  readonly action: string
  readonly outcome: AuditOutcome
  /** The stable code of the error, if any. */
  readonly code?: string | undefined
  readonly principal?: AuditedPrincipal | undefined
  /** True if an administrator acted on a resource of somebody else. */
  readonly admin?: true | undefined
  readonly resource?: AuditedResource | undefined
  /** The tool that a `tools/call` names. */
  readonly tool?: string | undefined
  /** Number of messages in the batch. */
  readonly messages?: number | undefined
  readonly requestId: string
  /** Address of the client. */
  readonly client: string
  /** SHA-256, in hexadecimal, of a call's arguments or else of the body. */
  readonly digest?: string | undefined
  /** Refusals of the same kind from the same caller since its last record. */
  readonly repeated?: number | undefined
}

/** A record about the log itself. */
export interface AuditMark {
  readonly type: 'start' | 'stop' | 'gap'
  readonly [member: string]: string | number
}

/** Longest text of one member, in UTF-16 units, because strangers choose names. */
const longest = 256

/**
 * Encodes members as JSON without braces. No text can end a line or control a terminal: JSON
 * escapes U+0000 to U+001F; this escapes other controls, line separators and direction marks.
 */
export function encodeMembers(time: Date, record: AuditEvent | AuditMark): string {
  // A mark brings its own type.
  const text = JSON.stringify({ time: time.toISOString(), type: 'event', ...record }, shortTexts)
  return escapeInvisible(text.slice(1, -1))
}

/** Copies an event with shortened texts, so that the copy retains no memory of the request. */
export function shortEvent(event: AuditEvent): AuditEvent {
  return JSON.parse(JSON.stringify(event, shortTexts)) as AuditEvent
}

function shortTexts(_key: string, value: unknown): unknown {
  return typeof value === 'string' && value.length > longest ? shortened(value) : value
}

/** Drops half a surrogate pair at the cut. */
function shortened(text: string): string {
  return `${text.slice(0, longest - 1).replace(/[\ud800-\udbff]$/, '')}…`
}
