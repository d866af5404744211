import type { Resource, Stored } from '../core/resource.ts'
import type { Change } from './store.ts'

/**
 * One consumer of changes. It keeps at most one pending change for each name, which bounds the
 * memory of a slow consumer.
 */
export class Watcher<R extends Stored = Resource> {
  readonly #pending = new Map<string, Change<R>>()
  #wake: (() => void) | undefined

  notify(change: Change<R>): void {
    // Delete and set again, which keeps the order of the last changes.
    this.#pending.delete(change.name)
    this.#pending.set(change.name, change)
    this.#wake?.()
  }

  async *changes(signal: AbortSignal): AsyncIterable<Change<R>> {
    const wake = (): void => this.#wake?.()
    signal.addEventListener('abort', wake)

    try {
      while (!signal.aborted) {
        for (const [name, change] of this.#pending) {
          this.#pending.delete(name)
          yield change
          if (signal.aborted) return
        }

        if (this.#pending.size > 0) continue
        await new Promise<void>((resolve) => {
          this.#wake = resolve
          if (signal.aborted) resolve()
        })
        this.#wake = undefined
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }
}
