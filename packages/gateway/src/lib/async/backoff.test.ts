import { expect, test } from 'vitest'
import { backoffMs, spreadBackoffMs } from './backoff.ts'

const backoff = { firstMs: 100, maxMs: 1000 }

test('a pause doubles with each failure up to its bound, however many failures there are', () => {
  const pauses = [1, 2, 3, 4, 5, 1000].map((failures) => backoffMs(backoff, failures))
  expect(pauses).toEqual([100, 200, 400, 800, 1000, 1000])
})

test('a spread pause is between half and all of the step', () => {
  expect(spreadBackoffMs(backoff, 2, () => 0)).toBe(100)
  expect(spreadBackoffMs(backoff, 2, () => 1)).toBe(200)
})
