import { escapeInvisible } from '../lib/invisible.ts'

/** Whom or what a record is about. */
export interface AuditedResource {
  readonly kind: string
  readonly name: string
  /** The incarnation. */
  readonly uid?: string
}

export interface AuditedPrincipal {
  readonly issuer: string
  readonly id: string
  readonly name: string
  /** How the caller was known: `development`, `anonymous`, or by what it showed. */
  readonly method: string
}

export type AuditOutcome = 'allowed' | 'denied' | 'failed'

/** One decision or change, as its record tells it. */
export interface AuditEvent {
  /** `adapter.create`, `mcp.tools/call`. */
  readonly action: string
  readonly outcome: AuditOutcome
  /** The stable code of the error, where there was one. */
  readonly code?: string | undefined
  readonly principal?: AuditedPrincipal | undefined
  /** The caller acted on what another owns, and holds the role that may. */
  readonly admin?: true | undefined
  readonly resource?: AuditedResource | undefined
  /** The tool that a `tools/call` names. */
  readonly tool?: string | undefined
  /** How many messages a batch holds. */
  readonly messages?: number | undefined
  readonly requestId: string
  /** Address of the client. */
  readonly client: string
  /** SHA-256 in hexadecimal of the arguments of a call, else of the body. */
  readonly digest?: string | undefined
  /** How many more of the same kind came from the same address since the last record of it. */
  readonly repeated?: number | undefined
}

/** What the gateway says of the log itself. */
export interface AuditMark {
  readonly type: 'start' | 'stop' | 'gap'
  readonly [member: string]: string | number
}

/** Longest text of one member, in UTF-16 units: names come from strangers. */
const longest = 256

/**
 * The members of a record, as JSON without its braces. Whatever stands in a text, it cannot end the line, nor a terminal's: JSON escapes
 * U+0000 to U+001F; the rest of the controls, the line separators and what turns the direction of text are escaped here.
 */
export function encodeMembers(time: Date, record: AuditEvent | AuditMark): string {
  // A mark brings its own type.
  const text = JSON.stringify({ time: time.toISOString(), type: 'event', ...record }, shortTexts)
  return escapeInvisible(text.slice(1, -1))
}

/** A copy with texts as its record has them, which keeps nothing of a request in memory. */
export function shortEvent(event: AuditEvent): AuditEvent {
  return JSON.parse(JSON.stringify(event, shortTexts)) as AuditEvent
}

function shortTexts(_key: string, value: unknown): unknown {
  return typeof value === 'string' && value.length > longest ? shortened(value) : value
}

/** Without half of a pair at the cut. */
function shortened(text: string): string {
  return `${text.slice(0, longest - 1).replace(/[\ud800-\udbff]$/, '')}…`
}
