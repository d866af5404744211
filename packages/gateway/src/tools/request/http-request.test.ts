import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ToolParameter, ToolRequest } from '../../core/resource.ts'
import { httpRequestOf, placeAt, Unsendable } from './http-request.ts'

function requestWith(
  parameters: readonly ToolParameter[],
  more: Partial<ToolRequest> = {},
): ToolRequest {
  return { method: 'GET', parameters, ...more }
}

function queryOf(parameter: Omit<ToolParameter, 'argument' | 'in'>, value: string): string {
  const request = requestWith([{ argument: 'a', in: 'query', ...parameter }])
  return httpRequestOf(request, `{"a":${value}}`).query
}

function mistakesOf(request: ToolRequest, args: object, endpoint?: string): string[] {
  try {
    httpRequestOf(request, JSON.stringify(args), endpoint)
    return []
  } catch (error) {
    if (!(error instanceof Unsendable)) throw error
    return error.mistakes.map(({ pointer, detail }) => `${pointer} ${detail}`)
  }
}

describe('the path of a call', () => {
  const byId = requestWith([{ argument: 'id', in: 'path' }], { path: '/pets/{id}/photo' })
  const pathOf = (id: unknown): string =>
    httpRequestOf(byId, JSON.stringify({ id: id as string })).path

  test('any text stays in its segment of the path, or the call is refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (id) => {
        const refused = mistakesOf(byId, { id }).length > 0
        if (refused) return
        const { pathname, search, hash } = new URL(pathOf(id), 'http://a')

        const [, first, own = '', last, ...rest] = pathname.split('/')
        expect([first, last, rest, search, hash]).toEqual(['pets', 'photo', [], '', ''])
        expect(decodeURIComponent(own)).toBe(Buffer.from(id).toString())
      }),
    )
  })

  test.each(['.', '..', '../admin', '..\\admin', 'a/../b', 'a/.', '%2e%2e/..', '', 'a\nb', 'a\0'])(
    'the value %j of a path is refused, as it could name another path',
    (id) => {
      expect(mistakesOf(byId, { id })).toHaveLength(1)
    },
  )

  test('two values of one segment do not make a step upwards together', () => {
    const parameters = ['a', 'b'].map((argument) => ({ argument, in: 'path' as const }))
    const request = requestWith(parameters, { path: '/x/{a}{b}/y' })
    expect(mistakesOf(request, { a: '.', b: '.' })).toEqual([
      "/b must not hold '.' or '..' as a part of the path",
    ])
  })

  test('slashes, questions marks and percent signs of a value are escaped', () => {
    expect(pathOf('a/b?c#d%2fe;f')).toBe('/pets/a%2Fb%3Fc%23d%252fe%3Bf/photo')
  })

  test('a number keeps every digit', () => {
    expect(httpRequestOf(byId, '{"id":12345678901234567890}').path).toBe(
      '/pets/12345678901234567890/photo',
    )
  })

  test('arrays and objects are written in the style simple', () => {
    expect(pathOf(['a', 'b,c'])).toBe('/pets/a,b%2Cc/photo')
    expect(pathOf({ a: 1, b: true })).toBe('/pets/a,1,b,true/photo')
  })

  test('a path argument that is missing or null is a mistake of the arguments', () => {
    expect(mistakesOf(byId, {})).toEqual(['/id is required, because it is a part of the path'])
    expect(mistakesOf(byId, { id: null })).toHaveLength(1)
  })

  test('a path follows that of the endpoint, whose query stays', () => {
    const request = httpRequestOf(
      requestWith([{ argument: 'q', in: 'query' }], { path: '/a' }),
      '{"q":"x y"}',
    )
    expect(placeAt('/base/?key=1', request)).toBe('/base/a?key=1&q=x%20y')
    expect(placeAt('/', request)).toBe('/a?q=x%20y')
    expect(placeAt('/score', { ...request, path: '' })).toBe('/score?q=x%20y')
  })
})

describe('the query of a call', () => {
  test.each([
    [{}, '[1,"b&c"]', 'a=1&a=b%26c'],
    [{ explode: false }, '[1,"b,c"]', 'a=1%2Cb%2Cc'],
    [{ style: 'spaceDelimited' }, '[1,2]', 'a=1%202'],
    [{ style: 'pipeDelimited' }, '[1,2]', 'a=1%7C2'],
    [
      { style: 'deepObject' },
      '{"x":{"y":[1,2]}}',
      'a%5Bx%5D%5By%5D%5B0%5D=1&a%5Bx%5D%5By%5D%5B1%5D=2',
    ],
    [{}, '{"x":1,"y":"z"}', 'x=1&y=z'],
    [{ explode: false }, '{"x":1,"y":"z"}', 'a=x%2C1%2Cy%2Cz'],
    [{ style: 'json' }, '{"x":[1]}', 'a=%7B%22x%22%3A%5B1%5D%7D'],
    [{ name: 'filter[a]' }, 'true', 'filter%5Ba%5D=true'],
    [{}, 'null', ''],
    [{}, '[]', ''],
    [{}, '"a=1&admin=true#"', 'a=a%3D1%26admin%3Dtrue%23'],
  ] as const)('the style %j writes %s as %s', (parameter, value, query) => {
    expect(queryOf(parameter, value)).toBe(query)
  })

  test('half a surrogate pair is sent as the replacement character', () => {
    expect(queryOf({}, String.raw`"\ud800"`)).toBe('a=%EF%BF%BD')
  })

  test('members of an object pass neither for a parameter nor for the query of the endpoint', () => {
    const request = requestWith([
      { argument: 'filter', in: 'query' },
      { argument: 'limit', in: 'query' },
    ])
    expect(mistakesOf(request, { filter: { limit: 1 } })).toHaveLength(1)
    expect(mistakesOf(request, { filter: { key: 1 } }, 'http://a/?key=2')).toHaveLength(1)
    expect(mistakesOf(request, { filter: { colour: 'red' } }, 'http://a/?key=2')).toEqual([])
  })

  test('an object that is nested without end is written without a stack overflow', () => {
    const nested = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
    expect(queryOf({ style: 'deepObject' }, nested)).toContain('a%5B0%5D')
  })
})

describe('the headers of a call', () => {
  const request = requestWith([{ argument: 'tag', in: 'header', name: 'X-Tag' }])

  test('a value is written in the style simple', () => {
    expect(httpRequestOf(request, '{"tag":["a","b"]}').headers.slice(-2)).toEqual(['X-Tag', 'a,b'])
    expect(httpRequestOf(request, '{}').headers).not.toContain('X-Tag')
  })

  test.each(['a\r\nHost: evil', 'a\nb', 'a\0b', 'ü', '\t', '\u007f'])(
    'the value %j of a header is refused',
    (tag) => {
      expect(mistakesOf(request, { tag })).toEqual([
        '/tag must be visible ASCII characters, because it is a header',
      ])
    },
  )
})

describe('the body of a call', () => {
  const sent = (body: ToolRequest['body'], args: string, parameters: ToolParameter[] = []) => {
    const { headers, body: text } = httpRequestOf(
      requestWith(parameters, { method: 'POST', body }),
      args,
    )
    return [text, headers[0] === 'content-type' ? headers[1] : undefined]
  }
  const json = 'application/json'
  const form = 'application/x-www-form-urlencoded'

  test('an argument is the body, in the very characters that the client wrote', () => {
    expect(
      sent({ argument: 'b', contentType: json }, '{"b":{"n":1.50,"id":9007199254740993}}'),
    ).toEqual(['{"n":1.50,"id":9007199254740993}', json])
  })

  test('a body without an argument of its own has all that no parameter takes', () => {
    const parameters: ToolParameter[] = [{ argument: 'q', in: 'query' }]
    expect(sent({ contentType: json }, '{"q":1,"x":2,"y":[3]}', parameters)).toEqual([
      '{"x":2,"y":[3]}',
      json,
    ])
  })

  test('a form has its fields, by their styles', () => {
    const body = {
      argument: 'b',
      contentType: form,
      encoding: { deep: { style: 'deepObject' as const } },
    }
    expect(
      sent(body, '{"b":{"name":"a&b","tags":[1,2],"meta":{"k":1},"deep":{"k":1},"none":null}}'),
    ).toEqual(['name=a%26b&tags=1&tags=2&meta=%7B%22k%22%3A1%7D&deep%5Bk%5D=1', form])
  })

  test('text is sent as it is, and a body that is absent not at all', () => {
    const body = { argument: 'b', contentType: 'text/plain' }
    expect(sent(body, String.raw`{"b":"a\nb"}`)).toEqual(['a\nb', 'text/plain'])
    expect(sent(body, '{}')).toEqual([null, undefined])
  })
})
