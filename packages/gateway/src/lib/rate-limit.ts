import { BoundedCache } from './bounded-cache.ts'

export interface RateLimitOptions {
  /** Number of tokens that can be taken at once. */
  readonly burst: number
  /** Number of tokens that return each second. */
  readonly perSecond: number
  /** Number of keys to remember; keys unused for long are forgotten first. */
  readonly keys: number
}

interface Bucket {
  left: number
  at: number
}

/** Token buckets by key: a burst at once, then a fixed rate each second. */
export class RateLimit {
  readonly #options: RateLimitOptions
  readonly #buckets: BoundedCache<string, Bucket>

  constructor(options: RateLimitOptions) {
    this.#options = options
    this.#buckets = new BoundedCache(options.keys)
  }

  /**
   * Takes tokens and returns 0, or returns the seconds until enough are there. `now` in
   * milliseconds.
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

  /** Gives back a token whose use turned out not to count. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key)
    if (bucket !== undefined) bucket.left = Math.min(this.#options.burst, bucket.left + 1)
  }
}
