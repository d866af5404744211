/** Tells one listener, once, that the client of a call has given up. An AbortController for each call costs a twentieth of the call. */
export class Cancellation {
  #aborted = false
  #listener: (() => void) | undefined

  get aborted(): boolean {
    return this.#aborted
  }

  throwIfAborted(): void {
    if (this.#aborted) throw new DOMException('The client has given up.', 'AbortError')
  }

  /** In place of what listened before; undefined when nobody does any more. Calls back at once when it is too late. */
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
