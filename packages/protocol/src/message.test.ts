import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorAnswer, idKey, outline, survivesDoubles } from './message.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)

describe('the outline of a message', () => {
  test('the outline has the raw id, the method and the kind of message', () => {
    expect(
      outline(bytes('{"jsonrpc":"2.0","id":12345678901234567890,"method":"a\\/b","params":{}}')),
    ).toMatchObject({
      id: '12345678901234567890',
      method: 'a/b',
      isResponse: false,
    })
    expect(outline(bytes('{"id":"","result":{}}'))).toMatchObject({
      id: '""',
      method: undefined,
      isResponse: true,
    })
  })

  test('the outline of an error answer is that of a response, whatever it says', () => {
    fc.assert(
      fc.property(fc.string(), fc.jsonValue(), (message, data) => {
        const answer = errorAnswer('0', -1, message, data)
        expect(outline(bytes(answer))).toMatchObject({ id: '0', isResponse: true })
        expect(JSON.parse(answer)).toMatchObject({ error: { code: -1, message } })
      }),
    )
  })
})

describe('the key of an id', () => {
  test('the key of an id survives a server that parses and writes it', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.integer(),
          fc.double({ noNaN: true, noDefaultInfinity: true }),
        ),
        (id) => {
          const raw = JSON.stringify(id)
          const escaped = raw.replace(
            /[^ -~]/g,
            (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
          )
          expect(idKey(escaped)).toBe(idKey(raw))
          expect(idKey(JSON.stringify(JSON.parse(raw)))).toBe(idKey(raw))
        },
      ),
    )
  })

  test.each([
    ['1.0', '1'],
    ['1e0', '1'],
    ['-0', '0'],
    ['-0.0e5', '0'],
    ['120e-1', '12'],
    ['9007199254740993', '9007199254740993.0'],
    ['"a\\/b"', '"a/b"'],
    ['"\\u00e9"', '"é"'],
  ])('the key is the same for %s and %s', (one, other) => expect(idKey(one)).toBe(idKey(other)))

  test.each([
    ['9007199254740992', '9007199254740993'],
    ['12345678901234567890', '12345678901234567000'],
    ['1e400', '2e400'],
    ['1e-400', '2e-400'],
    ['1', '"1"'],
    ['1', '-1'],
  ])('the key differs for the ids %s and %s', (one, other) =>
    expect(idKey(one)).not.toBe(idKey(other)),
  )

  test('the key of a number beyond 64 characters is the number as it stands', () => {
    for (const long of [
      `1.${'0'.repeat(63)}`,
      `1e${'9'.repeat(500_000)}`,
      `1${'0'.repeat(500_000)}1`,
    ])
      expect(idKey(long)).toBe(long)
  })

  test('the key differs for ids that differ, also for a text and its number', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.integer()),
        fc.oneof(fc.string(), fc.integer()),
        (a, b) => {
          fc.pre(a !== b)
          expect(idKey(JSON.stringify(a))).not.toBe(idKey(JSON.stringify(b)))
        },
      ),
    )
  })
})

describe('an id that a server reads as a double', () => {
  test.each(['0', '-1', '1.0', '12e3', '9007199254740991', '"1e-400"'])(
    'the id %s comes back',
    (id) => expect(survivesDoubles(id)).toBe(true),
  )

  test.each([
    '9007199254740993',
    '0.5',
    '1e400',
    '1e-400',
    '0.1e-999999',
    '1.00000000000000000001',
    '9007199254740991.1',
  ])('the id %s does not come back as it was', (id) => expect(survivesDoubles(id)).toBe(false))
})
