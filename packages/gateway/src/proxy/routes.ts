import type { Resource } from '../core/resource.ts'
import { follow } from '../store/follow.ts'
import type { Store } from '../store/store.ts'

/**
 * The data plane's copy of what is registered, kept current by the store's changes, so that no request reads the store.
 * If the store fails, routing goes on with what is known.
 */
export class RouteTable implements AsyncDisposable {
  readonly #resources = new Map<string, Resource>()
  #following: AsyncDisposable | undefined

  /** Fills the table and follows the store from then on. */
  static async open(store: Store): Promise<RouteTable> {
    const table = new RouteTable()
    table.#following = await follow(store, {}, ({ name, resource }) => {
      if (resource === undefined) table.#resources.delete(name)
      else table.#resources.set(name, resource)
    })
    return table
  }

  get(name: string): Resource | undefined {
    return this.#resources.get(name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#following?.[Symbol.asyncDispose]()
  }
}
