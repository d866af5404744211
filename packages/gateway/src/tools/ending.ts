import type { Cancellation } from './cancellation.ts'

/** The end of a call: its client gives up, or its time is over. */
export class Ending {
  readonly #cancellation: Cancellation
  readonly #timer: NodeJS.Timeout
  #act: () => void = () => undefined
  over = false
  late = false

  constructor(cancellation: Cancellation, timeoutMs: number) {
    this.#cancellation = cancellation
    this.#timer = setTimeout(() => {
      this.late = true
      this.#end()
    }, timeoutMs)
    cancellation.listen(() => this.#end())
  }

  /** Registers the action that ends the current step, in place of the earlier action. */
  onEnd(act: () => void): void {
    this.#act = act
    if (this.over) act()
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#cancellation.listen(undefined)
  }

  #end(): void {
    this.over = true
    this.#act()
  }
}
