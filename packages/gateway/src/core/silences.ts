/** How a server failed the last request that opened a conversation with it. */
export interface Silence {
  readonly message: string
  /** ISO 8601. */
  readonly since: string
}

/** Bounds the memory of servers that were removed while they failed. */
const most = 10_000

/**
 * Servers that do not answer when a client opens a conversation. The data plane of this process
 * notes them, and their status shows it.
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
