/**
 * Owns parts that were opened in order, and disposes them in the reverse order.
 * (`AsyncDisposableStack` needs Node.js 24.)
 */
export class Parts implements AsyncDisposable {
  readonly #endings: (() => PromiseLike<void>)[] = []

  use<T extends AsyncDisposable>(part: T): T {
    this.#endings.push(() => part[Symbol.asyncDispose]())
    return part
  }

  defer(ending: () => Promise<void>): void {
    this.#endings.push(ending)
  }

  /** Runs every ending, even after a failure, and then throws the first failure. */
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
