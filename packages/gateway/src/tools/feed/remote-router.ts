import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from '../../core/errors.ts'
import type { Entrance } from '../../ingress/entrance.ts'
import type { Exchange } from '../../ingress/exchange.ts'
import { ownerFailed, type Hop } from '../../ingress/peer-hop.ts'
import { type SessionSealer } from '../../ingress/session-sealer.ts'
import { sessionIdOf } from '../../ingress/mcp-path.ts'
import { checkKnown } from '../../core/permission.ts'
import type { GatewayTurns } from './gateway-turns.ts'

/** Stands for an adapter's incarnation in the sealed session ids of `/mcp`. */
export const routerUid = '00000000-0000-4000-8000-6d63702f6d63'

export interface RemoteRouterOptions {
  readonly turns: GatewayTurns
  readonly entrance: Entrance
  readonly hop: Hop
  readonly sealer: SessionSealer
  /** True if adapters join `/mcp`, which only a process with adapters can serve. */
  readonly adaptersJoin: () => boolean
}

/**
 * `/mcp` if tool gateways serve it. Authenticates requests here and hands each to a tool gateway; a
 * session goes to the one that holds it.
 */
export class RemoteRouter {
  readonly #options: RemoteRouterOptions

  constructor(options: RemoteRouterOptions) {
    this.#options = options
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    if (!/^\/mcp\/?(\?|$)/.test(request.url ?? '') || this.#options.adaptersJoin()) return false
    this.#options.entrance.admit(request, response, '/mcp', (exchange) => {
      checkKnown(exchange.principal)
      exchange.checkMethod()
      exchange.readBody(() => exchange.answer(() => this.#pass(exchange)))
    })
    return true
  }

  #pass(exchange: Exchange): void {
    const sealed = sessionIdOf(exchange.request)
    if (sealed === undefined) return this.#tryOne(exchange, this.#options.turns.order())
    const { replica: owner } = this.#options.sealer.open(sealed, routerUid, exchange.principal)
    this.#send(owner, exchange, (repeatable) => exchange.fail(ownerFailed(repeatable)))
  }

  /** Tries the tool gateways in order. A request that must not run twice goes to no other. */
  #tryOne(exchange: Exchange, [name, ...others]: readonly string[]): void {
    if (name === undefined)
      return exchange.fail(
        new GatewayError('no_ready_replica', {
          detail: 'No tool gateway can be reached.',
          headers: { 'retry-after': '1' },
        }),
      )
    this.#send(name, exchange, (repeatable) => {
      if (repeatable) return this.#tryOne(exchange, others)
      exchange.fail(
        new GatewayError('upstream_failed', {
          detail: 'The tool gateway broke off. The request may have run.',
        }),
      )
    })
  }

  #send(name: string, exchange: Exchange, failed: (repeatable: boolean) => void): void {
    const { hop, turns } = this.#options
    const settle = turns.begin(name)
    exchange.response.once('close', settle)
    exchange.note({ replica: name })
    hop.forward(name, exchange, (repeatable) => {
      settle()
      if (repeatable) turns.rest(name)
      failed(repeatable)
    })
  }
}
