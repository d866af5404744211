import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import {
  type Link,
  type Session as LegacySession,
  Sessions,
  translatedLink,
} from '@mcp-gateway/mcp-http'
import { isArray, notificationMessage, outline, type ModernEndpoint } from '@mcp-gateway/protocol'
import { GatewayError, unknownSession } from '../../core/errors.ts'
import type { PeerDirectory } from '../../core/directories/peers.ts'
import { partyOf, type Principal } from '../../core/principal.ts'
import type { CallerShares } from '../../core/shares.ts'
import type { Exchange } from '../../ingress/exchange.ts'
import { ownerFailed, type Hop } from '../../ingress/peer-hop.ts'
import type { Session as SealedSession, SessionSealer } from '../../ingress/session-sealer.ts'
import { sessionIdOf } from '../../ingress/mcp-path.ts'
import { ownIdOf, readRevivableId, revivableId } from './revivable-id.ts'
import type { SessionNotes } from './session-notes.ts'
import { callerOf, sameRights, type Served, type Visit } from './visit.ts'

export interface LegacySessionsOptions {
  /** Hands a request to the gateway process that holds its session. */
  readonly hop: Hop
  /** The processes that can go on with a session of this one. */
  readonly peers: PeerDirectory
  /** Undefined for a process without a store, which goes on with no session of another. */
  readonly notes: SessionNotes | undefined
  /** A session could not be noted. If this process ends, its subscriptions are lost. */
  readonly noteFailed: (error: unknown) => void
  readonly sealer: SessionSealer
  readonly shares: Pick<CallerShares, 'eventBytes' | 'sessions'>
  readonly now: () => number
}

const limits = {
  sessionIdleMs: 3600_000,
  sessionMaxMs: 7 * 24 * 3600_000,
}
/** Stand-in for a caller who has no rights, or whose session has ended. */
export const nobody: Principal = { id: '', issuer: '', name: '', roles: [] }

/** The sessions of clients of the legacy era, with which other processes may go on. */
export class LegacySessions {
  readonly #options: LegacySessionsOptions
  readonly #sessions: Sessions
  /** Sessions with which no other process may go on. Resolves when that is noted. */
  readonly #bound = new WeakMap<LegacySession, Promise<void>>()
  /** The last request of each legacy session, for its caller. */
  readonly #latest = new WeakMap<LegacySession, Visit>()

  constructor(options: LegacySessionsOptions) {
    this.#options = options
    this.#sessions = new Sessions({
      ...options.shares.sessions,
      ...limits,
      events: options.shares.eventBytes,
    })
  }

  /** Serves a request of a session, opens a session, or hands the request to another process. */
  take(visit: Visit, body: Buffer): void {
    const { exchange, sessionUid } = visit
    const { request, principal } = exchange
    const sealed = sessionIdOf(request)
    if (sealed === undefined) return this.#open(visit, body)
    const { hop, notes, peers, sealer } = this.#options
    const named = sealer.open(sealed, sessionUid, principal)
    const proceed = (): void => this.#proceed(visit, named, body)
    if (exchange.isHandedOver || named.replica === hop.self) return proceed()

    // A process that is gone has left its sessions to one of the others.
    const heirs = notes === undefined ? [] : hop.heirs(named.upstreamId, peers)
    this.#handOver([named.replica, ...heirs], visit, proceed)
  }

  /** The caller of an open request is known anew: streams and calls must not outlive roles. */
  becomes(visit: Visit, principal: Principal): void {
    const latest = visit.session && this.#latest.get(visit.session)
    for (const each of [visit, latest])
      if (each !== undefined && each.principal !== principal) {
        const changed = !sameRights(each.principal, principal)
        each.principal = principal
        if (changed) visit.served.changed()
      }
  }

  /**
   * Hands a request to the first process that is there, which may be this one. If that process
   * breaks off, the next one gets a request that may run twice.
   */
  #handOver([owner, ...others]: readonly string[], visit: Visit, proceed: () => void): void {
    const { exchange, served } = visit
    const { body, principal } = exchange
    const { hop } = this.#options
    if (owner === hop.self) return exchange.guard(proceed)
    if (owner === undefined) return exchange.fail(unknownSession())

    // The hop does not know the hints of tools, which the view of the caller has.
    const mayRunTwice = (): boolean => body !== null && served.mayRunTwice(body, principal)
    hop.forward(owner, exchange, (repeatable) =>
      repeatable || (others.length > 0 && mayRunTwice())
        ? this.#handOver(others, visit, proceed)
        : exchange.fail(ownerFailed(repeatable)),
    )
  }

  /** Goes on with a legacy session, which may have begun in another process. */
  #proceed(visit: Visit, named: SealedSession, body: Buffer): void {
    const { exchange } = visit
    const id = ownIdOf(named.upstreamId)
    const known = this.#sessions.get(id)
    if (known !== undefined) return this.#goOn(known, visit, named.issuedAt, body)

    this.#isBound(exchange, named).then(
      (isBound) =>
        exchange.guard(() => {
          if (isBound) throw unknownSession()
          // Another request may have come first.
          const session = this.#sessions.get(id) ?? this.#revive(visit, named)
          if (session !== undefined) this.#goOn(session, visit, named.issuedAt, body)
        }),
      // The client begins anew where nobody knows what it would lose.
      (error: unknown) => exchange.fail(unknownSession({ cause: error })),
    )
  }

  /** True if only the process that held the session could go on with it as its client left it. */
  async #isBound(exchange: Exchange, named: SealedSession): Promise<boolean> {
    const { notes } = this.#options
    const { id, greeting } = readRevivableId(named.upstreamId)
    // A client that resumes a stream waits for the events that the other process kept.
    const resumes = exchange.request.headers['last-event-id'] !== undefined
    if (notes === undefined || greeting === undefined || resumes) return true
    return notes.isBound(exchange.principal, { id, issuedAt: named.issuedAt })
  }

  #goOn(session: LegacySession, visit: Visit, issuedAt: number, body: Buffer): void {
    const { exchange } = visit
    const { request, response } = exchange
    const goOn = (): void => {
      if (this.#sessions.get(session.id) !== session) throw unknownSession()
      this.#visited(session, visit)
      this.#sessions.take(session, request, response, body)
    }
    const { notes } = this.#options
    if (notes === undefined || !bindsSession(request, body)) return goOn()
    this.#bind(notes, session, exchange.principal, issuedAt)
      .then(() => exchange.guard(goOn))
      .catch((error: unknown) => exchange.fail(error))
  }

  /** Notes that no other process may go on with a session, before its client can rely on that. */
  #bind(
    notes: SessionNotes,
    session: LegacySession,
    principal: Principal,
    issuedAt: number,
  ): Promise<void> {
    const known = this.#bound.get(session)
    if (known !== undefined) return known

    const bound = notes.bind(principal, { id: session.id, issuedAt }).catch((error: unknown) => {
      this.#bound.delete(session)
      this.#options.noteFailed(error)
    })
    this.#bound.set(session, bound)
    return bound
  }

  /**
   * Begins a session again with what its client said at the beginning. Undefined if there was no
   * place, and the client has been told so.
   */
  #revive(visit: Visit, { upstreamId }: SealedSession): LegacySession | undefined {
    const { id, greeting = '' } = readRevivableId(upstreamId)
    const { link, session } = this.#begin(visit, id, Buffer.from(greeting))
    if (session === undefined) return undefined
    this.#visited(session, visit)
    link?.send(Buffer.from(greeting))
    link?.send(Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}'))
    // Lists may have changed while nobody heard of it.
    for (const kind of ['tools', 'prompts', 'resources']) {
      const changed = Buffer.from(
        notificationMessage(`notifications/${kind}/list_changed`, undefined),
      )
      session.receive(changed, outline(changed))
    }
    return session
  }

  /** A request of a session has come. The session may know the caller by older roles. */
  #visited(session: LegacySession, visit: Visit): void {
    const before = this.#latest.get(session)?.principal
    visit.session = session
    this.#latest.set(session, visit)
    if (before !== undefined && !sameRights(before, visit.principal)) visit.served.changed()
  }

  #begin(
    { exchange: { principal, response }, served }: Visit,
    id: string,
    initialize: Buffer,
  ): { readonly link: Link | undefined; readonly session: LegacySession | undefined } {
    let link: Link | undefined
    const session = this.#sessions.open(
      id,
      initialize,
      response,
      (sessionOf) => (link = translatedLink(this.#endpoint(served, sessionOf), sessionOf)),
      partyOf(principal),
    )
    return { link, session }
  }

  /** Opens a session for a legacy client. */
  #open(visit: Visit, body: Buffer): void {
    const { principal, request, response } = visit.exchange
    if (request.method !== 'POST' || outline(body).method !== 'initialize')
      throw withoutSession(request.method)

    const id = randomBytes(16).toString('base64url')
    const { session } = this.#begin(visit, id, body)
    if (session === undefined) return
    this.#visited(session, visit)
    const { hop, now, sealer } = this.#options
    const { sessionUid: uid } = visit
    const upstreamId = revivableId(id, body.toString())
    const contents = { upstreamId, replica: hop.self, uid, issuedAt: now() }
    session.post(body, response, { 'mcp-session-id': sealer.seal(contents, principal) })
  }

  /** The virtual server as the modern server behind a legacy session. */
  #endpoint({ server }: Served, sessionOf: () => LegacySession): ModernEndpoint {
    const principal = (): Principal => this.#latest.get(sessionOf())?.principal ?? nobody
    return {
      request: (request, client) => {
        // The session takes the messages of a body at once, so this is the request that brought
        // them.
        const visit = this.#latest.get(sessionOf())
        server.request(callerOf(visit, principal, sessionOf().id), request, client)
      },
      gone: (client) => server.gone(client),
    }
  }

  close(): void {
    this.#sessions.close('The gateway is shutting down.')
  }
}

/** Methods after which a session has something that its client would miss in another process. */
const binding: ReadonlySet<string | undefined> = new Set([
  'logging/setLevel',
  'resources/subscribe',
])
/** The ends of these methods, and the beginning of an escape in which one may be written. */
const bindingSigns = ['setLevel', 'subscribe', '\\u']

function bindsSession({ method }: IncomingMessage, body: Buffer): boolean {
  if (method === 'DELETE') return true
  if (method !== 'POST') return false
  // A batch may hold anything.
  if (isArray(body)) return true
  return bindingSigns.some((sign) => body.includes(sign)) && binding.has(outline(body).method)
}

function withoutSession(method: string | undefined): GatewayError {
  return method === 'GET'
    ? new GatewayError('method_not_allowed', {
        detail: 'There is no stream without a session.',
        headers: { allow: 'POST' },
      })
    : new GatewayError('invalid_request', {
        detail: 'The request names no session. Begin with initialize, or speak MCP 2026-07-28.',
      })
}
