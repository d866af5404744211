import { Shares, type Shortage } from '@mcp-gateway/mcp-http'
import { GatewayError } from './errors.ts'

/**
 * The pools of one process that callers share. Each pool counts by `partyOf`, or by address for
 * connections.
 */
export interface CallerShares {
  /** Requests without an answer so far, including open streams. */
  readonly requests: Shares
  /** Bytes of the bodies of open requests. */
  readonly bodyBytes: Shares
  /** Characters of the lists that members of virtual servers have given, for their owners. */
  readonly listBytes: Shares
  /** Bytes of answers that the gateway holds until they are complete or their reader takes them. */
  readonly heldBytes: Shares
  /**
   * Bytes of events that sessions keep for clients that reconnect. Above the limit, the oldest go
   * first.
   */
  readonly eventBytes: Shares
  /** Connections from clients, by address. */
  readonly connections: Shares
  /** Connections of probes and peers to their own port, by address. */
  readonly peerConnections: Shares
  /** Open requests for logs. */
  readonly logReaders: Shares
  /** Limits on legacy sessions in front of modern servers: in total, and per caller. */
  readonly sessions: { readonly maxSessions: number; readonly maxSessionsPerCaller: number }
}

export interface ShareLimits {
  readonly openRequests: number
  readonly bodyBytes: number
  readonly heldBytes: number
  readonly listBytes: number
  readonly eventBytes: number
  readonly sessions: number
  readonly connections: number
  readonly logReaders: number
}

/**
 * Builds the pools. `bodyLimitBytes` is the longest body; the pool of bodies fits at least four.
 */
export function createShares(limits: ShareLimits, bodyLimitBytes: number): CallerShares {
  return {
    requests: new Shares(limits.openRequests),
    bodyBytes: new Shares(Math.max(limits.bodyBytes, 4 * bodyLimitBytes)),
    heldBytes: new Shares(limits.heldBytes),
    listBytes: new Shares(limits.listBytes),
    eventBytes: new Shares(limits.eventBytes),
    connections: new Shares(limits.connections),
    peerConnections: new Shares(limits.connections),
    sessions: {
      maxSessions: limits.sessions,
      maxSessionsPerCaller: Math.ceil(limits.sessions / 10),
    },
    logReaders: new Shares(limits.logReaders),
  }
}

/** Name of the pool of held answers in refusals. */
export const heldBytes = 'bytes of answers that are not delivered'

/** Drops an answer that has no room. Unlike a refused request, this request may have run. */
export function answerDropped(shortage: Shortage): GatewayError {
  const holder = shortage === 'caller' ? 'You hold your share of' : 'Other callers hold all'
  return new GatewayError('answer_dropped', {
    detail:
      `${holder} ${heldBytes}, so the gateway dropped this answer. ` +
      'The request may have run: check before you repeat it.',
  })
}

/** Refuses a request that would exceed the caller's share of `what`. */
export function shortOf(shortage: Shortage, what: string): GatewayError {
  const detail =
    shortage === 'caller'
      ? `You hold your share of ${what}. Wait until some of your requests have ended.`
      : `Other callers hold all ${what}. Try again later.`
  return new GatewayError(shortage === 'caller' ? 'share_used_up' : 'no_room', {
    detail,
    headers: { 'retry-after': '1' },
  })
}
