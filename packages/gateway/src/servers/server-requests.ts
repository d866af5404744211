import { ModernSender } from '@mcp-gateway/mcp-http'
import {
  errorAnswer,
  errorCode,
  errorData,
  metaKey,
  modernVersion,
  readObject,
  readString,
  type Exchange,
  type ModernRequest,
  type RawObject,
} from '@mcp-gateway/protocol'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import { permitGateway, type Permit } from '../core/permission.ts'
import { callerKey, type Principal } from '../core/principal.ts'
import type { Adapter } from '../core/resource.ts'
import { ownerOf } from '../ingress/session-owner.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Sticky, Upstreams } from '../upstream/upstreams.ts'
import { sessionKeyOf, type AdapterServers } from './adapter-servers.ts'
import { clientInfo, type Era } from './era-questions.ts'

export interface ServerRequestsOptions {
  readonly adapters: AdapterServers
  readonly upstreams: Upstreams
  readonly answerTimeoutMs: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Opens the state of a parked call. */
  readonly sealer: SessionSealer
}

/** All that clients can do, so that servers list all that they have. */
const allCapabilities = '{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}'

/**
 * Sends modern requests to the servers of adapters, whichever era they speak, and waits for a server
 * that is cold.
 */
export class ServerRequests {
  readonly #options: ServerRequestsOptions
  readonly #sender: ModernSender
  /** How to stop the work for an exchange. */
  readonly #stops = new WeakMap<Exchange, () => void>()

  constructor(options: ServerRequestsOptions) {
    this.#options = options
    this.#sender = new ModernSender(options.answerTimeoutMs)
  }

  /**
   * Sends a request of a caller. `session` names the session of a legacy client, if any. Modern
   * servers get `headers` (name, value, name, value) beside those that the gateway decides.
   */
  request(
    permit: Permit<'use', Adapter>,
    session: string,
    request: ModernRequest,
    exchange: Exchange,
    headers: readonly string[] = [],
  ): void {
    const { adapters, upstreams } = this.#options
    const fail = (error: unknown): void => {
      this.#stops.delete(exchange)
      const { status, message } = toGatewayError(error)
      const data = errorData(error as Error)
      exchange.answer(
        Math.max(status, 500),
        errorAnswer(request.id, errorCode.internal, message, data),
      )
    }
    const sticky = this.#sticky(permit.resource, request)
    try {
      const ready = upstreams.pick(permit.resource, sticky)
      const era = adapters.known(permit.resource)?.era
      if (ready !== undefined && era !== undefined)
        return this.#send(permit, session, ready, era, request, exchange, headers)
    } catch (error) {
      return fail(error)
    }
    this.#prepare(permit, sticky, exchange).then(
      (ready) => {
        if (ready !== undefined)
          this.#send(permit, session, ready.upstream, ready.era, request, exchange, headers)
      },
      (error: unknown) => fail(error),
    )
  }

  /** The gateway process that holds the parked call of a state; undefined if none does. */
  stateOwner({ uid }: Adapter, principal: Principal, state: string): string | undefined {
    try {
      return ownerOf(this.#options.sealer.open(state, uid, principal))
    } catch {
      return undefined
    }
  }

  /** The client of an exchange has left before its answer. */
  gone(exchange: Exchange): void {
    this.#stops.get(exchange)?.()
    this.#stops.delete(exchange)
  }

  /**
   * Sends a request of the gateway's own, without tool rules. Does not wait for a cold server.
   * @throws Error that says why there is no result
   */
  ask(
    adapter: Adapter,
    method: string,
    params: RawObject,
    signal: AbortSignal,
  ): Promise<RawObject> {
    return new Promise((resolve, reject) => {
      const permit = permitGateway(adapter)
      const exchange: Exchange = {
        tell: () => undefined,
        answer: (_status, text) => {
          const message = readObject(text)
          const result = readObject(message?.get('result'))
          const error = readObject(message?.get('error'))
          if (result !== undefined) resolve(result)
          else reject(new Error(readString(error?.get('message')) ?? 'It gave no answer.'))
        },
      }
      signal.addEventListener('abort', () => {
        this.gone(exchange)
        reject(signal.reason as Error)
      })
      signal.throwIfAborted()
      if (this.#options.upstreams.pick(adapter, undefined) === undefined)
        throw new Error('No replica is ready.')
      this.request(permit, '', ownRequest(method, params), exchange)
    })
  }

  /**
   * Keeps a stream of the gateway's own open, and calls `told` with the method of each notification
   * and `ended` at the end: `refused` if the server has no such streams. Returns the function that
   * ends the stream.
   */
  listen(
    adapter: Adapter,
    notifications: string,
    told: (method: string) => void,
    ended: (refused: boolean) => void,
  ): () => void {
    const exchange: Exchange = {
      tell: (text) => told(readString(readObject(text)?.get('method')) ?? ''),
      answer: (_status, text) => {
        const code = Number(readObject(readObject(text)?.get('error'))?.get('code'))
        ended(code === errorCode.methodNotFound || code === errorCode.invalidParams)
      },
    }
    const params: RawObject = new Map([['notifications', notifications]])
    const request = ownRequest('subscriptions/listen', params)
    this.request(permitGateway(adapter), '', request, exchange)
    return () => this.gone(exchange)
  }

  #send(
    { resource, principal }: Permit<'use', Adapter>,
    session: string,
    upstream: Upstream,
    era: Era,
    request: ModernRequest,
    exchange: Exchange,
    headers: readonly string[],
  ): void {
    const { adapters } = this.#options
    if (era === 'legacy') {
      const { asModern } = adapters.of(resource).translator
      const key = session === '' ? callerKey(principal) : sessionKeyOf(principal, session)
      this.#stops.set(exchange, () => asModern.gone(exchange))
      return asModern.request(key, request, exchange)
    }
    this.#stops.set(exchange, () => this.#sender.gone(exchange))
    const server = adapters.http(resource, upstream, principal)
    const way = { ...server, headers: () => [...server.headers(), ...headers] }
    this.#sender.send(headers.length === 0 ? server : way, request, exchange)
  }

  /** The replica that a retry names in its state, if that replica exists. */
  #sticky(adapter: Adapter, { params }: ModernRequest): Sticky | undefined {
    const state = readString(params.get('requestState')) ?? ''
    const [, replica] = /^([a-z0-9-]+)~/.exec(state) ?? []
    const { now, upstreams } = this.#options
    return replica !== undefined && upstreams.has(adapter, replica)
      ? { replica, issuedAt: now() }
      : undefined
  }

  /** Waits for a replica, and asks for its era. Undefined if the client has gone meanwhile. */
  async #prepare(
    permit: Permit<'use', Adapter>,
    sticky: Sticky | undefined,
    exchange: Exchange,
  ): Promise<{ readonly upstream: Upstream; readonly era: Era } | undefined> {
    const { adapters, upstreams } = this.#options
    const waiting = new AbortController()
    this.#stops.set(exchange, () => waiting.abort())
    const upstream = await upstreams
      .waitFor(permit.resource, sticky, waiting.signal)
      .catch((error: unknown) => {
        if (waiting.signal.aborted) return undefined
        throw error
      })
    if (upstream === undefined || waiting.signal.aborted) return undefined
    const era = await adapters.eraOf(permit, upstream)
    if (waiting.signal.aborted) return undefined
    if (era === undefined)
      throw new GatewayError('upstream_failed', {
        detail:
          adapters.known(permit.resource)?.refusal ??
          'The server does not answer server/discover. Look into its log.',
      })
    return { upstream, era }
  }
}

function ownRequest(method: string, params: RawObject): ModernRequest {
  const meta: RawObject = new Map([
    [metaKey.protocolVersion, JSON.stringify(modernVersion)],
    [metaKey.clientCapabilities, allCapabilities],
    [metaKey.clientInfo, JSON.stringify(clientInfo)],
  ])
  return { id: '1', method, meta, params }
}
