import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineCutter } from '../../../lib/line-cutter.ts'
import { LogBuffer, ReplicaLogs } from './log-buffer.ts'

const never = new AbortController().signal
const all = { tail: Number.POSITIVE_INFINITY, follow: false }

async function gather(lines: AsyncIterable<string> | undefined): Promise<string[]> {
  const result: string[] = []
  for await (const line of lines ?? []) result.push(line)
  return result
}

describe('lines', () => {
  test('lines are the same in whatever pieces the output comes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('a', 'é', '\n', '\r\n', ' ') })),
        (pieces) => {
          const cut: string[] = []
          const cutter = new LineCutter((line) => cut.push(line))
          for (const piece of pieces) cutter.write(piece)
          cutter.end()
          const lines = pieces.join('').split('\n')
          if (lines.at(-1) === '') lines.pop()
          expect(cut).toEqual(
            lines.map((line, index) =>
              index < lines.length - 1 || pieces.join('').endsWith('\n')
                ? line.replace(/\r$/, '')
                : line,
            ),
          )
        },
      ),
    )
  })

  test('lines that are too long are cut once, and their rest is dropped', () => {
    const cut: string[] = []
    const cutter = new LineCutter((line) => cut.push(line))
    for (let count = 0; count < 100; count += 1) cutter.write('x'.repeat(1000))
    cutter.write('\nnext\n')
    expect(cut).toEqual([expect.stringMatching(/^x{16384}…$/), 'next'])
  })
})

describe('the log of an instance', () => {
  test('the log keeps the last lines, bounded in number and in size', async () => {
    const few = new LogBuffer(3)
    for (let count = 0; count < 10; count += 1) few.push(String(count), count)
    expect(await gather(few.read(all, never))).toEqual(['7', '8', '9'])
    const many = new LogBuffer(100_000)
    for (let count = 0; count < 1000; count += 1) many.push('x'.repeat(16_000), count)
    const kept = (await gather(many.read(all, never))).length
    expect(kept).toBeGreaterThan(100)
    expect(kept * 16_000).toBeLessThanOrEqual(4 * 1024 * 1024)
  })

  test('the log gives the last lines, those since a time, and both', async () => {
    const log = new LogBuffer(100)
    for (let count = 0; count < 10; count += 1) log.push(String(count), 1000 + count)
    expect(await gather(log.read({ tail: 2, follow: false }, never))).toEqual(['8', '9'])
    expect(
      await gather(log.read({ tail: 100, since: new Date(1006), follow: false }, never)),
    ).toEqual(['6', '7', '8', '9'])
    expect(
      await gather(log.read({ tail: 1, since: new Date(1006), follow: false }, never)),
    ).toEqual(['9'])
    expect(await gather(log.read({ tail: 0, follow: false }, never))).toEqual([])
  })

  test('a slow reader follows the log without gaps, except beyond the bound', async () => {
    const log = new LogBuffer(10)
    const reader = log.read({ tail: 0, follow: true }, never)
    const first = reader.next()
    log.push('a', 1)
    expect(await first).toEqual({ value: 'a', done: false })
    for (let count = 0; count < 20; count += 1) log.push(String(count), 2)
    log.close()
    expect(await gather(reader)).toEqual(
      Array.from({ length: 10 }, (_, index) => String(10 + index)),
    )
  })
})

describe('the logs of a replica', () => {
  test('the logs are followed over restarts, until there are no more', async () => {
    const logs = new ReplicaLogs(10)
    const first = logs.begin()
    first.push('one', 1)
    const following = gather(logs.read({ tail: 10, follow: true, previous: false }, never))
    first.close()
    const second = logs.begin()
    second.push('two', 2)
    second.close()
    // Let the reader see the end of the second instance before the end of all.
    await new Promise((resolve) => setImmediate(resolve))
    logs.end()
    expect(await following).toEqual(['one', 'two'])
    expect(await gather(logs.read({ ...all, previous: true }, never))).toEqual(['one'])
  })

  test('the logs end for a follower who leaves', async () => {
    const logs = new ReplicaLogs(10)
    logs.begin().push('one', 1)
    const leave = new AbortController()
    const following = gather(logs.read({ tail: 10, follow: true, previous: false }, leave.signal))
    await new Promise((resolve) => setImmediate(resolve))
    leave.abort()
    expect(await following).toEqual(['one'])
  })

  test('the logs of an instance before the first do not exist', () => {
    const logs = new ReplicaLogs(10)
    expect(logs.read({ ...all, previous: false }, never)).toBeUndefined()
    logs.begin()
    expect(logs.read({ ...all, previous: true }, never)).toBeUndefined()
  })
})
