import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeEvent, EventParser, type StreamEvent } from './sse.ts'

/** Parses a stream whose bytes come in pieces of the given lengths. */
function parse(
  text: string,
  cuts: readonly number[] = [],
): { events: StreamEvent[]; parser: EventParser } {
  const events: StreamEvent[] = []
  const parser = new EventParser(1_000_000, (event) => events.push(event))
  const bytes = Buffer.from(text)
  let from = 0
  for (const cut of cuts) {
    parser.push(bytes.subarray(from, from + cut))
    from += cut
  }
  parser.push(bytes.subarray(from))
  return { events, parser }
}

const cuts = fc.array(fc.nat(5), { maxLength: 200 })

describe('an event stream', () => {
  test('a stream gives back what was encoded, however it is cut and its lines end', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { maxLength: 5 }),
        cuts,
        fc.constantFrom('\n', '\r\n', '\r'),
        (values, at, ending) => {
          const data = values.map((value) => JSON.stringify(value))
          const text = data.map((each, index) => encodeEvent(`e-${index}`, each)).join('')
          expect(parse(text.replaceAll('\n', ending), at).events).toEqual(
            data.map((each, index) => ({ data: each, event: 'message', id: `e-${index}` })),
          )
        },
      ),
    )
  })

  test('text of several lines comes back as one event, however its lines end', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('\n', '\r\n', '\r'), (value, ending) => {
        const data = JSON.stringify({ value, next: [value] }, null, 2)
        const { events } = parse(encodeEvent('e-1', data.replaceAll('\n', ending)))
        expect(events).toEqual([{ data, event: 'message', id: 'e-1' }])
      }),
    )
    fc.assert(
      fc.property(cuts, fc.constantFrom('\n', '\r\n', '\r'), (at, ending) => {
        const text = encodeEvent('e-1', 'a\nb\nc').repeat(3).replaceAll('\n', ending)
        const event = { data: 'a\nb\nc', event: 'message', id: 'e-1' }
        expect(parse(text, at).events).toEqual([event, event, event])
        const bytes = Array.from(text, () => 1)
        expect(parse(text, bytes).events).toEqual([event, event, event])
      }),
    )
    expect(parse(encodeEvent(undefined, 'a\n\nevent: x\nid: 9\n\ndata: b')).events).toEqual([
      { data: 'a\n\nevent: x\nid: 9\n\ndata: b', event: 'message', id: undefined },
    ])
  })

  test('a stream reads alike whole and byte by byte, whatever it holds', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            'data: a',
            'data:b',
            'data',
            'id: 1',
            'id',
            ':c',
            'retry: 5',
            '',
            '',
            'x: y',
            'é',
          ),
          { maxLength: 30 },
        ),
        (lines) => {
          const text = `${lines.join('\n')}\n`
          expect(
            parse(
              text,
              Array.from({ length: Buffer.byteLength(text) }, () => 1),
            ).events,
          ).toEqual(parse(text).events)
        },
      ),
    )
  })

  test('a stream has priming events, comments, data of several lines and retry times', () => {
    expect(
      parse('event: endpoint\ndata: /x\n\ndata: y\n\n').events.map(({ event }) => event),
    ).toEqual(['endpoint', 'message'])
    const { events, parser } = parse('id: 1\ndata: \n\n: hello\n\nretry: 250\ndata: a\ndata: b\n\n')
    expect(events).toEqual([{ data: 'a\nb', event: 'message', id: '1' }])
    expect(parser).toMatchObject({ lastId: '1', retryMs: 250 })
  })

  test('a stream with an event that is too long is given up', () => {
    const parser = new EventParser(10, () => undefined)
    expect(() => parser.push(Buffer.from(`data: ${'x'.repeat(20)}`))).toThrow(RangeError)
  })

  test.each([
    ['in one line', ['data: ééé', 'ééé']],
    ['in several lines', ['data: ééé\n', 'data: é\n']],
    ['in its name', ['event: ééé\ndata: é\n']],
    ['in its id', ['id: ééé\n\n', 'data: é\n']],
  ])('the bytes of a stream bound it, %s, and not its letters', (_where, pieces) => {
    const given = pieces.map((piece) => Buffer.from(piece))
    const bytes = given.reduce((sum, { length }) => sum + length, 0)
    const exact = new EventParser(bytes, () => undefined)
    for (const piece of given) exact.push(piece)
    expect(exact.held).toBeGreaterThanOrEqual(8)

    const tight = new EventParser(7, () => undefined)
    expect(() => given.forEach((piece) => tight.push(piece))).toThrow(RangeError)
  })
})
