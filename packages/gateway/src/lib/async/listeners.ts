/** The listeners of one kind of event. */
export class Listeners<Event = void> {
  readonly #all = new Set<(event: Event) => void>()

  /** Returns a function that removes the listener. */
  add(listener: (event: Event) => void): () => void {
    this.#all.add(listener)
    return () => this.#all.delete(listener)
  }

  tell(event: Event): void {
    for (const listener of this.#all) listener(event)
  }
}
