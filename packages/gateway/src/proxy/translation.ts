import { randomBytes } from 'node:crypto'
import {
  type HttpUpstream,
  Places,
  type Session as LegacySession,
  Translator,
} from '@mcp-gateway/mcp-http'
import { classifyRequest } from '@mcp-gateway/protocol'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { mayWrite } from '../core/permission.ts'
import { callerKey, partyOf, type Principal } from '../core/principal.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Silences } from '../core/silences.ts'
import type { Adapter, Resource } from '../core/resource.ts'
import type { Exchange } from '../ingress/exchange.ts'
import type { Session, SessionSealer } from '../ingress/session-sealer.ts'
import { monotonicNow } from '../lib/clock.ts'
import { gatewaysIn } from '../upstream/loop-mark.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { answerCall, opensSession, stateOf, type Call } from './call.ts'
import { clientInfo, greet, probe, probeMs, type Era, type LegacySide } from './era-questions.ts'
import type { Forwarding } from './forward.ts'
import { ownedBy, ownerOf } from './session-owner.ts'
import type { ToolGuard } from './tool-guard.ts'

export interface TranslationOptions {
  /** Picks a replica that is ready now. @throws GatewayError if there is none */
  readonly pick: (resource: Resource) => Upstream
  /** True if the picked replica has ended since, or is about to end. */
  readonly isLeaving: (upstream: Upstream) => boolean
  readonly guard: ToolGuard
  /** The adapter that has a name now. */
  readonly routed: (name: string) => Adapter | undefined
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  /** The name of this process among the gateways. */
  readonly self: string
  readonly shares: Pick<CallerShares, 'heldBytes' | 'eventBytes' | 'sessions'>
  readonly answerTimeoutMs: number
  /** Limit for a server's answer to `initialize` and the like. */
  readonly handshakeMs: number
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  /** Milliseconds since the epoch, for the issue time of a session. */
  readonly now: () => number
}

/** A verdict is valid for so long, because servers learn new versions. */
const verdictMs = 24 * 3600_000
/** If a server gives no verdict, the gateway asks again after so long. */
const noVerdictMs = 60_000
/** Each verdict stands at least so long. */
const doubtMs = 1000
const limits = {
  sessionIdleMs: 3600_000,
  sessionMaxMs: 7 * 24 * 3600_000,
}

const noSession = 'The server does not answer initialize with a message of MCP.'
const silentServer = 'The server does not answer initialize. Look into its log, or ask its owner.'

const nothing = Buffer.alloc(0)

interface Server {
  readonly translator: Translator
  /** As of the last request: credentials and identity may change without a new generation. */
  resource: Resource
  readonly generation: number
  /** The era that the server speaks, or undefined if no answer has told it. */
  era: Era | undefined
  /** Undefined until the gateway has asked. */
  legacySide: LegacySide | undefined
  probedAt: number
  /**
   * True if the server has answered a question of the gateway. Undefined until the gateway has
   * asked.
   */
  heard: boolean | undefined
  /** By the gateways that the request has passed. */
  readonly probing: Map<string, Promise<Era | undefined>>
  readonly learning: Map<string, Promise<void>>
}

/** Knows which era each server speaks, and translates for clients of the other era. */
export class Translation {
  readonly #options: TranslationOptions
  /** The places for sessions, of all servers together. */
  readonly #places: Places
  /** By the adapter's uid. */
  readonly #servers = new Map<string, Server>()
  /** The caller of the last request of a legacy session, because roles change while it is open. */
  readonly #callers = new WeakMap<LegacySession, Principal>()

  constructor(options: TranslationOptions) {
    this.#options = options
    const { maxSessions, maxSessionsPerCaller } = options.shares.sessions
    this.#places = new Places(maxSessions, maxSessionsPerCaller)
  }

  /**
   * Takes a POST outside of sessions if client and server speak different eras. Returns false if
   * the request is to be passed on. If that turns out later, `passOn` is called.
   */
  takes(call: Call, upstream: Upstream, passOn: () => void): boolean {
    const { permit, opening, modern } = call
    const { resource } = permit
    if (opening === undefined || resource.spec.eras === 'passthrough') return false

    const known = this.#known(resource)
    const translates = (era: Era | undefined): boolean => {
      if (modern) return era === 'legacy'
      return (
        era === 'modern' && leavesLegacySide(resource, known?.legacySide) && opensSession(opening)
      )
    }
    const translate = (): void =>
      this.#answer(call, () => (modern ? this.#modern(call, opening) : this.#open(call, opening)))

    const matters = modern || (resource.spec.legacyLeg === 'translate' && opensSession(opening))
    if (matters && known?.era === undefined)
      this.#ask(call, upstream, (era) => (translates(era) ? translate() : passOn()))
    else if (translates(known?.era)) translate()
    else return false
    return true
  }

  /**
   * Reacts to a server that opens no session for a legacy `initialize`. The client may be at fault,
   * so the server's answer to the gateway itself decides. Undefined if nothing is asked.
   */
  onRefusal(call: Call, upstream: Upstream): Forwarding['refused'] {
    const { permit, opening, modern } = call
    const { resource } = permit
    if (opening === undefined || modern || resource.spec.eras === 'passthrough') return undefined

    const known = this.#known(resource)
    if (known?.era === 'legacy' || known?.legacySide !== undefined || !opensSession(opening))
      return undefined

    return (status, { passOn, leave }) =>
      this.#learn(call, upstream, (server) => {
        if (server.era === 'modern' && leavesLegacySide(resource, server.legacySide)) {
          leave()
          return this.#answer(call, () => this.#open(call, opening))
        }
        // An `initialize` that succeeds is no reason to ask the server again.
        if (status < 300) server.legacySide ??= 'stateless'
        passOn()
      })
  }

  /** True if the gateway has asked the server, and the server has never answered. */
  isUnheard(resource: Resource): boolean {
    return this.#known(resource)?.heard === false
  }

  /**
   * Asks the server again after an answer that does not fit its era, at most once per `doubtMs`.
   */
  doubt(resource: Resource): void {
    const known = this.#known(resource)
    if (known !== undefined && monotonicNow() - known.probedAt > doubtMs)
      known.probedAt = Number.NEGATIVE_INFINITY
  }

  /** The valid knowledge about the server of an adapter. */
  #known(resource: Resource): Server | undefined {
    const server = this.#servers.get(resource.uid)
    if (server?.generation !== resource.generation) return undefined
    const validMs = server.era === undefined ? noVerdictMs : verdictMs
    return monotonicNow() - server.probedAt > validMs ? undefined : server
  }

  /** Asks the server for its era, once at a time, and never with a call of a client. */
  #ask(call: Call, upstream: Upstream, decide: (era: Era | undefined) => void): void {
    const known = this.#known(call.permit.resource)?.era
    if (known !== undefined) return decide(known)

    const { exchange } = call
    exchange.waits((reason) => exchange.fail(reason))
    when(this.#probe(call, upstream), exchange, decide)
  }

  #probe({ permit, exchange }: Call, upstream: Upstream): Promise<Era | undefined> {
    const { resource, principal } = permit
    const server = this.#server(resource)
    const boundMs = probeMs(this.#options.handshakeMs)
    const way = this.#upstream(server, upstream, principal)
    // Two gateways that ask each other find the loop at once, rather than wait for each other.
    const passed = gatewaysIn(exchange.request.headers)
    const headers = (): string[] => [
      ...way.headers(),
      ...(passed === '' ? [] : ['cdn-loop', passed]),
    ]
    return once(server.probing, passed, async () => {
      const { era, heard, spoke } = await probe({ ...way, headers }, boundMs)
      this.#noteHeard(server, heard, spoke)
      // The caller may have made the names up, so that the server refuses this question alone.
      if (passed === '' || era !== undefined)
        Object.assign(server, { era, legacySide: undefined, probedAt: monotonicNow() })
      return era
    })
  }

  #noteHeard(server: Server, heard: boolean, spoke: boolean): void {
    server.heard = heard || server.heard === true
    const { silences } = this.#options
    if (spoke) silences.answered(server.resource.uid)
    if (!heard) silences.failed(server.resource.uid, 'The server does not answer server/discover.')
  }

  /** Asks for the era and for the legacy side in one round trip, once at a time. */
  #learn(call: Call, upstream: Upstream, decide: (server: Server) => void): void {
    const { resource, principal } = call.permit
    const server = this.#server(resource)
    const keepsStateless = resource.spec.legacyLeg === 'passthrough'
    const learning = once(server.learning, gatewaysIn(call.exchange.request.headers), async () => {
      const [, legacySide] = await Promise.all([
        this.#known(resource)?.era ?? this.#probe(call, upstream),
        greet(this.#upstream(server, upstream, principal), keepsStateless),
      ])
      Object.assign(server, { legacySide })
    })
    when(learning, call.exchange, () => decide(server))
  }

  /** Answers a call by work of the engine, rather than by the bytes of the server. */
  #answer(call: Call, work: () => void): void {
    answerCall(call, this.#options.guard, work)
  }

  #modern({ permit, exchange }: Call, body: Buffer): void {
    const { resource, principal } = permit
    const { request, response } = exchange
    const classified = classifyRequest(body.toString(), request.headers)
    if (classified.era === 'modern')
      this.#server(resource).translator.modern(callerKey(principal), classified, request, response)
    else
      throw new GatewayError('invalid_request', {
        detail: 'The request names the modern version, but is no request of it.',
      })
  }

  #open({ permit, exchange }: Call, body: Buffer): void {
    const { resource, principal } = permit
    const id = randomBytes(16).toString('base64url')
    const sealed = this.#seal(resource, principal, id)
    this.#server(resource).translator.open(
      id,
      sessionKeyOf(principal, id),
      body,
      exchange.response,
      { 'mcp-session-id': sealed },
      partyOf(principal),
    )
  }

  /** Goes on with a legacy session that this process holds. */
  proceed(call: Call, session: Session): void {
    this.#answer(call, () => this.#pass(call, session))
  }

  #pass({ permit, exchange, body }: Call, { upstreamId }: Session): void {
    const { resource, principal } = permit
    const server = this.#servers.get(resource.uid)
    const session = server?.translator.sessions.get(upstreamId)
    if (server === undefined || session === undefined) throw unknownSession()
    server.resource = resource
    this.#callers.set(session, principal)
    const { request, response } = exchange
    server.translator.sessions.take(session, request, response, body ?? nothing)
  }

  /** Ends listen streams in order, so that clients open them elsewhere. Calls in progress go on. */
  drain(): void {
    for (const { translator } of this.#servers.values()) translator.drain()
  }

  /**
   * The gateway process that holds the call of a retry. Undefined if the request is no retry, or
   * names no gateway process.
   */
  stateOwner({ permit, opening, modern }: Call): string | undefined {
    const state = modern && opening !== undefined ? stateOf(opening) : undefined
    if (state === undefined) return undefined
    try {
      return ownerOf(this.#options.sealer.open(state, permit.resource.uid, permit.principal))
    } catch {
      return undefined
    }
  }

  #seal({ uid }: Resource, principal: Principal, id: string): string {
    return this.#options.sealer.seal(
      {
        upstreamId: id,
        replica: ownedBy(this.#options.self),
        uid,
        issuedAt: this.#options.now(),
      },
      principal,
    )
  }

  /**
   * Ends all that belongs to the server of an adapter that was removed, has moved, or runs anew: its
   * sessions have ended with its replicas.
   */
  forgetChanged(name: string): void {
    const now = this.#options.routed(name)
    for (const [uid, { resource, generation, translator }] of this.#servers) {
      if (resource.name !== name) continue
      const exists = now?.uid === uid
      const stays = exists && now.spec.endpoint === resource.spec.endpoint
      if (stays && now.generation === generation) continue

      translator.close(exists ? 'The server was changed.' : 'The server was removed.')
      this.#servers.delete(uid)
    }
  }

  close(): void {
    for (const { translator } of this.#servers.values())
      translator.close('The gateway is shutting down.')
    this.#servers.clear()
  }

  /**
   * The way to the server for one caller. Connections are kept for long, so each request decides
   * its own headers when it is sent.
   */
  #upstream(server: Server, upstream: Upstream, principal: Principal): HttpUpstream {
    const { guard, outgoing, shares, isLeaving } = this.#options
    return {
      pool: guard.to(upstream, server.resource, principal),
      path: upstream.replica.path,
      leaving: () => isLeaving(upstream),
      tellsRedirects: mayWrite(principal, server.resource),
      held: () => shares.heldBytes.open(partyOf(principal)),
      headers: () => ['host', upstream.host, ...outgoing(server.resource, principal).headers],
    }
  }

  #server(asked: Adapter): Server {
    const now = this.#options.routed(asked.name)
    // The adapter was removed or changed while the request was on its way.
    if (now?.uid !== asked.uid) throw new GatewayError('not_found')
    const resource = now.generation > asked.generation ? now : asked
    const known = this.#servers.get(resource.uid)
    if (known?.generation === resource.generation) return Object.assign(known, { resource })
    // A changed server may speak another era. Its sessions have ended with its replicas.
    known?.translator.close('The server was changed.')
    const server: Server = {
      resource,
      generation: resource.generation,
      era: undefined,
      legacySide: undefined,
      probedAt: Number.NEGATIVE_INFINITY,
      heard: undefined,
      probing: new Map(),
      learning: new Map(),
      translator: new Translator({
        upstream: (key) =>
          this.#upstream(server, this.#options.pick(server.resource), this.#callerOf(server, key)),
        refused: () => this.doubt(resource),
        unopened: () => this.#options.silences.failed(resource.uid, noSession),
        newState: (principal) =>
          this.#seal(
            resource,
            JSON.parse(principal) as Principal,
            randomBytes(24).toString('base64url'),
          ),
        kept: (key) => this.#options.shares.heldBytes.open(partyOf(JSON.parse(key) as Principal)),
        clientInfo,
        answerTimeoutMs: this.#options.answerTimeoutMs,
        handshakeMs: this.#options.handshakeMs,
        silent: () => {
          this.#options.silences.failed(resource.uid, silentServer)
          return silentServer
        },
        places: this.#places,
        events: this.#options.shares.eventBytes,
        ...this.#options.shares.sessions,
        ...limits,
      }),
    }
    this.#servers.set(resource.uid, server)
    return server
  }

  /** The caller behind a key. For a session, this is the caller of its last request. */
  #callerOf({ translator }: Server, key: string): Principal {
    const { session: id, ...opener } = JSON.parse(key) as Principal & { readonly session?: string }
    const session = id === undefined ? undefined : translator.sessions.get(id)
    return (session && this.#callers.get(session)) ?? opener
  }
}

/** Does work that nobody does for this key now, or waits for the one who does. */
function once<T>(
  running: Map<string, Promise<T>>,
  key: string,
  work: () => Promise<T>,
): Promise<T> {
  let found = running.get(key)
  // A failure must not stand for later requests.
  if (found === undefined) running.set(key, (found = work().finally(() => running.delete(key))))
  return found
}

/** True if a server of both eras serves legacy clients from its modern side. */
function leavesLegacySide({ spec }: Adapter, side: LegacySide | undefined): boolean {
  const { legacyLeg = 'auto' } = spec
  return (
    legacyLeg === 'translate' || side === 'none' || (legacyLeg === 'auto' && side === 'stateless')
  )
}

/** The key of a caller for one legacy session. */
function sessionKeyOf(principal: Principal, session: string): string {
  const { id, issuer, name, roles, network } = principal
  return JSON.stringify({ id, issuer, name, roles, network, session })
}

/** Calls `decide` with the server's answer, unless the exchange has ended meanwhile. */
function when<T>(answer: Promise<T>, exchange: Exchange, decide: (said: T) => void): void {
  answer
    .then((said) => {
      if (exchange.over) return
      if (exchange.response.destroyed) throw new GatewayError('client_closed_request')
      decide(said)
    })
    .catch((error: unknown) => exchange.fail(error))
}
