import { Shares, type Shortage } from '@mcp-gateway/mcp-http'
import { GatewayError } from './errors.ts'

/** The pools of one process that callers share. What each of them holds is counted by `partyOf`. */
export interface CallerShares {
  /** Requests that have no answer yet, open streams among them. */
  readonly requests: Shares
  /** Bytes of the bodies of open requests. */
  readonly bodyBytes: Shares
  /** Bytes of answers that are held until they are whole, or until their reader takes them. */
  readonly heldBytes: Shares
  /** Bytes of events that sessions keep for clients that come back. Beyond, older ones go. */
  readonly eventBytes: Shares
  /** Connections from clients, by address. */
  readonly connections: Shares
  /** Connections of probes and peers to their port, by address. */
  readonly peerConnections: Shares
  /** Open requests for logs. */
  readonly logReaders: Shares
  /** Legacy sessions in front of modern servers, of all servers and of each caller. */
  readonly sessions: { readonly maxSessions: number; readonly maxSessionsPerCaller: number }
}

export interface ShareLimits {
  readonly openRequests: number
  readonly bodyBytes: number
  readonly heldBytes: number
  readonly eventBytes: number
  readonly sessions: number
  readonly connections: number
  readonly logReaders: number
}

/** `bodyLimitBytes`: the longest body, of which some must always have room. */
export function createShares(limits: ShareLimits, bodyLimitBytes: number): CallerShares {
  return {
    requests: new Shares(limits.openRequests),
    bodyBytes: new Shares(Math.max(limits.bodyBytes, 4 * bodyLimitBytes)),
    heldBytes: new Shares(limits.heldBytes),
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

/** Bytes of held answers, as a refusal calls them. */
export const heldBytes = 'bytes of answers that are not delivered'

/** Drops an answer for which there is no room. Its request may have run, unlike one that is refused. */
export function answerDropped(shortage: Shortage): GatewayError {
  const holder = shortage === 'caller' ? 'You hold your share of' : 'Other callers hold all'
  return new GatewayError('answer_dropped', {
    detail:
      `${holder} ${heldBytes}, so the gateway dropped this answer. ` +
      'The request may have run: check before you repeat it.',
  })
}

/** Refuses what would take a caller beyond its share of `what`. */
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
