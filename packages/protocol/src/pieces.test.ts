import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EventRewriter } from './framing/event-rewriter.ts'
import { LineFramer } from './framing/line-framing.ts'
import { Pieces, TextPieces } from './pieces.ts'
import { EventParser } from './framing/sse.ts'

describe('bytes that come in pieces', () => {
  test('bytes in pieces are the same bytes, however they are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000, size: 'max' })), (cut) => {
        const pieces = new Pieces()
        for (const piece of cut) pieces.push(piece)

        expect(pieces.length).toBe(Buffer.concat(cut).length)
        expect(pieces.take().equals(Buffer.concat(cut))).toBe(true)
        expect(pieces.take().length).toBe(0)
      }),
    )
  })

  test('bytes in pieces stay as they were when the reader uses its memory again', () => {
    const pieces = new Pieces()
    const memory = Buffer.from('ab')
    pieces.push(Buffer.from('x'))
    pieces.push(memory)
    memory.fill(0)

    expect(pieces.take().toString()).toBe('xab')
  })
})

test('a text that comes in pieces is the same text, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { maxLength: 400, size: 'max' }), (cut) => {
      const pieces = new TextPieces()
      for (const piece of cut) pieces.push(piece)

      expect(pieces.take()).toBe(cut.join(''))
      expect(pieces.take()).toBe('')
    }),
  )
})

describe('a million pieces of one byte that are not complete', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void

  /** Gives the memory that `fill` adds, in megabytes. Other tests may share the heap. */
  function growth(fill: () => unknown): number {
    const used = (): number => {
      collect()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const before = used()
    const held = fill()
    const after = used()
    expect(held).toBeDefined()
    return (after - before) / 1024 / 1024
  }
  const byte = (): Buffer => Buffer.from(new Uint8Array([0x78]))
  const many = 1_000_000
  /** An array of as many pieces takes 30 MB and more. */
  const mostMegabytes = 20

  test('a million pieces take little memory as a body', () => {
    const pieces = new Pieces()
    const grown = growth(() => {
      for (let index = 0; index < many; index += 1) pieces.push(byte())
      return pieces
    })

    expect(grown).toBeLessThan(mostMegabytes)
    expect(pieces.length).toBe(many)
  })

  test('a million pieces take little memory as a line', () => {
    const framer = new LineFramer(2 * many, { line: () => undefined, tooLong: () => undefined })
    const grown = growth(() => {
      for (let index = 0; index < many; index += 1) framer.push(byte())
      return framer
    })

    expect(grown).toBeLessThan(mostMegabytes)
    expect(framer.held).toBe(many)
  })

  test('a million pieces take little memory as an event that is filtered', () => {
    const rewriter = new EventRewriter(2 * many, (data) => data)
    const grown = growth(() => {
      for (let index = 0; index < many; index += 1) rewriter.push(byte())
      return rewriter
    })

    expect(grown).toBeLessThan(mostMegabytes)
    expect(rewriter.held).toBe(many)
  })

  test('a million pieces take little memory as a line of an event', () => {
    const parser = new EventParser(2 * many, () => undefined)
    const grown = growth(() => {
      for (let index = 0; index < many; index += 1) parser.push(byte())
      return parser
    })

    expect(grown).toBeLessThan(mostMegabytes)
    expect(parser.held).toBe(many)
  })

  test('a million pieces take little memory as lines of an event', () => {
    const parser = new EventParser(3 * many, () => undefined)
    const lines = Buffer.from('data:x\n'.repeat(1000))
    const grown = growth(() => {
      for (let index = 0; index < many / 1000; index += 1) parser.push(lines)
      return parser
    })

    expect(grown).toBeLessThan(mostMegabytes)
    expect(parser.held).toBe(2 * many)
  })

  test('a million pieces leave no comments of an event in memory', () => {
    const parser = new EventParser(many, () => undefined)
    const grown = growth(() => {
      for (let index = 0; index < 4000; index += 1)
        parser.push(Buffer.from(`:${'-'.repeat(60_000)}\ndata:${'x'.repeat(20)}\n`))
      return parser
    })

    expect(grown).toBeLessThan(mostMegabytes)
  })
})
