/** A virtual server, whose lists can be made again from those of its members. */
export interface Warm {
  /** Forgets the lists. */
  cool(): void
}

/**
 * Bounds the lists of all virtual servers together. Beyond the bound, the server that was used least
 * recently forgets its lists.
 */
export class WarmLists {
  readonly #most: number
  /** The characters of each server's lists, the least recently used first. */
  readonly #lengths = new Map<Warm, number>()
  /** Servers whose lists are to be measured again. */
  readonly #changed = new WeakSet<Warm>()
  #latest: Warm | undefined
  #length = 0

  constructor(most: number) {
    this.#most = most
  }

  /** The characters of all lists that are kept. */
  get length(): number {
    return this.#length
  }

  /** The lists of a server are in use. `lengthOf` tells how long they are. */
  used(one: Warm, lengthOf: () => number): void {
    if (this.#latest === one) return
    const known = this.#changed.has(one) ? undefined : this.#lengths.get(one)
    const length = known ?? lengthOf()
    this.forget(one)
    this.#changed.delete(one)
    this.#lengths.set(one, length)
    this.#length += length
    this.#latest = one

    for (const oldest of this.#lengths.keys()) {
      if (this.#length <= this.#most || oldest === one) return
      this.forget(oldest)
      oldest.cool()
    }
  }

  /** The lists of a server have another length when they are used again. */
  changed(one: Warm): void {
    this.#changed.add(one)
    if (this.#latest === one) this.#latest = undefined
  }

  /** A server has no lists any more. */
  forget(one: Warm): void {
    this.#length -= this.#lengths.get(one) ?? 0
    this.#lengths.delete(one)
    if (this.#latest === one) this.#latest = undefined
  }
}
