import { expect, test } from 'vitest'
import { LogLines } from './log-lines.ts'

function linesOf(...chunks: readonly (string | Uint8Array)[]): string[] {
  const lines: string[] = []
  const cutter = new LogLines((line) => lines.push(line))
  for (const chunk of chunks) cutter.push(Buffer.from(chunk))
  cutter.end()
  return lines
}

test('lines of a log are the same however their bytes are cut', () => {
  const bytes = Buffer.from('one\r\n\ntwo é 😀\nthree')
  for (let at = 0; at <= bytes.length; at += 1)
    expect(linesOf(bytes.subarray(0, at), bytes.subarray(at))).toEqual(['one', 'two é 😀', 'three'])
})

test('a long line of a log comes in marked pieces that hold all of it', () => {
  const long = `${'😀é'.repeat(10_000)}`
  const lines = linesOf(...`${long}\nnext`.match(/[^]{1,1001}/gu)!)

  expect(lines.at(-1)).toBe('next')
  const pieces = lines.slice(0, -1)
  expect(pieces.length).toBeGreaterThan(2)
  expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(8200)
  expect(pieces.every((piece, index) => piece.startsWith('…') === index > 0)).toBe(true)
  expect(pieces.every((piece, index) => piece.endsWith('…') === index < pieces.length - 1)).toBe(
    true,
  )
  expect(pieces.map((piece) => piece.replace(/^…|…$/g, '')).join('')).toBe(long)
})

test('an endless line of a log is passed on while it is written', () => {
  const lines: string[] = []
  const cutter = new LogLines((line) => lines.push(line))
  for (let count = 0; count < 100; count += 1) cutter.push(Buffer.from('x'.repeat(1000)))

  expect(lines.length).toBeGreaterThan(10)
})
