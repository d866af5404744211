import { isDeepStrictEqual } from 'node:util'
import { GatewayError } from '../core/errors.ts'
import type { Stored } from '../core/resource.ts'
import { each } from './each.ts'
import type { Collection, Store } from './store.ts'

export interface Copied {
  /** Number of records written. */
  readonly copied: number
  /** Number of records that already existed unchanged. */
  readonly present: number
  /** Records left out because another record has their name: `adapter weather`. */
  readonly conflicts: readonly string[]
}

/**
 * Copies all records of a store as they are: secrets stay sealed. Existing records stay untouched,
 * so the copy can be repeated.
 */
export async function copyStore(from: Store, to: Store): Promise<Copied> {
  const parts = [
    await copyCollection(from.secrets, to.secrets),
    await copyCollection(from, to),
    await copyCollection(from.apiKeys, to.apiKeys),
    await copyCollection(from.servers, to.servers),
  ]
  return {
    copied: parts.reduce((sum, { copied }) => sum + copied, 0),
    present: parts.reduce((sum, { present }) => sum + present, 0),
    conflicts: parts.flatMap(({ conflicts }) => conflicts),
  }
}

async function copyCollection<R extends Stored, Held>(
  from: Collection<R, Held>,
  to: Collection<R, Held>,
): Promise<Copied> {
  let copied = 0
  let present = 0
  const conflicts: string[] = []
  for await (const record of each(from)) {
    try {
      await to.create(record)
      copied += 1
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'name_taken') throw error
      if (isDeepStrictEqual(await to.get(record.name), record)) present += 1
      else conflicts.push(`${record.kind} ${record.name}`)
    }
  }
  return { copied, present, conflicts }
}
