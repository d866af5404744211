import type { Stored } from '../core/resource.ts'
import { each } from './each.ts'
import type { Change, Collection, ListQuery } from './store.ts'

/**
 * Reports all records of a collection as changes, then each later change, until disposal. Copies in
 * memory use it, so that no request reads the store. If the store fails, a copy stays as it is.
 */
export async function follow<R extends Stored>(
  collection: Pick<Collection<R>, 'list' | 'watch'>,
  query: Pick<ListQuery<R>, 'kind'>,
  take: (change: Change<R>) => void,
): Promise<AsyncDisposable> {
  const stop = new AbortController()
  // Watch before listing: a change in between is then seen twice rather than missed.
  const changes = collection.watch(stop.signal)[Symbol.asyncIterator]()
  const first = changes.next()

  try {
    for await (const resource of each(collection, query))
      take({ kind: resource.kind, name: resource.name, resource })
  } catch (error) {
    stop.abort()
    throw error
  }

  const following = (async () => {
    for (let next = await first; next.done !== true; next = await changes.next()) take(next.value)
  })()

  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await following
    },
  }
}
