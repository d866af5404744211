import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judgedMessages, pageOf, withoutTools } from './ruled-messages.ts'

const judged = (text: string | Uint8Array): unknown => {
  try {
    return judgedMessages(typeof text === 'string' ? Buffer.from(text) : text).messages.map(
      ({ method, tool }) => tool ?? method,
    )
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('what a client sends', () => {
  test('a call names its tool however it is escaped, alone and in a batch', () => {
    const call =
      '{"jsonrpc":"2.0","id":1,"method":"tools\\/call",' +
      '"params":{"n\\u0061me":"del\\u0065te","arguments":{"name":"x","Name":"y"}}}'
    expect(judged(call)).toEqual(['delete'])
    expect(judged(`[{"method":"ping","id":0}, ${call}]`)).toEqual(['ping', 'delete'])
    expect(judged('{"jsonrpc":"2.0","id":1,"result":{"a":1}}')).toEqual([undefined])
  })

  test.each([
    ['a member that stands twice', '{"method":"ping","method":"tools/call","params":{"name":"x"}}'],
    [
      'an escaped member that stands twice',
      '{"method":"ping","m\\u0065thod":"tools/call","params":{"name":"x"}}',
    ],
    ['a member in other case', '{"method":"ping","Method":"tools/call","Params":{"Name":"x"}}'],
    ['a member in other case alone', '{"METHOD":"tools/call","params":{"name":"x"}}'],
    [
      'a long s, which some readers fold',
      '{"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"x"}}',
    ],
    ['a member with a space', '{"method":"ping","method ":"tools/call"}'],
    ['two names', '{"method":"tools/call","params":{"name":"a","name":"x"}}'],
    [
      'two names, one of them in other case',
      '{"method":"tools/call","params":{"name":"a","NAME":"x"}}',
    ],
    ['two params', '{"method":"tools/call","params":{"name":"a"},"params":{"name":"x"}}'],
    ['a method in other case', '{"method":"Tools/Call","params":{"name":"x"}}'],
    ['a method with a space', '{"method":"tools/call ","params":{"name":"x"}}'],
    ['a method that is longer than any', `{"method":"${'x'.repeat(300)}"}`],
    ['a member whose name is longer than any', `{"method":"ping","${'x'.repeat(300)}":1}`],
    ['a method that is no text', '{"method":["tools/call"],"params":{"name":"x"}}'],
    ['a call without a name', '{"method":"tools/call","params":{}}'],
    ['params by position', '{"method":"tools/call","params":["x",{}]}'],
    ['a name that is no text', '{"method":"tools/call","params":{"name":["x"]}}'],
    ['no message', '"tools/call"'],
    ['a batch in a batch', '[[{"method":"tools/call","params":{"name":"x"}}]]'],
  ])('a message that holds %s is refused', (_, text) => {
    expect(judged(text)).toBe('invalid_request')
  })

  test.each([
    ['is no JSON', '{"method":"ping"'],
    ['has a byte order mark', '\ufeff{"method":"ping"}'],
    ['is not UTF-8', Buffer.from('7b226d6574686f64223a22c328227d', 'hex')],
    ['is UTF-16', Buffer.from('{"method":"ping"}', 'utf16le')],
    ['is empty', ''],
  ])('a message that %s is refused', (_, text) => {
    expect(judged(text)).toBe('invalid_json')
  })

  /**
   * The ways in which readers take one object: the first or the last of equal names, with or
   * without regard to case.
   */
  type Reader = (entries: readonly (readonly [string, unknown])[], name: string) => unknown
  const readers: Readonly<Record<string, Reader>> = {
    last: (entries, name) => entries.findLast(([key]) => key === name)?.[1],
    first: (entries, name) => entries.find(([key]) => key === name)?.[1],
    'last, without case': (entries, name) =>
      entries.findLast(([key]) => key.toLowerCase() === name)?.[1],
    'first, without case': (entries, name) =>
      entries.find(([key]) => key.toUpperCase() === name.toUpperCase())?.[1],
    'without spaces': (entries, name) => entries.findLast(([key]) => key.trim() === name)?.[1],
  }
  const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  const textOf = (name: string, escape: boolean): string =>
    `"${escape ? Array.from(name, escaped).join('') : name}"`
  const key = (names: readonly string[]) => fc.constantFrom(...names)
  const entries = (names: readonly string[], value: fc.Arbitrary<string>) =>
    fc.array(fc.tuple(key(names), fc.boolean(), value), { minLength: 1, maxLength: 4 })
  const objectText = (members: readonly (readonly [string, boolean, string])[]): string =>
    `{${members.map(([name, escape, value]) => `${textOf(name, escape)}:${value}`).join(',')}}`

  test('every reader reads a message that passes alike', () => {
    const params = entries(
      ['name', 'Name', 'NAME', 'arguments', ' name', 'x'],
      fc.constantFrom('"good"', '"evil"', '{}'),
    )
    const message = fc
      .tuple(
        fc.array(
          fc.tuple(
            key(['method', 'Method', 'id', 'method ']),
            fc.boolean(),
            fc.constantFrom('"tools/call"', '"ping"', '1'),
          ),
          {
            maxLength: 3,
          },
        ),
        fc.array(
          fc.tuple(
            key(['params', 'Params', 'PARAMS']),
            fc.boolean(),
            params.map((each) => objectText(each)),
          ),
          { maxLength: 2 },
        ),
      )
      .map(([heads, bodies]) => objectText([...heads, ...bodies]))
    let letThrough = 0
    fc.assert(
      fc.property(message, (text) => {
        const verdict = judged(text)
        if (!Array.isArray(verdict)) return
        letThrough += 1
        const list = (value: string): [string, unknown][] => pairs(value)
        for (const [how, read] of Object.entries(readers)) {
          const method = read(list(text), 'method')
          const inner = read(list(text), 'params')
          const tool =
            method === '"tools/call"' && typeof inner === 'string'
              ? read(list(inner), 'name')
              : undefined
          const seen = tool === undefined ? method : tool
          expect([how, typeof seen === 'string' ? (JSON.parse(seen) as unknown) : seen]).toEqual([
            how,
            verdict[0],
          ])
        }
      }),
      { numRuns: 20_000 },
    )
    expect(letThrough).toBeGreaterThan(100)
  })
})

/**
 * The members of an object's text in order, with decoded names and raw values. It reads only the
 * texts of the test above.
 */
function pairs(text: string): [string, unknown][] {
  const found: [string, unknown][] = []
  let depth = 0
  let start = 1
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at]
    if (character === '{') depth += 1
    if ((character === ',' && depth === 1) || (character === '}' && depth === 1)) {
      const member = text.slice(start, at)
      const colon = member.indexOf('":') + 1
      if (colon > 0)
        found.push([JSON.parse(member.slice(0, colon)) as string, member.slice(colon + 1)])
      start = at + 1
    }
    if (character === '}') depth -= 1
  }
  return found
}

describe('what a server says', () => {
  const only =
    (...names: string[]) =>
    ({ name }: { name: string }) =>
      names.includes(name)
  const list =
    '{"jsonrpc":"2.0","id":12345678901234567890,"result":{"tools":[{"name":"a","n":1.0},' +
    '{"name":"b"}, {"name":"\\u0063"}],"nextCursor":"x"}}'

  test('a filtered list keeps allowed tools, and everything else as it was written', () => {
    expect(withoutTools(list, only('a', 'c'), false)).toBe(
      '{"jsonrpc":"2.0","id":12345678901234567890,"result":{"tools":[{"name":"a","n":1.0},' +
        '{"name":"\\u0063"}],"nextCursor":"x"}}',
    )
    expect(withoutTools(list, () => false, false)).toContain('"tools":[],"nextCursor":"x"')
  })

  test('an answer is the same text where nothing is left out, or no list is in it', () => {
    const texts = [
      list,
      '{"result":{"content":[{"text":"\\"tools\\" {"}]}}',
      '{"method":"m","params":{"tools":[{"name":"b"}]}}',
      '{"result":{"tools":{}}}',
      '"tools"',
    ]
    for (const text of texts) expect(withoutTools(text, only('a', 'b', 'c'), false)).toBe(text)
  })

  test('the filter looks into batches, behind escapes, and at repeated members', () => {
    expect(withoutTools(`[{"id":1,"result":{}},${list}]`, only('a'), false)).toContain(
      '"tools":[{"name":"a","n":1.0}]',
    )
    expect(withoutTools('{"id":1,"result":{"\\u0074ools":[{"name":"b"}]}}', only(), false)).toBe(
      '{"id":1,"result":{"tools":[]}}',
    )
    expect(
      withoutTools(
        '{"id":1,"result":{},"result":{"tools":[],"tools":[{"name":"b"}]}}',
        only(),
        false,
      ),
    ).toBe('{"id":1,"result":{"tools":[]}}')
  })

  test('the filter leaves out entries that are no tools', () => {
    expect(
      withoutTools(
        '{"id":1,"result":{"tools":[null,1,"b",{"title":"x"},{"name":1}]}}',
        () => true,
        false,
      ),
    ).toBe('{"id":1,"result":{"tools":[]}}')
  })

  test('a list that depends on its caller is not to be kept for others', () => {
    const shared = '{"id":1,"result":{"tools":[{"name":"a"}],"ttlMs":60000,"cacheScope":"public"}}'
    expect(withoutTools(shared, only('a'), true)).toBe(shared.replace('public', 'private'))
    expect(withoutTools(shared, only('a'), false)).toBe(shared)
  })

  test('an answer that is no JSON and may be a list is not judged', () => {
    expect(() => withoutTools('{"result":{"tools":[NaN]}}', () => true, false)).toThrow(SyntaxError)
  })

  test('an answer to a list request is a page of the list', () => {
    expect(pageOf(list, '12345678901234567890')).toMatchObject({
      tools: [{ name: 'a' }, { name: 'b' }, { name: 'c' }],
      next: '"x"',
    })
    expect(pageOf(list, '"other"')).toBeUndefined()
    expect(pageOf('{"id":"g","error":{}}', '"g"')).toBeUndefined()
    expect(pageOf('{', '"g"')).toBeUndefined()
  })
})
