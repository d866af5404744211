import { expect, test } from 'vitest'
import { plainJson } from './jsonc.ts'

const read = (source: string): unknown => JSON.parse(plainJson(source))

test('comments, trailing commas and a byte order mark have no meaning', () => {
  const source = '\ufeff// a file\n{ /* of */ "a": [1, 2, /* two */ ], // end\n "b": {"c": 3,\n}, }'
  expect(read(source)).toEqual({ a: [1, 2], b: { c: 3 } })
})

test('texts that look like comments or commas stay', () => {
  const value = { url: 'https://x/*y*/', quote: 'a \\" // b', list: ',]', end: '\\' }
  expect(read(JSON.stringify(value))).toEqual(value)
})

test.each(['{"a": 1', '{"a": "b', '/* open', '"\\'])(
  'the damaged text %s stays damaged',
  (source) => {
    expect(() => read(source)).toThrow(SyntaxError)
  },
)

test.each(['/*', '"\\"', ',', '//', ', ', '[,'])('a megabyte of %s is read to its end', (piece) => {
  const source = `${piece.repeat(1_000_000 / piece.length)}\n`
  expect(() => plainJson(source)).not.toThrow()
})
