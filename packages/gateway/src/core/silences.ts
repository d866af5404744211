/** The failure of a server to answer the last request that opened a conversation. */
export interface Silence {
  readonly message: string
  /** ISO 8601. */
  readonly since: string
}

/** Limits the memory for failing servers that have since been removed. */
const most = 10_000

/**
 * Servers that fail to answer when a client opens a conversation. The data plane of this process
 * records them, and `status` shows them.
 */
export class Silences {
  readonly #now: () => number
  readonly #byUid = new Map<string, Silence>()

  /** `now` gives milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now
  }

  failed(uid: string, message: string): void {
    const since = this.#byUid.get(uid)?.since ?? new Date(this.#now()).toISOString()
    this.#byUid.set(uid, { message, since })
    for (const oldest of this.#byUid.keys()) {
      if (this.#byUid.size <= most) return
      this.#byUid.delete(oldest)
    }
  }

  answered(uid: string): void {
    this.#byUid.delete(uid)
  }

  of(uid: string): Silence | undefined {
    return this.#byUid.get(uid)
  }
}
