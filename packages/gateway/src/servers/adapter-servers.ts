import { randomBytes } from 'node:crypto'
import {
  type HttpUpstream,
  Places,
  type Session as LegacySession,
  Translator,
} from '@mcp-gateway/mcp-http'
import { GatewayError } from '../core/errors.ts'
import { mayWrite, type Permit } from '../core/permission.ts'
import { isGatewayItself, partyOf, type Principal } from '../core/principal.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Silences } from '../core/silences.ts'
import type { Adapter, Resource } from '../core/resource.ts'
import { ownedBy } from '../ingress/session-owner.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import { monotonicNow } from '../lib/clock.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { clientInfo, greet, probe, probeMs, type Era, type LegacySide } from './era-questions.ts'
import type { ToolGuard } from './tool-guard.ts'

export interface AdapterServersOptions {
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

/** The server of an adapter, and what the gateway knows of it. */
export interface AdapterServer {
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
  /** The server's reason why it does not tell its era, if it gives one. */
  refusal: string | undefined
  /** By the gateways that the request has passed, and by the time for the answer. */
  readonly probing: Map<string, Promise<Era | undefined>>
  readonly learning: Map<string, Promise<void>>
}

/** Knows which era each adapter's server speaks, and holds the translations for the other era. */
export class AdapterServers {
  readonly #options: AdapterServersOptions
  /** The places for sessions, of all servers together. */
  readonly #places: Places
  /** By the adapter's uid. */
  readonly #servers = new Map<string, AdapterServer>()
  /** The caller of the last request of a legacy session, because roles change while it is open. */
  readonly #callers = new WeakMap<LegacySession, Principal>()

  constructor(options: AdapterServersOptions) {
    this.#options = options
    const { maxSessions, maxSessionsPerCaller } = options.shares.sessions
    this.#places = new Places(maxSessions, maxSessionsPerCaller)
  }

  /** The valid knowledge about the server of an adapter. */
  known(resource: Resource): AdapterServer | undefined {
    const server = this.#servers.get(resource.uid)
    if (server?.generation !== resource.generation) return undefined
    const validMs = server.era === undefined ? noVerdictMs : verdictMs
    return monotonicNow() - server.probedAt > validMs ? undefined : server
  }

  /** True if the gateway has asked the server, and the server has never answered. */
  isUnheard(resource: Resource): boolean {
    return this.known(resource)?.heard === false
  }

  /**
   * Asks the server again after an answer that does not fit its era, at most once per `doubtMs`.
   */
  doubt(resource: Resource): void {
    const known = this.known(resource)
    if (known !== undefined && monotonicNow() - known.probedAt > doubtMs)
      known.probedAt = Number.NEGATIVE_INFINITY
  }

  /**
   * Asks the server for its era, once at a time. `passed` names the gateways that the request has
   * passed: two that ask each other find the loop at once, rather than wait for each other.
   */
  probe(
    { resource, principal }: Permit<'use', Adapter>,
    upstream: Upstream,
    passed = '',
    boundMs = probeMs(this.#options.handshakeMs),
  ): Promise<Era | undefined> {
    const server = this.of(resource)
    const way = this.http(resource, upstream, principal)
    const marks = passed === '' ? [] : ['cdn-loop', passed]
    const headers = (): string[] => [...way.headers(), ...marks]
    return once(server.probing, `${boundMs} ${passed}`, async () => {
      const { era, heard, refusal, spoke } = await probe({ ...way, headers }, boundMs)
      this.#noteHeard(server, heard, spoke)
      // The caller may have made the names up, so that the server refuses this question alone.
      if (passed === '' || era !== undefined)
        Object.assign(server, { era, refusal, legacySide: undefined, probedAt: monotonicNow() })
      return era
    })
  }

  /**
   * The era for a request that cannot go on without it. Asks for as long as a client waits for
   * `initialize`, because a server may be downloading (`npx`).
   */
  async eraOf(permit: Permit<'use', Adapter>, upstream: Upstream): Promise<Era | undefined> {
    const known = this.known(permit.resource)?.era
    return known ?? this.probe(permit, upstream, '', this.#options.handshakeMs)
  }

  #noteHeard(server: AdapterServer, heard: boolean, spoke: boolean): void {
    server.heard = heard || server.heard === true
    const { silences } = this.#options
    if (spoke) silences.answered(server.resource.uid)
    if (!heard) silences.failed(server.resource.uid, 'The server does not answer server/discover.')
  }

  /** Asks for the era and for the legacy side in one round trip, once at a time. */
  async learn(
    permit: Permit<'use', Adapter>,
    upstream: Upstream,
    passed = '',
  ): Promise<AdapterServer> {
    const { resource, principal } = permit
    const server = this.of(resource)
    const keepsStateless = resource.spec.legacyLeg === 'passthrough'
    await once(server.learning, passed, async () => {
      const [, legacySide] = await Promise.all([
        this.known(resource)?.era ?? this.probe(permit, upstream, passed),
        greet(this.http(resource, upstream, principal), keepsStateless),
      ])
      Object.assign(server, { legacySide })
    })
    return server
  }

  /** The caller of the latest request of a legacy session of a translation. */
  callerOf(session: LegacySession, principal: Principal): void {
    this.#callers.set(session, principal)
  }

  /** Seals an id of this process for a caller: of a legacy session, or of a parked call. */
  seal({ uid }: Pick<Resource, 'uid'>, principal: Principal, id: string): string {
    const { now, sealer, self } = this.#options
    const contents = { upstreamId: id, replica: ownedBy(self), uid, issuedAt: now() }
    return sealer.seal(contents, principal)
  }

  /**
   * The way to the server for one caller. Connections are kept for long, so each request decides
   * its own headers when it is sent. The gateway itself reads lists as the server gives them.
   */
  http(resource: Resource, upstream: Upstream, principal: Principal): HttpUpstream {
    const { guard, outgoing, shares, isLeaving } = this.#options
    const now = (): Resource => this.#servers.get(resource.uid)?.resource ?? resource
    return {
      pool: isGatewayItself(principal)
        ? upstream.via(partyOf(principal))
        : guard.to(upstream, now(), principal),
      path: upstream.replica.path,
      leaving: () => isLeaving(upstream),
      tellsRedirects: !isGatewayItself(principal) && mayWrite(principal, now()),
      held: () => shares.heldBytes.open(partyOf(principal)),
      headers: () => ['host', upstream.host, ...outgoing(now(), principal).headers],
    }
  }

  /** The present entry of an adapter, if there is one. */
  get(uid: string): AdapterServer | undefined {
    return this.#servers.get(uid)
  }

  /**
   * The entry of an adapter, made new if the server has changed.
   * @throws GatewayError `not_found` if the adapter is gone
   */
  of(asked: Resource): AdapterServer {
    const now = this.#options.routed(asked.name)
    // The adapter was removed or changed while the request was on its way.
    if (now?.uid !== asked.uid) throw new GatewayError('not_found')
    const resource = now.generation > asked.generation ? now : asked
    const known = this.#servers.get(resource.uid)
    if (known?.generation === resource.generation) return Object.assign(known, { resource })
    // A changed server may speak another era. Its sessions have ended with its replicas.
    known?.translator.close('The server was changed.')
    const server: AdapterServer = {
      resource,
      generation: resource.generation,
      era: undefined,
      legacySide: undefined,
      probedAt: Number.NEGATIVE_INFINITY,
      heard: undefined,
      refusal: undefined,
      probing: new Map(),
      learning: new Map(),
      translator: this.#translator(resource, () => server),
    }
    this.#servers.set(resource.uid, server)
    return server
  }

  #translator({ uid }: Resource, server: () => AdapterServer): Translator {
    const { answerTimeoutMs, handshakeMs, pick, shares, silences } = this.#options
    return new Translator({
      upstream: (key) => {
        const { resource } = server()
        return this.http(resource, pick(resource), this.#principalOf(server(), key))
      },
      refused: () => this.doubt(server().resource),
      unopened: () => silences.failed(uid, noSession),
      newState: (key) =>
        this.seal({ uid }, JSON.parse(key) as Principal, randomBytes(24).toString('base64url')),
      kept: (key) => shares.heldBytes.open(partyOf(JSON.parse(key) as Principal)),
      clientInfo,
      answerTimeoutMs,
      handshakeMs,
      silent: () => {
        silences.failed(uid, silentServer)
        return silentServer
      },
      places: this.#places,
      events: shares.eventBytes,
      ...shares.sessions,
      ...limits,
    })
  }

  /** The caller behind a key. For a session, this is the caller of its last request. */
  #principalOf({ translator }: AdapterServer, key: string): Principal {
    const { session: id, ...opener } = JSON.parse(key) as Principal & { readonly session?: string }
    const session = id === undefined ? undefined : translator.sessions.get(id)
    return (session && this.#callers.get(session)) ?? opener
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

  /** Ends listen streams in order, so that clients open them elsewhere. Calls in progress go on. */
  drain(): void {
    for (const { translator } of this.#servers.values()) translator.drain()
  }

  close(): void {
    for (const { translator } of this.#servers.values())
      translator.close('The gateway is shutting down.')
    this.#servers.clear()
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

/** The key of a caller for one legacy session. */
export function sessionKeyOf(principal: Principal, session: string): string {
  const { id, issuer, name, roles, network } = principal
  return JSON.stringify({ id, issuer, name, roles, network, session })
}
