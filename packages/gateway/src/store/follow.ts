import type { Stored } from '../core/resource.ts'
import { supervise } from '../lib/async/supervise.ts'
import { each } from './each.ts'
import type { Change, Collection, ListQuery } from './store.ts'

const retry = { firstMs: 100, maxMs: 10_000 }

/** A collection, as far as following it needs. */
export type Followed<R extends Stored> = Pick<Collection<R>, 'list' | 'watch'>

/** A watch that has begun, with the change that comes first. */
interface Watching<R extends Stored> {
  readonly first: Promise<IteratorResult<Change<R>>>
  readonly changes: AsyncIterator<Change<R>>
  readonly end: () => void
}

/**
 * Reports all records of a collection as changes, then each later change, until disposal. Copies in
 * memory use it, so that no request reads the store. After a failure of the store, everything is
 * compared again.
 */
export async function follow<R extends Stored>(
  collection: Followed<R>,
  query: Pick<ListQuery<R>, 'kind'>,
  take: (change: Change<R>) => void,
  failed: (error: unknown) => void = () => undefined,
): Promise<AsyncDisposable> {
  const follower = new Follower(collection, query, take)
  await follower.begin()
  const following = supervise(() => follower.goOn(), { signal: follower.signal, retry, failed })
  return {
    async [Symbol.asyncDispose]() {
      follower.stop()
      await following
    },
  }
}

class Follower<R extends Stored> {
  readonly #collection: Followed<R>
  readonly #query: Pick<ListQuery<R>, 'kind'>
  readonly #takeIn: (change: Change<R>) => void
  readonly #stop = new AbortController()
  /** The kinds of the reported records by name, to find what was deleted during a failure. */
  readonly #known = new Map<string, R['kind']>()
  #watching: Watching<R> | undefined

  constructor(
    collection: Followed<R>,
    query: Pick<ListQuery<R>, 'kind'>,
    takeIn: (change: Change<R>) => void,
  ) {
    this.#collection = collection
    this.#query = query
    this.#takeIn = takeIn
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  stop(): void {
    this.#stop.abort()
  }

  /** Begins to watch, and reports what is there and what is there no more. */
  async begin(): Promise<void> {
    const over = new AbortController()
    // Watch before listing: a change in between is then seen twice rather than missed.
    const signal = AbortSignal.any([this.#stop.signal, over.signal])
    const changes = this.#collection.watch(signal)[Symbol.asyncIterator]()
    const first = changes.next()
    // It may fail while the list is read. The first await of it reports that.
    first.catch(() => undefined)

    try {
      const gone = new Map(this.#known)
      for await (const resource of each(this.#collection, this.#query)) {
        gone.delete(resource.name)
        this.#take({ kind: resource.kind, name: resource.name, resource })
      }
      for (const [name, kind] of gone) this.#take({ kind, name })
    } catch (error) {
      over.abort()
      throw error
    }

    this.#watching = { first, changes, end: () => over.abort() }
  }

  /** Reports changes until the watch ends. After a failure, begins again. */
  async goOn(): Promise<void> {
    if (this.#watching === undefined) await this.begin()
    const { first, changes, end } = this.#watching as Watching<R>

    try {
      for (let next = await first; next.done !== true; next = await changes.next())
        this.#take(next.value)
    } finally {
      this.#watching = undefined
      end()
    }
  }

  #take(change: Change<R>): void {
    const { name, kind, resource } = change
    const { kind: asked = kind } = this.#query
    if (resource === undefined) this.#known.delete(name)
    else if (kind === asked) this.#known.set(name, kind)
    this.#takeIn(change)
  }
}
