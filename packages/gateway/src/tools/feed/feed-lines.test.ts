import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createLineOpener, createLineSealer, type FeedMessage } from './feed-lines.ts'

const key = randomBytes(32)
const messages: readonly FeedMessage[] = [
  { gone: 'a' },
  { workload: 'b', entry: null },
  { complete: true },
]

function lines(feed = 'feed'): string[] {
  const seal = createLineSealer(key, feed)
  return messages.map((message) => seal(message).trimEnd())
}

function flipped(line: string): string {
  const bytes = Buffer.from(line, 'base64')
  bytes.writeUInt8(bytes.readUInt8(14) ^ 1, 14)
  return bytes.toString('base64')
}

describe('lines of the tool feed', () => {
  test('lines are read in the order in which they were written, with an old key too', () => {
    const open = createLineOpener([randomBytes(32), key], 'feed')
    expect(lines().map(open)).toEqual(messages)
  })

  test('lines show nothing of their content', () => {
    expect(
      lines().map((line) => Buffer.from(line, 'base64').toString('latin1').includes('gone')),
    ).toEqual([false, false, false])
  })

  test.each([
    ['one is left out', (given: string[]) => given.slice(1)],
    ['one comes twice', ([first = '']: string[]) => [first, first]],
    ['two change places', ([first = '', second = '']: string[]) => [second, first]],
    ['it is of another feed', () => lines('other')],
    ['a bit is another', ([first = '']: string[]) => [flipped(first)]],
    ['it is cut', ([first = '']: string[]) => [first.slice(0, -8)]],
    ['it is none at all', () => ['', 'x']],
  ])('lines are refused when %s', (_what, change) => {
    const open = createLineOpener([key], 'feed')
    expect(() => change(lines()).map(open)).toThrow('not the next one')
  })

  test('lines are refused without the key', () => {
    expect(() => lines().map(createLineOpener([randomBytes(32)], 'feed'))).toThrow(
      'not the next one',
    )
  })
})
