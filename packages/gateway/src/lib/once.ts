/**
 * Lets each text pass once in a period. Two generations, of which the older is dropped whole, bound
 * its memory to the texts of two periods.
 */
export class Once {
  readonly #ms: number
  #young = new Set<string>()
  #old = new Set<string>()
  #since = Number.NEGATIVE_INFINITY

  constructor(ms: number) {
    this.#ms = ms
  }

  /** Tells whether a text is new. `now` in milliseconds. */
  passes(text: string, now: number): boolean {
    if (now - this.#since >= this.#ms) {
      this.#old = now - this.#since >= 2 * this.#ms ? new Set() : this.#young
      this.#young = new Set()
      this.#since = now
    }
    if (this.#young.has(text) || this.#old.has(text)) return false
    this.#young.add(text)
    return true
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }
}
