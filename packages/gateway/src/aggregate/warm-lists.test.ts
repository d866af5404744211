import { describe, expect, test } from 'vitest'
import { WarmLists, type Warm } from './warm-lists.ts'

function servers(count: number) {
  const cooled: number[] = []
  const all = Array.from({ length: count }, (_, index): Warm => ({
    cool: () => void cooled.push(index),
  }))
  return { all, cooled }
}

describe('the lists of all virtual servers', () => {
  test('the server that was used least recently forgets its lists beyond the bound', () => {
    const warm = new WarmLists(30)
    const { all, cooled } = servers(4)
    const use = (index: number): void => warm.used(all[index] as Warm, () => 10)
    for (const index of [0, 1, 2, 0, 3]) use(index)
    expect(cooled).toEqual([1])
    use(1)
    expect(cooled).toEqual([1, 2])
    expect(warm.length).toBe(30)
  })

  test('a server that alone is beyond the bound keeps its lists while it is used', () => {
    const warm = new WarmLists(30)
    const { all, cooled } = servers(2)
    warm.used(all[0] as Warm, () => 100)
    warm.used(all[0] as Warm, () => 100)
    expect([cooled, warm.length]).toEqual([[], 100])
    warm.used(all[1] as Warm, () => 10)
    expect([cooled, warm.length]).toEqual([[0], 10])
  })

  test('lists that changed count as before until they are measured again', () => {
    const warm = new WarmLists(30)
    const [one, two] = servers(2).all as [Warm, Warm]
    warm.used(one, () => 10)
    warm.used(two, () => 10)
    warm.changed(one)
    expect(warm.length).toBe(20)
    warm.used(one, () => 15)
    expect(warm.length).toBe(25)
    warm.changed(one)
    warm.used(one, () => 5)
    expect(warm.length).toBe(15)
  })

  test('a server that is gone counts nothing', () => {
    const warm = new WarmLists(30)
    const [one] = servers(1).all as [Warm]
    warm.used(one, () => 10)
    warm.forget(one)
    expect(warm.length).toBe(0)
    warm.used(one, () => 20)
    expect(warm.length).toBe(20)
  })
})
