import { BoundedCache } from './bounded-cache.ts'

export interface RateLimitOptions {
  /** How many may come at once. */
  readonly burst: number
  /** How many come back each second. */
  readonly perSecond: number
  /** How many keys are remembered; those of which nothing was heard for long are forgotten first. */
  readonly keys: number
}

interface Bucket {
  left: number
  at: number
}

/** Token buckets by key: so many at once, so many each second from then on. */
export class RateLimit {
  readonly #options: RateLimitOptions
  readonly #buckets: BoundedCache<string, Bucket>

  constructor(options: RateLimitOptions) {
    this.#options = options
    this.#buckets = new BoundedCache(options.keys)
  }

  /**
   * Takes some and gives 0; when there are not enough, gives the seconds until there will be. `now`
   * in milliseconds.
   */
  take(key: string, now: number, amount = 1): number {
    const { burst, perSecond } = this.#options
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) this.#buckets.set(key, (bucket = { left: burst, at: now }))
    bucket.left = Math.min(burst, bucket.left + (Math.max(0, now - bucket.at) / 1000) * perSecond)
    bucket.at = now
    if (bucket.left < amount) return (amount - bucket.left) / perSecond
    bucket.left -= amount
    return 0
  }

  /** Gives back one that was taken and turned out not to count. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key)
    if (bucket !== undefined) bucket.left = Math.min(this.#options.burst, bucket.left + 1)
  }
}
