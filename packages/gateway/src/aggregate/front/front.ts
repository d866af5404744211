import type { IncomingMessage, ServerResponse } from 'node:http'
import { ModernFront, type ModernServer } from '@mcp-gateway/mcp-http'
import { classifyRequest, mayBeModern, type Classified } from '@mcp-gateway/protocol'
import { GatewayError } from '../../core/errors.ts'
import type { Principal } from '../../core/principal.ts'
import type { Entrance } from '../../ingress/entrance.ts'
import { ownerFailed } from '../../ingress/peer-hop.ts'
import type { AggregateCaller } from '../members/member.ts'
import { LegacySessions, nobody, type LegacySessionsOptions } from './legacy-sessions.ts'
import { parseServerPath, type ServerPlace } from './server-path.ts'
import { callerOf, sessionUidOf, type Served, type Visit } from './visit.ts'

export interface FrontOptions extends LegacySessionsOptions {
  /**
   * The virtual server at an address, for a caller who may use it.
   * @throws GatewayError `not_found`, `forbidden`, `unauthenticated`, `no_ready_replica` if a
   * required member is away
   */
  readonly find: (place: ServerPlace, principal: Principal) => Served
  /**
   * The incarnation of the virtual server at an address, for a caller who may still use it.
   * @throws GatewayError `not_found`, `forbidden`, `unauthenticated`
   */
  readonly uidOf: (place: ServerPlace, principal: Principal) => string
  readonly entrance: Entrance
  /** True if this gateway itself has sent a request, to an endpoint. */
  readonly cameFromHere: (request: IncomingMessage) => boolean
  /** Bounds a server's silence about a request of a modern client. */
  readonly answerTimeoutMs: number
}

/** The addresses of virtual servers over HTTP, for clients of both eras. */
export class AggregateFront implements AsyncDisposable {
  readonly #options: FrontOptions
  readonly #sessions: LegacySessions
  readonly #modern: ModernFront<Called>

  constructor(options: FrontOptions) {
    this.#options = options
    this.#sessions = new LegacySessions(options)
    this.#modern = new ModernFront(allServers, options.answerTimeoutMs)
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    const place = parseServerPath(request.url ?? '')
    if (place === undefined) return false
    const { entrance, find } = this.#options
    entrance.admit(request, response, place.logged, (exchange) => {
      const served = find(place, exchange.principal)
      if (served.subject !== undefined) exchange.note({ subject: served.subject })
      const cameFromHere = this.#options.cameFromHere(request)
      const visit: Visit = {
        served,
        exchange,
        cameFromHere,
        sessionUid: sessionUidOf(served.uid, place.searches),
        principal: exchange.principal,
        session: undefined,
      }
      exchange.permittedBy((now) => this.#recheck(visit, place, now))
      exchange.checkMethod()
      // A virtual server with itself among its members would grow by each reading of its lists.
      if (cameFromHere && served.leadsElsewhere()) throw new GatewayError('loop_detected')
      exchange.readBody((body) => exchange.answer(() => this.#pass(visit, body ?? Buffer.alloc(0))))
    })
    return true
  }

  /** @throws GatewayError if the caller of an open request may not use the virtual server now */
  #recheck(visit: Visit, place: ServerPlace, now: Principal): void {
    try {
      if (this.#options.uidOf(place, now) !== visit.served.uid) throw new GatewayError('not_found')
    } catch (error) {
      // A session outlives its requests, and must not go on for a caller without rights.
      this.#sessions.becomes(visit, nobody)
      throw error
    }
    this.#sessions.becomes(visit, now)
  }

  #pass(visit: Visit, body: Buffer): void {
    const { request } = visit.exchange
    if (request.method === 'POST' && mayBeModern(body, request.headers)) {
      const classified = classifyRequest(body.toString(), request.headers)
      if (classified.era === 'modern') return this.#modernCall(visit, classified)
    }

    this.#sessions.take(visit, body)
  }

  /** Serves a modern request, or hands it to the process that holds the call of its retry. */
  #modernCall(visit: Visit, classified: Classified & { readonly era: 'modern' }): void {
    const { exchange, served } = visit
    const { request, response, principal } = exchange
    const { hop } = this.#options
    const called: Called = {
      server: served.server,
      caller: callerOf(visit, () => visit.principal, ''),
    }
    const serve = (): void => this.#modern.handle(classified, called, request, response)
    const owner =
      'request' in classified && classified.request !== undefined
        ? served.stateOwner(classified.request, principal)
        : undefined
    if (owner === undefined || owner === hop.self || exchange.isHandedOver) return serve()
    // Any process can answer that it does not know the state of a call.
    hop.forward(owner, exchange, (repeatable) =>
      repeatable ? exchange.guard(serve) : exchange.fail(ownerFailed(repeatable)),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#modern.close()
    this.#sessions.close()
  }
}

/** A request, with the virtual server that it is for. */
interface Called {
  readonly server: ModernServer<AggregateCaller>
  readonly caller: AggregateCaller
}

/** All virtual servers as one. */
const allServers: ModernServer<Called> = {
  request: ({ caller, server }, request, exchange) => server.request(caller, request, exchange),
  gone: (exchange, called) => called?.server.gone(exchange),
}
