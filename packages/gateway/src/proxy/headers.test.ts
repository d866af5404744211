import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import {
  identityHeaders,
  rawHeader,
  requestHeaders,
  responseHeaders,
  type RequestContext,
} from './headers.ts'

const principal: Principal = {
  id: 'alice',
  issuer: 'development',
  name: 'Alice',
  roles: ['a', 'b,c'],
}
const context: RequestContext = {
  outgoing: { headers: identityHeaders(principal), replaces: undefined },
  requestId: 'r1',
  upstreamSession: undefined,
  remoteAddress: '127.0.0.1',
  host: 'localhost:8000',
}
const pairsOf = (flat: readonly string[]): [string, string][] =>
  flat.flatMap((name, index) =>
    index % 2 === 0 ? [[name, flat[index + 1] as string] as [string, string]] : [],
  )
const valuesOf = (flat: readonly string[], name: string): string[] =>
  pairsOf(flat).flatMap(([key, value]) => (key.toLowerCase() === name ? [value] : []))
const answer = (...flat: string[]): string[] =>
  responseHeaders(
    flat.map((text) => Buffer.from(text, 'latin1')),
    'r1',
    'http://127.0.0.1:4000',
  )

const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]
const credentials = ['authorization', 'cookie']
const ours = [
  'forwarded',
  'mcp-session-id',
  'x-request-id',
  'x-mcp-userid',
  'x-mcp-username',
  'x-mcp-roles',
  'x-mcp-identity',
  'x-mcpgw-caller',
  'x-dev-userid',
  'x-dev-name',
  'x-dev-roles',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
]
const denied = [...hopByHop, ...credentials, ...ours, 'host', 'content-length', 'expect', 'origin']

const token = fc.string({
  unit: fc.constantFrom('a', 'b', 'c', 'X', 'Y', '0', '9', '-', '_', '.', '!', '#', '$'),
  minLength: 1,
  maxLength: 12,
})
const value = fc.string({
  unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 20,
})
/** Any mixture of upper and lower case, and of dashes and what servers of the CGI kind take for them. */
const spelling = (names: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.constantFrom(...names),
      fc.infiniteStream(fc.boolean()),
      fc.infiniteStream(fc.constantFrom('-', '_', '.', '!', '~')),
    )
    .map(([name, upper, dash]) =>
      name
        .split('')
        .map((letter) =>
          letter === '-' ? dash.next().value : upper.next().value ? letter.toUpperCase() : letter,
        )
        .join(''),
    )
const folded = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
const harmless = token.filter((name) => !denied.includes(folded(name)))

describe('headers for the server', () => {
  test('are the client’s, in order and spelling, but for those that end at the gateway, however these are spelled', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.tuple(harmless, value), fc.tuple(spelling(denied), value))),
        (given) => {
          const passed = pairsOf(requestHeaders(given.flat(), undefined, context))
          const expected = given.filter(([name]) => !denied.includes(folded(name)))
          expect(passed.slice(0, expected.length)).toEqual(expected)
          expect(passed.slice(expected.length).map(([name]) => name)).toEqual([
            'x-request-id',
            'forwarded',
            'x-mcp-userid',
            'x-mcp-username',
            'x-mcp-roles',
          ])
        },
      ),
    )
  })

  test('do not hold what Connection names, and Connection can not name ours away', () => {
    fc.assert(
      fc.property(
        fc.array(harmless, { minLength: 1 }),
        fc.array(fc.tuple(harmless, value)),
        (named, given) => {
          const connection = [...named, 'close', 'X-Mcp-UserId', 'forwarded'].join(' , ')
          const passed = requestHeaders(given.flat(), connection, context)
          for (const name of named) expect(valuesOf(passed, name.toLowerCase())).toEqual([])
          expect(valuesOf(passed, 'x-mcp-userid')).toEqual(['alice'])
          expect(valuesOf(passed, 'forwarded')).toHaveLength(1)
        },
      ),
    )
  })

  test('tell who calls in visible ASCII, from which the very name can be read again', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.array(fc.string({ unit: 'binary', minLength: 1 })),
        (id, roles) => {
          const passed = requestHeaders([], undefined, {
            ...context,
            outgoing: {
              headers: identityHeaders({ ...principal, id, roles }),
              replaces: undefined,
            },
          })
          const [sent = ''] = valuesOf(passed, 'x-mcp-userid')
          expect(sent).toMatch(/^[\x21-\x7e]*$/)
          expect(decodeURIComponent(sent)).toBe(Buffer.from(id).toString())
          const [list = ''] = valuesOf(passed, 'x-mcp-roles')
          expect(list === '' ? [] : list.split(',').map(decodeURIComponent)).toEqual(
            roles.map((role) => Buffer.from(role).toString()),
          )
        },
      ),
    )
  })

  test('hold the credential of the adapter in place of what the client sends by its name', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(spelling(['x-api-key']), value), { minLength: 1 }), (given) => {
        const outgoing = { headers: ['X-Api-Key', 'secret'], replaces: 'x-api-key' }
        const passed = pairsOf(requestHeaders(given.flat(), undefined, { ...context, outgoing }))
        expect(passed.filter(([name]) => folded(name) === 'x-api-key')).toEqual([
          ['X-Api-Key', 'secret'],
        ])
      }),
    )
  })

  test.each([
    ['127.0.0.1', 'localhost:8000', 'for=127.0.0.1;proto=http;host="localhost:8000"'],
    ['::1', '[::1]:8000', 'for="[::1]";proto=http;host="[::1]:8000"'],
    ['10.0.0.1', 'evil";for=1.2.3.4', 'for=10.0.0.1;proto=http'],
    [undefined, undefined, 'for=unknown;proto=http'],
  ])('describe the way here by RFC 7239: %s at %s', (remoteAddress, host, expected) => {
    expect(
      valuesOf(requestHeaders([], undefined, { ...context, remoteAddress, host }), 'forwarded'),
    ).toEqual([expected])
  })
})

describe('headers for the client', () => {
  const ending = [
    ...hopByHop,
    'mcp-session-id',
    'x-request-id',
    'set-cookie',
    'www-authenticate',
    'access-control-allow-origin',
    'access-control-allow-methods',
    'alt-svc',
    'strict-transport-security',
    'clear-site-data',
    'nel',
    'report-to',
  ]

  test('are the server’s, in order and spelling, but for those that end at the gateway', () => {
    const free = token.filter(
      (name) => ![...ending, 'content-type', 'location'].includes(name.toLowerCase()),
    )
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.tuple(free, value),
            fc.tuple(fc.constantFrom(...ending.filter((name) => name !== 'connection')), value),
          ),
        ),
        (given) => {
          const expected = given.filter(([name]) => !ending.includes(name.toLowerCase()))
          expect(pairsOf(answer('Content-Type', 'application/json', ...given.flat()))).toEqual([
            ['Content-Type', 'application/json'],
            ...expected,
            ['x-request-id', 'r1'],
          ])
        },
      ),
    )
  })

  test('do not hold what Connection names, wherever it stands, and it can not name ours away', () => {
    const headers = answer(
      'X-A',
      '1',
      'Connection',
      'x-a, X-B, content-security-policy, x-request-id',
      'x-b',
      '2',
      'x-c',
      '3',
    )
    expect(valuesOf(headers, 'x-a')).toEqual([])
    expect(valuesOf(headers, 'x-b')).toEqual([])
    expect(valuesOf(headers, 'x-c')).toEqual(['3'])
    expect(valuesOf(headers, 'x-request-id')).toEqual(['r1'])
    expect(valuesOf(headers, 'content-security-policy')).toHaveLength(1)
  })

  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'text/event-stream',
    'Text/Event-Stream;x=y',
  ])('%s goes without a sandbox', (type) => {
    expect(valuesOf(answer('content-type', type), 'content-security-policy')).toEqual([])
  })

  test.each([
    [],
    ['text/html'],
    ['application/json, text/html'],
    ['application/json', 'text/html'],
    ['image/svg+xml'],
    ['application/jsonx'],
  ])(
    'what a browser might show as a page of the gateway is put in a sandbox: %j %j',
    (...types) => {
      const headers = answer(...types.flatMap((type) => ['content-type', type as string]))
      expect(valuesOf(headers, 'content-security-policy')).toEqual(["sandbox; default-src 'none'"])
      expect(valuesOf(headers, 'x-content-type-options')).toEqual(['nosniff'])
    },
  )

  test('are put in a sandbox, too, when Connection names their type away, so that a browser would guess one', () => {
    const headers = answer('content-type', 'application/json', 'connection', 'Content-Type')
    expect(valuesOf(headers, 'content-type')).toEqual([])
    expect(valuesOf(headers, 'content-security-policy')).toEqual(["sandbox; default-src 'none'"])
    expect(valuesOf(headers, 'x-content-type-options')).toEqual(['nosniff'])
  })

  test('do not tell the replica’s address', () => {
    expect(valuesOf(answer('Location', 'http://127.0.0.1:4000/mcp/'), 'location')).toEqual([])
    expect(valuesOf(answer('Location', 'https://elsewhere.example/'), 'location')).toEqual([
      'https://elsewhere.example/',
    ])
  })

  test('are found by name whatever their case', () => {
    const raw = ['Mcp-Session-ID', 'a', 'mcp-session-id', 'b'].map((text) => Buffer.from(text))
    expect(rawHeader(raw, 'mcp-session-id')).toBe('a')
    expect(rawHeader(raw, 'mcp-session')).toBeUndefined()
  })
})
