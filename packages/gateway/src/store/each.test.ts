import { expect, test } from 'vitest'
import type { Resource } from '../core/resource.ts'
import { each } from './each.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import type { ListQuery } from './store.ts'

test('a whole query is read in pieces, in order, and nothing twice', async () => {
  const names = Array.from({ length: 1250 }, (_, index) => String(index).padStart(4, '0'))
  const asked: ListQuery[] = []
  const list = async (query: ListQuery): Promise<readonly Resource[]> => {
    asked.push(query)
    return names
      .filter((name) => name > (query.after ?? ''))
      .slice(0, query.limit)
      .map((name) => sampleResource(name))
  }
  const bytes = 4 * 1024 * 1024
  const seen: string[] = []
  for await (const { name } of each({ list }, { kind: 'adapter', after: '0009' })) seen.push(name)
  expect(seen).toEqual(names.slice(10))
  expect(asked).toEqual([
    { kind: 'adapter', after: '0009', limit: 500, bytes },
    { kind: 'adapter', after: '0509', limit: 500, bytes },
    { kind: 'adapter', after: '1009', limit: 500, bytes },
    { kind: 'adapter', after: '1249', limit: 500, bytes },
  ])
})

test('a piece that is short because its records are large is not the last', async () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const list = async ({ after = '' }: ListQuery): Promise<readonly Resource[]> =>
    names
      .filter((name) => name > after)
      .slice(0, 2)
      .map((name) => sampleResource(name))
  const seen: string[] = []
  for await (const { name } of each({ list })) seen.push(name)
  expect(seen).toEqual(names)
})
