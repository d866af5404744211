/**
 * Tells one listener, once, that the client of a call has given up. An AbortController for each
 * call would cost a twentieth of the call.
 */
export class Cancellation {
  #aborted = false
  #listener: (() => void) | undefined

  get aborted(): boolean {
    return this.#aborted
  }

  throwIfAborted(): void {
    if (this.#aborted) throw new DOMException('The client has given up.', 'AbortError')
  }

  /**
   * Replaces the listener; undefined removes it. Calls the listener at once if the client has given
   * up.
   */
  listen(listener: (() => void) | undefined): void {
    if (this.#aborted) listener?.()
    else this.#listener = listener
  }

  abort(): void {
    if (this.#aborted) return
    this.#aborted = true
    const listener = this.#listener
    this.#listener = undefined
    listener?.()
  }
}
