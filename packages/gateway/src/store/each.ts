import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Stored } from '../core/resource.ts'
import type { Collection, ListQuery } from './store.ts'

/** Records and bytes of a piece: a few large records must not fill the memory. */
const piece = { limit: 500, bytes: 4 * 1024 * 1024 }

/**
 * Yields all that `list` would give, read in pieces: all records are never in memory at once, and
 * requests get their turn between pieces.
 */
export async function* each<R extends Stored>(
  collection: Pick<Collection<R>, 'list'>,
  query: Omit<ListQuery<R>, 'limit' | 'bytes'> = {},
): AsyncIterable<R> {
  for (let { after = '' } = query; ;) {
    const records = await collection.list({ ...query, after, ...piece })
    yield* records
    // A piece may be short because its records are large, so only an empty piece ends the loop.
    const last = records.at(-1)
    if (last === undefined) return
    after = last.name
    await nextTurn()
  }
}
