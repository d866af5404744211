import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EventRewriter } from './event-rewriter.ts'
import { EventParser } from './sse.ts'

/** Passes a stream in the given pieces through a rewriter. */
function pass(pieces: readonly Uint8Array[], rewrite: (data: string) => string): string {
  const rewriter = new EventRewriter(1_000_000, rewrite)
  const out = pieces.map((piece) => Buffer.from(rewriter.push(piece)))
  return Buffer.concat([...out, rewriter.end()]).toString()
}

const cut = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((start, index) => bytes.subarray(start, at[index] ?? bytes.length))
}

const eventsOf = (text: string): unknown[] => {
  const found: unknown[] = []
  new EventParser(1_000_000, (event) => void found.push(event)).push(Buffer.from(text))
  return found
}

const line = fc.constantFrom(
  'data: a',
  'data:b',
  'data',
  'data: {"é":1}',
  'id: 7',
  'event: message',
  ': note',
  'retry: 5',
  'data: ',
  'datax: 1',
  'd',
  '',
)
const stream = fc
  .array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 30 })
  .map((lines) => Buffer.from(lines.map(([text, end]) => text + end).join('')))

describe('a rewritten event stream', () => {
  test('a stream is the same bytes where no event changes, however it is cut', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 10 }), (bytes, places) => {
        expect(pass(cut(bytes, places), (data) => data)).toBe(bytes.toString())
      }),
      { numRuns: 1000 },
    )
  })

  test('changed events keep their ids and names', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 10 }), (bytes, places) => {
        const change = (data: string): string => (data.includes('a') ? `${data}+` : data)
        const expected = eventsOf(bytes.toString()).map((event) => {
          const { data, ...rest } = event as { data: string }
          return { ...rest, data: change(data) }
        })
        const whole = Buffer.concat([bytes, Buffer.from('\n\n')])
        expect(eventsOf(pass(cut(whole, places), change)).slice(0, expected.length)).toEqual(
          expected,
        )
      }),
      { numRuns: 1000 },
    )
  })

  test('a line that begins with a byte order mark adds no data for the reader', () => {
    const stream = 'data: a\n\ufeffdata: hidden\n\n'
    expect(eventsOf(stream)).toMatchObject([{ data: 'a' }])
    const passed = pass([Buffer.from(stream)], () => 'b')
    expect(eventsOf(passed)).toMatchObject([{ data: 'b' }])

    const later = `id: 1\n\n\ufeffdata: hidden\n\n`
    expect(pass([Buffer.from(later)], () => 'b')).toBe(later)
  })

  test('data after a byte order mark changes at the start, where readers see it', () => {
    expect(pass([Buffer.from('\ufeffdata: a\n\n')], () => 'b')).toBe('data: b\n\n')
  })

  test('the rewriter passes each event on at once', () => {
    const rewriter = new EventRewriter(100, (data) => data.toUpperCase())
    const push = (text: string): string => Buffer.from(rewriter.push(Buffer.from(text))).toString()
    expect(push('data: a\n')).toBe('')
    expect(push('\ndata: b\r\n\r')).toBe('data: A\n\ndata: B\n\n')
    expect(push('\n')).toBe('')
    expect(push(': note\n\n')).toBe('\n: note\n\n')
  })

  test('the rewriter changes the rest of a stream that was cut off too', () => {
    expect(pass([Buffer.from('id: 1\ndata: secret')], () => 'public')).toBe(
      'id: 1\ndata: public\n\n',
    )
  })

  test('the rewriter refuses an event without end', () => {
    const rewriter = new EventRewriter(10, (data) => data)
    expect(() => rewriter.push(Buffer.from('data: 123456789'))).toThrow(RangeError)
  })
})
