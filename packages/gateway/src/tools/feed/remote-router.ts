import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from '../../core/errors.ts'
import type { PeerDirectory } from '../../core/directories/peers.ts'
import type { Entrance } from '../../ingress/entrance.ts'
import type { Exchange } from '../../ingress/exchange.ts'
import { ownerFailed, type Hop } from '../../ingress/peer-hop.ts'
import { type SessionSealer } from '../../ingress/session-sealer.ts'
import { sessionIdOf } from '../../ingress/mcp-path.ts'
import { admitToRouter, routerUid } from '../front.ts'
import { monotonicNow } from '../../lib/clock.ts'

export interface RemoteRouterOptions {
  readonly toolGateways: PeerDirectory
  readonly entrance: Entrance
  readonly hop: Hop
  readonly sealer: SessionSealer
}

/** A tool gateway that could not be reached is tried last for so long. */
const restMs = 2000

/**
 * `/mcp` if tool gateways serve it. Authenticates requests here and hands each to a tool gateway; a
 * session goes to the one that holds it.
 */
export class RemoteRouter {
  readonly #options: RemoteRouterOptions
  readonly #open = new Map<string, number>()
  readonly #restsUntil = new Map<string, number>()
  #turn = 0

  constructor(options: RemoteRouterOptions) {
    this.#options = options
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    return admitToRouter(this.#options.entrance, request, response, (exchange) =>
      this.#pass(exchange),
    )
  }

  #pass(exchange: Exchange): void {
    const sealed = sessionIdOf(exchange.request)
    if (sealed === undefined) return this.#tryOne(exchange, this.#order())
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
    const { hop } = this.#options
    this.#open.set(name, (this.#open.get(name) ?? 0) + 1)
    let settled = false
    const settle = (): void => {
      if (settled) return
      settled = true
      const left = (this.#open.get(name) ?? 1) - 1
      if (left > 0) this.#open.set(name, left)
      else this.#open.delete(name)
    }
    exchange.response.once('close', settle)
    exchange.note({ replica: name })
    hop.forward(name, exchange, (repeatable) => {
      settle()
      if (repeatable) this.#restsUntil.set(name, monotonicNow() + restMs)
      failed(repeatable)
    })
  }

  /**
   * Sorts the tool gateways: ready and reachable ones first, then those with the fewest open
   * requests. Equal ones take turns.
   */
  #order(): readonly string[] {
    const now = monotonicNow()
    for (const [name, until] of this.#restsUntil) if (until <= now) this.#restsUntil.delete(name)
    const peers = [...this.#options.toolGateways.entries()].map(([name, { ready }]) => ({
      name,
      waits: !ready || this.#restsUntil.has(name),
      open: this.#open.get(name) ?? 0,
    }))
    const turn = (this.#turn = (this.#turn + 1) % Math.max(1, peers.length))
    const inTurn = [...peers.slice(turn), ...peers.slice(0, turn)]
    return inTurn
      .sort((a, b) => Number(a.waits) - Number(b.waits) || a.open - b.open)
      .map(({ name }) => name)
  }
}
