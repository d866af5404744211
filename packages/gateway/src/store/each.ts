import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Stored } from '../core/resource.ts'
import type { Collection, ListQuery } from './store.ts'

const pieceSize = 500

/** All that `list` would give, read in pieces: however many there are, they are never in memory at once, and requests get their turn in between. */
export async function* each<R extends Stored>(
  collection: Pick<Collection<R>, 'list'>,
  query: Omit<ListQuery<R>, 'limit'> = {},
): AsyncIterable<R> {
  for (let { after = '' } = query; ;) {
    const piece = await collection.list({ ...query, after, limit: pieceSize })
    yield* piece
    const last = piece.at(-1)
    if (piece.length < pieceSize || last === undefined) return
    after = last.name
    await nextTurn()
  }
}
