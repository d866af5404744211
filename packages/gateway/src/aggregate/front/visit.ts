import { createHash, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { ModernServer, Session as LegacySession } from '@mcp-gateway/mcp-http'
import type { ModernRequest } from '@mcp-gateway/protocol'
import type { Subject } from '../../audit/decision.ts'
import type { Principal } from '../../core/principal.ts'
import type { Exchange } from '../../ingress/exchange.ts'
import type { AggregateCaller } from '../members/member.ts'

/** A virtual server at one of its addresses. */
export interface Served {
  /** The incarnation of the virtual server. */
  readonly uid: string
  readonly server: ModernServer<AggregateCaller>
  /** True if requests may leave for a server outside the runtime. */
  readonly leadsElsewhere: () => boolean
  /** The roles of a caller have changed, so streams and calls are to be checked again. */
  readonly changed: () => void
  readonly subject: Subject | undefined
  /** The gateway process that holds the call of a retry; undefined if none does. */
  readonly stateOwner: (request: ModernRequest, principal: Principal) => string | undefined
  /** True for the body of a legacy request that may run twice. */
  readonly mayRunTwice: (body: Buffer, principal: Principal) => boolean
}

/** One request to a virtual server. */
export interface Visit {
  readonly served: Served
  readonly exchange: Exchange
  readonly cameFromHere: boolean
  /** Stands for an adapter's incarnation in sealed session ids. Each address has its own. */
  readonly sessionUid: string
  /** The caller as of now, because a stream outlives the roles that it was opened with. */
  principal: Principal
  /** The legacy session that the request belongs to. */
  session: LegacySession | undefined
}

/** The caller of a request. `visit` is undefined for a session that nobody has used yet. */
export function callerOf(
  visit: Visit | undefined,
  principal: () => Principal,
  session: string,
): AggregateCaller {
  const { headers = {} } = visit?.exchange.request ?? {}
  const { 'cdn-loop': loop, 'idempotency-key': key } = headers
  return {
    principal,
    session,
    requestId: visit?.exchange.requestId ?? randomUUID(),
    loop: loop === undefined ? undefined : String(loop),
    cameFromHere: visit?.cameFromHere === true,
    seen: (inner) => visit?.exchange.note({ inner }),
    trace: traceHeaders(headers),
    // A structured string (draft-ietf-httpapi-idempotency-key-header).
    idempotencyKey:
      typeof key === 'string'
        ? /^"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?$/.exec(key)?.[1]
        : undefined,
  }
}

/** The incarnation that session ids of an address name. An address with other tools has its own. */
export function sessionUidOf(uid: string, searches: boolean): string {
  if (!searches) return uid
  const digest = createHash('sha256').update(`search ${uid}`).digest('hex')
  return digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5')
}

/** False if one of two callers may do something that the other may not. */
export function sameRights(one: Principal, other: Principal): boolean {
  if (one === other) return true
  return (
    one.id === other.id &&
    one.issuer === other.issuer &&
    one.roles.length === other.roles.length &&
    one.roles.every((role, index) => role === other.roles[index])
  )
}

function traceHeaders(headers: IncomingMessage['headers']): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of ['traceparent', 'tracestate', 'baggage']) {
    const value = headers[name]
    if (typeof value === 'string') found[name] = value
  }
  return found
}
