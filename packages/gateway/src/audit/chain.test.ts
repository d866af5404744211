import { describe, expect, test } from 'vitest'
import { chainLine, chainStart, checkFollows, readLine, type ChainHead } from './chain.ts'

/** A record with a correct hash. Anybody who has the file can make one. */
function forged(previous: ChainHead, seq: number, members: object): ReturnType<typeof readLine> {
  const text = JSON.stringify({ time: '2026-01-01T00:00:00.000Z', ...members }).slice(1, -1)
  return readLine(chainLine(previous, seq, text).line.trimEnd())
}

describe('a record of a gap', () => {
  const before = chainLine(chainStart, 1, '"type":"event"').head

  test('a record of a gap follows when it reports all numbers up to its own', () => {
    const gap = forged(before, 6, { type: 'gap', from: 2, to: 5, lost: 4 })
    expect(() => checkFollows(before, gap)).not.toThrow()
  })

  test.each([
    ['that ends before its own number', 6, { type: 'gap', from: 2, to: 4, lost: 3 }],
    ['that goes beyond its own number', 6, { type: 'gap', from: 2, to: 6, lost: 5 }],
    ['that begins late', 6, { type: 'gap', from: 3, to: 5, lost: 3 }],
    ['that begins early', 6, { type: 'gap', from: 1, to: 5, lost: 5 }],
    ['that counts fewer than there are', 6, { type: 'gap', from: 2, to: 5, lost: 3 }],
    ['that counts more than there are', 6, { type: 'gap', from: 2, to: 5, lost: 5 }],
    ['of another type', 6, { type: 'event', from: 2, to: 5, lost: 4 }],
    ['that goes back', 1, { type: 'gap', from: 2, to: 0, lost: -1 }],
  ])('a record with %s does not follow', (_, seq, members) => {
    expect(() => checkFollows(before, forged(before, seq, members))).toThrow(
      'has not the number that follows 1',
    )
  })

  test('a record of a gap follows only the record before it', () => {
    const gap = forged(chainStart, 6, { type: 'gap', from: 2, to: 5, lost: 4 })
    expect(() => checkFollows(before, gap)).toThrow('does not follow record 1')
  })
})
