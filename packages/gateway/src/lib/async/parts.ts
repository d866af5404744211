/** Owns things that were made in order, and lets them go in the reverse order. (`AsyncDisposableStack` needs Node.js 24.) */
export class Parts implements AsyncDisposable {
  readonly #endings: (() => PromiseLike<void>)[] = []

  use<T extends AsyncDisposable>(part: T): T {
    this.#endings.push(() => part[Symbol.asyncDispose]())
    return part
  }

  defer(ending: () => Promise<void>): void {
    this.#endings.push(ending)
  }

  /** Every ending runs, even when one before it fails; then the first failure is thrown. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (let ending = this.#endings.pop(); ending !== undefined; ending = this.#endings.pop()) {
      try {
        await ending()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
