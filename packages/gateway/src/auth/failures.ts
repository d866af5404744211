import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import { clientNetwork } from '../lib/net/address-policy.ts'
import { RateLimit } from '../lib/rate-limit.ts'
import type { Method } from './authenticate.ts'

export interface FailureLimitOptions {
  /** Whose failures are counted together. */
  readonly addressOf: (request: IncomingMessage) => string
  /** Milliseconds that never jump. */
  readonly now: () => number
}

/** Credentials that fail, by the network of a client. */
const failures = { burst: 200, perSecond: 10, keys: 20_000 }
/** How long an address with too many failures waits for each answer: a flood over some connections is a trickle then. */
const penaltyMs = 100

/** Bad credentials of whichever kind, limited by the address that they come from. Good ones that are known are never in its way. */
export class FailureLimit {
  readonly #options: FailureLimitOptions
  readonly #failed = new RateLimit(failures)

  constructor(options: FailureLimitOptions) {
    this.#options = options
  }

  addressOf(request: IncomingMessage): string {
    return clientNetwork(this.#options.addressOf(request))
  }

  /** Counts a failure of an address; undefined while it has not too many, otherwise it rejects with `too_many_requests`. */
  count(address: string): Promise<never> | undefined {
    const wait = this.#failed.take(address, this.#options.now())
    if (wait === 0) return undefined
    const error = new GatewayError('too_many_requests', {
      detail: 'Too many credentials from this address were refused.',
      headers: { 'retry-after': String(Math.ceil(wait)) },
    })
    return sleep(penaltyMs).then(() => {
      throw error
    })
  }

  /** What was counted has turned out to be no failure. */
  giveBack(address: string): void {
    this.#failed.giveBack(address)
  }

  /** Counts a refusal, and rejects with it or with that there are too many. */
  refuse(request: IncomingMessage, refusal: unknown): Promise<never> {
    return this.count(this.addressOf(request)) ?? Promise.reject(refusal as Error)
  }

  /** The same method, whose refusals count. */
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
