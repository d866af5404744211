import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { drained, Exchange, type ExchangeOptions, type OpenExchanges } from './exchange.ts'
import type { Hop } from './peer-hop.ts'

export interface EntranceOptions extends ExchangeOptions {
  readonly hop: Hop
}

/**
 * Every MCP request enters and leaves here, for any endpoint. The entrance finds its caller, reads
 * its body, answers its error and writes its line in the log.
 */
export class Entrance implements Disposable {
  readonly #options: EntranceOptions
  readonly #open: OpenExchanges = { interruptible: new Map(), draining: false }
  readonly #recheck: NodeJS.Timeout

  constructor(options: EntranceOptions) {
    this.#options = options
    this.#recheck = setInterval(() => this.askAgain(), options.recheckMs).unref()
  }

  /**
   * Admits a request, and calls `proceed` once its caller is known. An error that `proceed` throws
   * becomes the answer. `path` is for the log.
   */
  admit(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    proceed: (exchange: Exchange) => void,
  ): void {
    const exchange = new Exchange(request, response, path, this.#options, this.#open)
    exchange.guard(() => {
      if (this.#open.draining) throw drained()
      const handed = this.#options.hop.open(request)
      const known = (principal: Principal): void => {
        exchange.enter(principal, handed)
        proceed(exchange)
      }
      const principal = handed?.principal ?? this.#options.authenticate(request)
      if (!(principal instanceof Promise)) return known(principal)

      principal.then(
        (found) =>
          exchange.guard(() => {
            if (request.destroyed) throw new GatewayError('client_closed_request')
            known(found)
          }),
        (error: unknown) => exchange.fail(error),
      )
    })
  }

  /** Refuses new requests, and ends those that can be interrupted. Calls in progress go on. */
  drain(): void {
    this.#open.draining = true
    for (const [{ calling }, interrupt] of this.#open.interruptible)
      if (!calling) interrupt(drained())
  }

  /**
   * Checks again who may go on, because a stream outlives its token, key or role. The stream of a
   * caller without the right ends, and its client is refused when it comes back.
   */
  askAgain(): void {
    for (const [exchange, interrupt] of this.#open.interruptible) {
      const stop = (error: unknown): void => interrupt(toGatewayError(error))
      try {
        const principal = exchange.callerOfNow()
        if (principal instanceof Promise)
          principal.then((found) => exchange.checkStillMay(found)).catch(stop)
        else exchange.checkStillMay(principal)
      } catch (error) {
        stop(error)
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#recheck)
  }
}
