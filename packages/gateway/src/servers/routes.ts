import { isAdapter, withoutWorkload, type Adapter } from '../core/resource.ts'
import { Listeners } from '../lib/async/listeners.ts'
import { follow } from '../store/follow.ts'
import type { Change, Store } from '../store/store.ts'

/**
 * The data plane's copy of the adapters, which follows the store, so that no request reads it.
 * If the store fails, routing continues with the adapters in the copy.
 */
export class RouteTable implements AsyncDisposable {
  readonly #adapters = new Map<string, Adapter>()
  readonly #listeners = new Listeners<string>()
  #following: AsyncDisposable | undefined

  /** Fills the table and follows the store from then on. */
  static async open(store: Store, failed?: (error: unknown) => void): Promise<RouteTable> {
    const table = new RouteTable()
    const take = ({ name, resource }: Change): void => {
      if (resource !== undefined && isAdapter(resource))
        table.#adapters.set(name, withoutWorkload(resource))
      else table.#adapters.delete(name)
      table.#listeners.tell(name)
    }
    table.#following = await follow(store, { kind: 'adapter' }, take, failed)
    return table
  }

  values(): Iterable<Adapter> {
    return this.#adapters.values()
  }

  get(name: string): Adapter | undefined {
    return this.#adapters.get(name)
  }

  /**
   * Calls back with the name of each adapter that was made, changed or removed, until the returned
   * function is called.
   */
  onChange(listener: (name: string) => void): () => void {
    return this.#listeners.add(listener)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#following?.[Symbol.asyncDispose]()
  }
}

/** For a process without adapters. */
export const noRoutes: Pick<RouteTable, 'get' | 'values' | 'onChange'> = {
  get: () => undefined,
  values: () => [],
  onChange: () => () => undefined,
}
