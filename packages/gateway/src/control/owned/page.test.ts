import { expect, test } from 'vitest'
import type { Resource } from '../../core/resource.ts'
import { sampleResource } from '../../../test/contracts/samples.ts'
import type { ListQuery } from '../../store/store.ts'
import { pageOf } from './page.ts'

const collection = (names: readonly string[]) => ({
  list: async ({ after = '', limit }: ListQuery): Promise<readonly Resource[]> =>
    names
      .filter((name) => name > after)
      .slice(0, limit)
      .map((name) => sampleResource(name)),
})
const page = (names: readonly string[], seen: string, limit: number, after?: string) =>
  pageOf(
    collection(names),
    { after, limit },
    ({ name }) => seen.includes(name),
    ({ name }) => ({ name }),
  )

test.each([
  ['nothing comes after it', ['a', 'b'], 'ab'],
  ['the caller may see nothing after it', ['a', 'b', 'c', 'd'], 'ab'],
  ['the caller may see nothing between or after', ['a', 'b', 'c', 'd'], 'ac'],
])('a full page is the last one when %s', async (_why, names, seen) => {
  const { shown, next } = await page(names, seen, 2)
  expect(shown).toHaveLength(2)
  expect(next).toBeUndefined()
})

test('a page says where the next begins, and hidden resources make none short', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const first = await page(names, 'bde', 2)
  expect(first).toEqual({ shown: ['{"name":"b"}', '{"name":"d"}'], next: 'd' })
  expect(await page(names, 'bde', 2, first.next)).toEqual({ shown: ['{"name":"e"}'] })
})
