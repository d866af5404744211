import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import { clientNetwork } from '../lib/net/address-policy.ts'
import { RateLimit } from '../lib/rate-limit.ts'
import type { Method } from './authenticate.ts'

export interface FailureLimitOptions {
  /** The address whose failures are counted together. */
  readonly addressOf: (request: IncomingMessage) => string
  /** Monotonic clock, in milliseconds. */
  readonly now: () => number
}

/** Limits on failed credentials, by the client's network. */
const failures = { burst: 200, perSecond: 10, keys: 20_000 }
/**
 * Milliseconds that each answer waits once an address has failed too often. This slows a flood over
 * few connections.
 */
const penaltyMs = 100

/**
 * Limits bad credentials of every kind by address. The limit never affects credentials that are
 * known to be good.
 */
export class FailureLimit {
  readonly #options: FailureLimitOptions
  readonly #failed = new RateLimit(failures)

  constructor(options: FailureLimitOptions) {
    this.#options = options
  }

  addressOf(request: IncomingMessage): string {
    return clientNetwork(this.#options.addressOf(request))
  }

  /**
   * Counts a failure of an address. Returns undefined while the address is below the limit, and
   * otherwise rejects with `too_many_requests`.
   */
  count(address: string): Promise<never> | undefined {
    const wait = this.#failed.take(address, this.#options.now())
    if (wait === 0) return undefined
    const error = new GatewayError('too_many_requests', {
      detail:
        'The gateway refused too many credentials from this address. Wait as Retry-After says.',
      headers: { 'retry-after': String(Math.ceil(wait)) },
    })
    return sleep(penaltyMs).then(() => {
      throw error
    })
  }

  /** Takes back a counted failure that was not the fault of the credential. */
  giveBack(address: string): void {
    this.#failed.giveBack(address)
  }

  /** Counts a refusal, and rejects with the refusal or with `too_many_requests`. */
  refuse(request: IncomingMessage, refusal: unknown): Promise<never> {
    return this.count(this.addressOf(request)) ?? Promise.reject(refusal as Error)
  }

  /** Wraps a method so that its refusals count. */
  counting(method: Method): Method {
    return (request) => {
      try {
        return method(request)
      } catch (error) {
        return this.refuse(request, error)
      }
    }
  }
}
