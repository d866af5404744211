import { describe, expect, test } from 'vitest'
import { RateLimit } from './rate-limit.ts'

describe('a rate limit', () => {
  test('a rate limit lets a burst pass, then as many as recover, and says when', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 0.5, keys: 10 })
    expect([limit.take('a', 0), limit.take('a', 0), limit.take('a', 0)]).toEqual([0, 0, 2])
    expect(limit.take('a', 1000)).toBe(1)
    expect(limit.take('a', 2000)).toBe(0)
    expect(limit.take('a', 2000)).toBe(2)
  })

  test('a rate limit takes several at once, or none of them', () => {
    const limit = new RateLimit({ burst: 10, perSecond: 2, keys: 10 })
    expect([limit.take('a', 0, 8), limit.take('a', 0, 4), limit.take('a', 0, 2)]).toEqual([0, 1, 0])
  })

  test('a rate limit keeps keys apart', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, keys: 10 })
    expect([limit.take('a', 0), limit.take('b', 0)]).toEqual([0, 0])
  })

  test('a rate limit never holds more than the burst, however long it rests', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, keys: 10 })
    limit.take('a', 0)
    limit.giveBack('a')
    limit.giveBack('a')
    expect(limit.take('a', 3_600_000)).toBe(0)
    expect(limit.take('a', 3_600_000)).toBeGreaterThan(0)
  })

  test('a rate limit survives a clock that goes back', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, keys: 10 })
    limit.take('a', 10_000)
    expect(limit.take('a', 0)).toBe(1)
    expect(limit.take('a', 1000)).toBe(0)
  })

  test('a rate limit remembers a bounded number of keys', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 0.001, keys: 100 })
    for (let index = 0; index < 1000; index += 1) limit.take(`k${index}`, 0)
    expect(limit.take('k999', 0)).toBeGreaterThan(0)
    expect(limit.take('k0', 0)).toBe(0)
  })
})
