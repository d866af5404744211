/** Counts the listen streams of each caller, at all virtual servers together. */
export class ListenerPlaces {
  readonly most: number
  readonly #taken = new Map<string, number>()

  constructor(most: number) {
    this.most = most
  }

  /** False if the caller has as many as it may have. */
  take(caller: string): boolean {
    const taken = this.#taken.get(caller) ?? 0
    if (taken >= this.most) return false
    this.#taken.set(caller, taken + 1)
    return true
  }

  free(caller: string): void {
    const taken = this.#taken.get(caller) ?? 0
    if (taken > 1) this.#taken.set(caller, taken - 1)
    else this.#taken.delete(caller)
  }
}
