import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findAmbiguity, refusalOf } from './ambiguity.ts'

const found = (text: string): string | undefined => findAmbiguity(Buffer.from(text))

describe('an unambiguous message', () => {
  test.each([
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"a":1,' +
      '"A":2,"a":3}}}',
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x","reason":"y"}}',
    '{"jsonrpc":"2.0","id":1,"result":{"content":[],"Content":[]}}',
    '{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"meta":{},"Other":1,"other":2}}',
    '{"jsonrpc":"2.0","id":1,"method":"x","params":null}',
    '{"jsonrpc":"2.0","id":1,"method":"x","params":[ ]}',
    '{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":null}}',
    '[{"id":1,"method":"a"},{"id":2,"method":"b"}]',
    ' {"id" : 1 , "method" : "caf\\u00e9" } ',
    `{"id":${'1'.repeat(64)},"method":"x","params":{"requestId":null}}`,
    '{"id":1,"method":null,"params":{"name":null,"requestId":1,"level":1}}',
    '[]',
    '1',
    '"id"',
  ])('a message that all readers take alike passes: %s', (text) => {
    expect(found(text)).toBeUndefined()
  })

  test('a message with the names of the specification passes, however it is written', () => {
    const json = fc.jsonValue()
    const token = fc.oneof(fc.string(), fc.integer(), fc.constant(null))
    fc.assert(
      fc.property(json, token, fc.constantFrom(undefined, 2), (args, progressToken, indent) => {
        const message = {
          jsonrpc: '2.0',
          id: 1,
          method: 'tools/call',
          params: { name: 'tool', arguments: args, _meta: { progressToken } },
        }
        expect(found(JSON.stringify(message, null, indent))).toBeUndefined()
      }),
    )
  })
})

describe('an ambiguous message', () => {
  test.each([
    ['an id twice', '{"id":1,"id":2,"method":"x"}'],
    ['an id twice, once escaped', '{"id":1,"\\u0069d":2,"method":"x"}'],
    ['a method twice', '{"id":1,"method":"x","method":"y"}'],
    ['params twice', '{"id":1,"method":"x","params":{},"params":{"name":"a"}}'],
    ['an ID in capitals beside the id', '{"id":1,"ID":2,"method":"x"}'],
    ['an ID in capitals alone', '{"ID":2,"method":"x"}'],
    ['a Method with a capital', '{"id":1,"Method":"x"}'],
    ['Params with a capital', '{"id":1,"method":"x","Params":{}}'],
    ['paramſ with a long s', '{"id":1,"method":"x","paramſ":{}}'],
    ['a name twice', '{"id":1,"method":"tools/call","params":{"name":"a","name":"b"}}'],
    ['a Name beside the name', '{"id":1,"method":"x","params":{"name":"a","Name":"b"}}'],
    ['a RequestId with a capital', '{"method":"x","params":{"RequestId":1}}'],
    ['a request id with an underscore', '{"method":"x","params":{"request_id":1}}'],
    ['a request id with a Kelvin sign', '{"method":"x","params":{"progressTo\u212aen":1}}'],
    ['a method whose name ends at a NUL', '{"id":1,"method":"x","method\\u0000":"y"}'],
    ['a name with half of a surrogate pair', '{"id":1,"method":"x","params":{"na\\ud800me":"a"}}'],
    ['an ıd without its dot', '{"id":1,"\u0131d":2,"method":"x"}'],
    ['an İd with a dot on its capital', '{"id":1,"\u0130d":2,"method":"x"}'],
    ['half of a surrogate pair in an id', '{"id":"\\ud800","method":"x"}'],
    ['half of a surrogate pair in a request id', '{"method":"x","params":{"requestId":"\\udc00"}}'],
    [
      'half of a surrogate pair in a progress token',
      '{"id":1,"method":"x","params":{"_meta":{"progressToken":"\\udc00"}}}',
    ],
    ['a URI in capitals', '{"id":1,"method":"x","params":{"URI":"a"}}'],
    ['a _META in capitals', '{"id":1,"method":"x","params":{"_META":{}}}'],
    ['meta beside _meta', '{"id":1,"method":"x","params":{"_meta":{},"meta":{}}}'],
    ['_meta beside meta', '{"id":1,"method":"x","params":{"meta":{},"_meta":{}}}'],
    ['a progress token twice', '{"id":1,"params":{"_meta":{"progressToken":1,"progressToken":2}}}'],
    ['a ProgressToken', '{"id":1,"method":"x","params":{"_meta":{"ProgressToken":1}}}'],
    ['an unknown member twice', '{"id":1,"method":"x","params":{"a":1,"a":2}}'],
    ['a NUL in the method', '{"id":1,"method":"tools/call\\u0000"}'],
    ['a NUL in the id of a task', '{"id":1,"method":"x","params":{"taskId":"a\\u0000b"}}'],
    ['a NUL in the name of a tool', '{"id":1,"method":"x","params":{"name":"a\\u0000b"}}'],
    ['half of a surrogate pair', '{"id":1,"method":"x","params":{"name":"a\\ud800"}}'],
    ['a second message of a batch', '[{"id":1,"method":"x"},{"id":1,"id":2}]'],
    ['an id of 65 digits', `{"id":${'1'.repeat(65)},"method":"x"}`],
    ['an id with a long exponent', `{"id":1e${'9'.repeat(1_000_000)},"method":"x"}`],
    ['an id that is an object', '{"id":{"a":1},"method":"x"}'],
    ['an id that is an array', '{"id":[1],"method":"x"}'],
    ['an id that is true', '{"id":true,"method":"x"}'],
    ['a request id that is an object', '{"method":"x","params":{"requestId":{}}}'],
    ['a token that is false', '{"id":1,"method":"x","params":{"_meta":{"progressToken":false}}}'],
    ['params that are text', '{"id":1,"method":"resources/read","params":"file:///a"}'],
    ['params in a list', '{"id":1,"method":"tools/call","params":["delete_all",{}]}'],
    ['params that are a number', '{"id":1,"method":"x","params":1}'],
    ['_meta in a list', '{"id":1,"method":"x","params":{"_meta":["token"]}}'],
    ['_meta that is text', '{"id":1,"method":"x","params":{"_meta":"token"}}'],
    ['a message in a list', '["2.0",1,"tools/call",{"name":"delete_all"}]'],
    ['a message in a list in a batch', '[{"id":1,"method":"x"},["2.0",1,"tools/call"]]'],
    ['a method that is a number', '{"id":1,"method":1}'],
    ['the name of a tool that is a number', '{"id":1,"method":"x","params":{"name":-1.5}}'],
    ['the name of a tool that is true', '{"id":1,"method":"x","params":{"name":true}}'],
    ['a URI that is a number', '{"id":1,"method":"x","params":{"uri":0}}'],
    ['a task that is false', '{"id":1,"method":"x","params":{"taskId":false}}'],
    ['a result twice', '{"id":1,"result":{},"result":{"a":1}}'],
  ])('a message that two readers could take differently is recognised: %s', (_what, text) => {
    expect(found(text)).toMatch(/\.$/)
  })
})

describe('a message that nests', () => {
  const nested = (levels: number): string =>
    `{"id":1,"method":"x","params":{"a":${'['.repeat(levels)}"]["${']'.repeat(levels)}}}`

  test('params that nest 998 levels deep pass', () => {
    expect(found(nested(998))).toBeUndefined()
  })

  test.each([999, 100_000])('params that nest %d levels deep are refused', (levels) => {
    expect(found(nested(levels))).toMatch(/deeper than 1000 levels/)
  })

  test('brackets in strings alone pass', () => {
    expect(found(`{"id":1,"method":"x","params":{"a":"${'['.repeat(5000)}"}}`)).toBeUndefined()
  })
})

describe('a text is read as JSON', () => {
  const limit = 100_000
  const isJson = (text: string): boolean => {
    try {
      JSON.parse(text)
      return true
    } catch {
      return false
    }
  }
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    ' ',
    '\n',
    '\v',
    '\u00a0',
    '\ufeff',
    '\\',
    '"',
    '\t',
    '"id"',
    '"a"',
    '"\\u0061"',
    '"\\ud800"',
    '"\\q"',
    '"\\u12G4"',
    '"\\/\\b"',
    '"é"',
    '""',
    '1',
    '-0',
    '01',
    '1.',
    '.5',
    '1.5',
    '1e5',
    '1E+5',
    '1e',
    '-',
    '+1',
    'true',
    'nul',
    'null',
    `"${'x'.repeat(40)}"`,
    `"${'x'.repeat(40)}\\"${'\\n'.repeat(20)}"`,
    `"${'x'.repeat(33)}`,
  ]

  test('a text is JSON exactly where JSON.parse reads it, however it is made up', () => {
    const text = fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((all) => all.join(''))
    fc.assert(
      fc.property(text, (each) => {
        expect(refusalOf(each, limit)?.reason === 'syntax').toBe(!isJson(each))
      }),
      { numRuns: 5000 },
    )
  })

  test('a text is JSON exactly where JSON.parse reads it, after one change', () => {
    const changed = fc
      .tuple(fc.json({ maxDepth: 4 }), fc.nat(), fc.constantFrom('', ...pieces), fc.nat(2))
      .map(([json, place, piece, removed]) => {
        const at = place % (json.length + 1)
        return json.slice(0, at) + piece + json.slice(at + removed)
      })
    fc.assert(
      fc.property(changed, (each) => {
        expect(refusalOf(each, limit)?.reason === 'syntax').toBe(!isJson(each))
      }),
      { numRuns: 5000 },
    )
  })

  test('a text beyond its bound of objects, arrays and members is costly', () => {
    const text = JSON.stringify({ id: 1, method: 'x', params: { a: [1, 2, [3]] } })
    expect([refusalOf(text, 8)?.reason, refusalOf(text, 7)?.reason]).toEqual([undefined, 'parts'])
  })

  test('a text with a mistake is no JSON, also when it is ambiguous before that', () => {
    expect(refusalOf('{"id":1,"id":2,}', limit)?.reason).toBe('syntax')
  })
})
