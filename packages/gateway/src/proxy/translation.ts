import { randomBytes } from 'node:crypto'
import { classifyRequest } from '@mcp-gateway/protocol'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { callerKey, partyOf } from '../core/principal.ts'
import type { Adapter } from '../core/resource.ts'
import type { Exchange } from '../ingress/exchange.ts'
import { ownerOf } from '../ingress/session-owner.ts'
import type { Session, SessionSealer } from '../ingress/session-sealer.ts'
import { sessionKeyOf, type AdapterServers } from '../servers/adapter-servers.ts'
import type { Era, LegacySide } from '../servers/era-questions.ts'
import type { ToolGuard } from '../servers/tool-guard.ts'
import { gatewaysIn } from '../upstream/loop-mark.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { answerCall, opensSession, stateOf, type Call } from './call.ts'
import type { Forwarding } from './forward.ts'

export interface TranslationOptions {
  readonly servers: AdapterServers
  readonly guard: ToolGuard
  readonly sealer: SessionSealer
}

const nothing = Buffer.alloc(0)

/** Decides which requests to an adapter cross eras, and hands those to its translator. */
export class Translation {
  readonly #options: TranslationOptions

  constructor(options: TranslationOptions) {
    this.#options = options
  }

  /**
   * Takes a POST outside of sessions if client and server speak different eras. Returns false if
   * the request is to be passed on. If that turns out later, `passOn` is called.
   */
  takes(call: Call, upstream: Upstream, passOn: () => void): boolean {
    const { permit, opening, modern } = call
    const { resource } = permit
    if (opening === undefined || resource.spec.eras === 'passthrough') return false

    const known = this.#options.servers.known(resource)
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

    const { servers } = this.#options
    const known = servers.known(resource)
    if (known?.era === 'legacy' || known?.legacySide !== undefined || !opensSession(opening))
      return undefined

    return (status, { passOn, leave }) =>
      when(
        servers.learn(permit, upstream, gatewaysIn(call.exchange.request.headers)),
        call.exchange,
        (server) => {
          if (server.era === 'modern' && leavesLegacySide(resource, server.legacySide)) {
            leave()
            return this.#answer(call, () => this.#open(call, opening))
          }
          // An `initialize` that succeeds is no reason to ask the server again.
          if (status < 300) server.legacySide ??= 'stateless'
          passOn()
        },
      )
  }

  /** Asks the server for its era, never with a call of a client. */
  #ask(call: Call, upstream: Upstream, decide: (era: Era | undefined) => void): void {
    const { servers } = this.#options
    const known = servers.known(call.permit.resource)?.era
    if (known !== undefined) return decide(known)

    const { exchange, permit } = call
    exchange.waits((reason) => exchange.fail(reason))
    when(servers.probe(permit, upstream, gatewaysIn(exchange.request.headers)), exchange, decide)
  }

  /** Answers a call by work of the engine, rather than by the bytes of the server. */
  #answer(call: Call, work: () => void): void {
    answerCall(call, this.#options.guard, work)
  }

  #modern({ permit, exchange }: Call, body: Buffer): void {
    const { resource, principal } = permit
    const { request, response } = exchange
    const classified = classifyRequest(body.toString(), request.headers)
    const { translator } = this.#options.servers.of(resource)
    if (classified.era === 'modern')
      translator.modern(callerKey(principal), classified, request, response)
    else
      throw new GatewayError('invalid_request', {
        detail: 'The request names the modern version, but is no request of it.',
      })
  }

  #open({ permit, exchange }: Call, body: Buffer): void {
    const { resource, principal } = permit
    const { servers } = this.#options
    const id = randomBytes(16).toString('base64url')
    const sealed = servers.seal(resource, principal, id)
    servers
      .of(resource)
      .translator.open(
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
    const { servers } = this.#options
    const server = servers.get(resource.uid)
    const session = server?.translator.sessions.get(upstreamId)
    if (server === undefined || session === undefined) throw unknownSession()
    server.resource = resource
    servers.callerOf(session, principal)
    const { request, response } = exchange
    server.translator.sessions.take(session, request, response, body ?? nothing)
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
}

/** True if a server of both eras serves legacy clients from its modern side. */
function leavesLegacySide({ spec }: Adapter, side: LegacySide | undefined): boolean {
  const { legacyLeg = 'auto' } = spec
  return (
    legacyLeg === 'translate' || side === 'none' || (legacyLeg === 'auto' && side === 'stateless')
  )
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
