import type { Stored } from '../core/resource.ts'
import { each } from './each.ts'
import type { Change, Collection, ListQuery } from './store.ts'

/**
 * Tells all that a collection holds, as changes, and then what changes, until it is disposed: for copies in memory, so that no request reads
 * the store. If the store fails, the copy stays as it is.
 */
export async function follow<R extends Stored>(
  collection: Pick<Collection<R>, 'list' | 'watch'>,
  query: Pick<ListQuery<R>, 'kind'>,
  take: (change: Change<R>) => void,
): Promise<AsyncDisposable> {
  const stop = new AbortController()
  // Watching begins before listing: a change in between is seen twice rather than missed.
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
