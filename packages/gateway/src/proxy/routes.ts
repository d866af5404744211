import type { Resource } from '../core/resource.ts'
import type { Store } from '../store/store.ts'

/**
 * The data plane's copy of what is registered, kept current by the store's changes, so that no request reads the store.
 * If the store fails, routing goes on with what is known.
 */
export class RouteTable implements AsyncDisposable {
  readonly #resources = new Map<string, Resource>()
  readonly #stop = new AbortController()
  #following: Promise<void> = Promise.resolve()

  /** Fills the table and follows the store from then on. */
  static async open(store: Store): Promise<RouteTable> {
    const table = new RouteTable()
    // Watching begins before listing: a change in between is seen twice rather than missed.
    const changes = store.watch(table.#stop.signal)[Symbol.asyncIterator]()
    const first = changes.next()
    for (const resource of await store.list({})) table.#resources.set(resource.name, resource)
    table.#following = table.#follow(changes, first)
    return table
  }

  get(name: string): Resource | undefined {
    return this.#resources.get(name)
  }

  async #follow(
    changes: AsyncIterator<{ name: string; resource?: Resource }>,
    first: Promise<IteratorResult<{ name: string; resource?: Resource }>>,
  ): Promise<void> {
    for (let next = await first; next.done !== true; next = await changes.next()) {
      const { name, resource } = next.value
      if (resource === undefined) this.#resources.delete(name)
      else this.#resources.set(name, resource)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#following
  }
}
