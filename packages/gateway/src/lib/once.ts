/**
 * Lets each text pass once within a time. What it remembers is bounded by how much comes within twice that time: two generations, of which the
 * older one is dropped whole.
 */
export class Once {
  readonly #ms: number
  #young = new Set<string>()
  #old = new Set<string>()
  #since = Number.NEGATIVE_INFINITY

  constructor(ms: number) {
    this.#ms = ms
  }

  /** Whether a text comes for the first time. `now` in milliseconds. */
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
