import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineFramer } from './line-framing.ts'

function frame(
  chunks: readonly Uint8Array[],
  max = 1_000_000,
): { lines: string[]; tooLong: number } {
  const lines: string[] = []
  let tooLong = 0
  const framer = new LineFramer(max, {
    line: (line) => lines.push(new TextDecoder().decode(line)),
    tooLong: () => (tooLong += 1),
  })
  for (const chunk of chunks) framer.push(chunk)
  return { lines, tooLong }
}

describe('line framing', () => {
  test('lines are the same however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string().filter((line) => !/[\r\n]/.test(line) && line !== '')),
        fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
        (lines, sizes) => {
          const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(''))
          const chunks: Uint8Array[] = []
          for (let at = 0; at < bytes.length;) {
            const size = sizes.next().value as number
            chunks.push(bytes.subarray(at, at + size))
            at += size
          }
          expect(frame(chunks).lines).toEqual(lines)
        },
      ),
    )
  })

  test('a line that is too long is dropped whole, reported once, and the next is read', () => {
    const bytes = new TextEncoder().encode(`${'x'.repeat(50)}\nok\n`)
    expect(frame([bytes.subarray(0, 20), bytes.subarray(20)], 30)).toEqual({
      lines: ['ok'],
      tooLong: 1,
    })
  })

  test('a line of just the allowed length is read, and one byte more is too long', () => {
    const lines = (length: number) =>
      frame([new TextEncoder().encode(`${'x'.repeat(length)}\n`)], 30)

    expect(lines(30)).toEqual({ lines: ['x'.repeat(30)], tooLong: 0 })
    expect(lines(31)).toEqual({ lines: [], tooLong: 1 })
  })

  test('CRLF and empty lines are no part of messages', () => {
    expect(frame([new TextEncoder().encode('a\r\n\r\n\nb\n')]).lines).toEqual(['a', 'b'])
  })
})
