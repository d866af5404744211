import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from '../core/errors.ts'
import type { PeerDirectory } from '../core/peers.ts'
import type { Entrance, RequestContext } from '../ingress/entrance.ts'
import { ownerFailed, type Hop } from '../ingress/peer-hop.ts'
import { type SessionSealer } from '../ingress/session-sealer.ts'
import { sessionIdOf } from '../ingress/mcp-path.ts'
import { admitToRouter, isRouterPath, routerUid } from './front.ts'
import { monotonicNow } from '../lib/clock.ts'

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

  handles(url: string): boolean {
    return isRouterPath(url)
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    admitToRouter(this.#options.entrance, request, response, (context, body) =>
      this.#pass(context, body),
    )
  }

  #pass(context: RequestContext, body: Buffer | null): void {
    const sealed = sessionIdOf(context.request)
    if (sealed === undefined) return this.#tryOne(context, body, this.#order())
    const { replica: owner } = this.#options.sealer.open(sealed, routerUid, context.principal)
    this.#send(owner, context, body, (unsent) => context.fail(ownerFailed(unsent)))
  }

  /** Tries the tool gateways in order. A sent request may have run, so it goes to no other. */
  #tryOne(
    context: RequestContext,
    body: Buffer | null,
    [name, ...others]: readonly string[],
  ): void {
    if (name === undefined)
      return context.fail(
        new GatewayError('no_ready_replica', {
          detail: 'No tool gateway can be reached.',
          headers: { 'retry-after': '1' },
        }),
      )
    this.#send(name, context, body, (unsent) => {
      if (unsent) return this.#tryOne(context, body, others)
      context.fail(
        new GatewayError('upstream_failed', {
          detail: 'The tool gateway broke off. The request may have run.',
        }),
      )
    })
  }

  #send(
    name: string,
    context: RequestContext,
    body: Buffer | null,
    failed: (unsent: boolean) => void,
  ): void {
    const { request, response, principal } = context
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
    response.once('close', settle)
    context.replica = name
    hop.forward(name, { request, response, body, principal }, (unsent) => {
      settle()
      if (unsent) this.#restsUntil.set(name, monotonicNow() + restMs)
      failed(unsent)
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
