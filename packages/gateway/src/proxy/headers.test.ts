import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { apiKeyPrefix } from '../core/api-key.ts'
import { headerMistake, headerRows, type HeaderRow } from '../core/header-table.ts'
import {
  headerRules,
  requestHeaders as requestHeadersBy,
  responseHeaders,
  type HeaderContext,
} from './headers.ts'
import { identityHeaders } from '../upstream/caller-headers.ts'

const rules = headerRules({ requestHeaders: ['x-acme-*', 'team'], responseHeaders: ['x-acme-*'] })
const requestHeaders = (
  raw: readonly string[],
  connection: string | undefined,
  given: HeaderContext,
): string[] => requestHeadersBy(raw, connection, given, rules)

const principal: Principal = {
  id: 'alice',
  issuer: 'development',
  name: 'Alice',
  roles: ['a', 'b,c'],
}
const context: HeaderContext = {
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
    rules,
  )

const nameOf = ({ name }: HeaderRow): string => name.replace('*', 'anything')
const passing = headerRows
  .filter(({ server }) => server === 'pass' || server === 'key')
  .map(nameOf)
  .concat('x-acme-a', 'team')
const denied = headerRows.filter(({ server }) => server === 'never').map(nameOf)
const stopped = [...denied, 'x-unheard-of', 'sec-fetch-mode', 'from', 'x-acme', 'x-mcp', 'mcp']

const token = fc.string({
  unit: fc.constantFrom('a', 'b', 'c', 'X', 'Y', '0', '9', '-', '_', '.', '!', '#', '$'),
  minLength: 1,
  maxLength: 12,
})
const value = fc.string({
  unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 20,
})
/**
 * Any mixture of upper and lower case, and of dashes and what servers of the CGI kind take for
 * them.
 */
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
const cased = (names: readonly string[]): fc.Arbitrary<string> =>
  fc.tuple(fc.constantFrom(...names), fc.infiniteStream(fc.boolean())).map(([name, upper]) =>
    name
      .split('')
      .map((letter) => (upper.next().value ? letter.toUpperCase() : letter))
      .join(''),
  )
const harmless = fc.constantFrom('x-acme-a', 'X-Acme-B', 'x-acme-c', 'X-ACME-D', 'team')

describe('headers for the server', () => {
  test('the table and the configuration decide on request headers, in their order', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.tuple(cased(passing), value),
            fc.tuple(spelling(stopped), value),
            fc.tuple(token, value),
          ),
        ),
        (given) => {
          const passed = pairsOf(requestHeaders(given.flat(), undefined, context))
          const expected = given.filter(([name]) => passing.includes(name.toLowerCase()))
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

  test.each(headerRows)('a request has $name just as its row says ($server)', (row) => {
    const name = nameOf(row)
    const key = `${apiKeyPrefix}0123`
    for (const spelled of [name, name.toUpperCase(), name.replace(/^./, (a) => a.toUpperCase())]) {
      const passed = requestHeaders([spelled, 'v', spelled, key], undefined, context)
      const ours = ['x-request-id', 'forwarded', 'x-mcp-userid', 'x-mcp-username', 'x-mcp-roles']
      const values = ours.includes(name)
        ? valuesOf(passed, name).filter((each) => each === 'v' || each === key)
        : valuesOf(passed, name)
      expect(values).toEqual({ pass: ['v', key], key: ['v'] }[row.server as string] ?? [])
    }
  })

  test.each([
    'X-Forwarded-User',
    'X-Forwarded-Port',
    'Remote-User',
    'X-Ms-Client-Principal',
    'X-Ms-Client-Principal-Id',
    'X-Auth-Request-Email',
    'X-WebAuth-User',
    'X-Amzn-Oidc-Identity',
    'Cf-Access-Jwt-Assertion',
    'Tailscale-User-Login',
    'X-Goog-Authenticated-User-Email',
    'X-Remote-User',
    'Ssl-Client-S-Dn',
    'X-Client-Cert',
    'Via',
    'X-Original-Url',
    'X-Rewrite-Url',
    'X-HTTP-Method-Override',
    'OIDC_CLAIM_sub',
    'Proxy',
    'HTTP2-Settings',
    'X-Mcp-UserId',
    'x_mcp_userid',
  ])('a request never has %s, which speaks of the caller or the way', (name) => {
    expect(headerMistake(name, 'server')).toContain('never crosses the gateway')
    const asked = headerRules({ requestHeaders: [name] })
    const passed = requestHeadersBy([name, 'admin'], undefined, context, asked)
    expect(pairsOf(passed).filter(([, value]) => value === 'admin')).toEqual([])
  })

  test('request headers are found in time that ignores the length of their names', () => {
    const name = 'x-'.repeat(16_000)
    expect(requestHeaders([name, 'v'], undefined, context)).not.toContain(name)
  })

  test('Connection removes request headers, but cannot name the gateway’s own', () => {
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

  test('the caller’s name is in visible ASCII, and the very name can be read from it', () => {
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

  test('the adapter’s credential replaces the client’s header of its name', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(spelling(['x-api-key']), value), { minLength: 1 }), (given) => {
        const outgoing = { headers: ['X-Api-Key', 'secret'], replaces: ['x-api-key'] }
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
  ])('RFC 7239 describes the way here: %s at %s', (remoteAddress, host, expected) => {
    expect(
      valuesOf(requestHeaders([], undefined, { ...context, remoteAddress, host }), 'forwarded'),
    ).toEqual([expected])
  })
})

describe('headers for the client', () => {
  const free = headerRows.filter(({ client }) => client === 'pass').map(nameOf)
  const ending = headerRows
    .filter(({ client }) => client === 'never' || client === '-')
    .map(nameOf)
    .filter((name) => name !== 'connection')
    .concat('x-unheard-of', 'server', 'x-powered-by', 'server-timing', 'content-disposition')

  test('the table and the configuration decide on response headers, in their order', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(fc.tuple(cased([...free, 'x-acme-a']), value), fc.tuple(cased(ending), value)),
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

  test.each([
    'X-Accel-Redirect',
    'X-Accel-Expires',
    'X-Sendfile',
    'X-LiteSpeed-Location',
    'Refresh',
    'Set-Cookie',
    'Clear-Site-Data',
    'P3P',
    'Link',
    'Content-Security-Policy',
    'Access-Control-Allow-Origin',
    'Mcp-Session-Id',
  ])('a response never has %s, which commands a proxy or a browser', (name) => {
    expect(headerMistake(name, 'client')).toContain('never crosses the gateway')
    expect(valuesOf(answer('content-type', 'application/json', name, 'v'), name)).toEqual([])
  })

  test.each([
    ['no-store', 'no-store'],
    ['private', 'private'],
    ['Private, max-age=60', 'Private, max-age=60'],
    ['no-cache, no-transform', 'no-cache, no-transform'],
    ['public', 'no-store'],
    ['public, max-age=31536000', 'no-store'],
    ['private, s-maxage=60', 'no-store'],
    ['no-cache, must-revalidate', 'no-store'],
    ['private="set-cookie"', 'no-store'],
    ['max-age=60', 'no-store'],
    ['immutable', 'no-store'],
    ['', 'no-store'],
  ])('no shared cache keeps an answer: Cache-Control: %s becomes %s', (given, expected) => {
    expect(valuesOf(answer('Cache-Control', given), 'cache-control')).toEqual([expected])
  })

  test('a response asks a proxy not to buffer only if the server does', () => {
    expect(valuesOf(answer('X-Accel-Buffering', 'no'), 'x-accel-buffering')).toEqual(['no'])
    expect(valuesOf(answer('X-Accel-Buffering', 'yes'), 'x-accel-buffering')).toEqual([])
  })

  test('Connection removes response headers, but cannot name the gateway’s own', () => {
    const headers = answer(
      'X-Acme-A',
      '1',
      'Connection',
      'x-acme-a, X-Acme-B, content-security-policy, x-request-id',
      'x-acme-b',
      '2',
      'x-acme-c',
      '3',
    )
    expect(valuesOf(headers, 'x-acme-a')).toEqual([])
    expect(valuesOf(headers, 'x-acme-b')).toEqual([])
    expect(valuesOf(headers, 'x-acme-c')).toEqual(['3'])
    expect(valuesOf(headers, 'x-request-id')).toEqual(['r1'])
    expect(valuesOf(headers, 'content-security-policy')).toHaveLength(1)
  })

  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'text/event-stream',
    'Text/Event-Stream;x=y',
  ])('an answer of type %s goes without a sandbox', (type) => {
    expect(valuesOf(answer('content-type', type), 'content-security-policy')).toEqual([])
  })

  test.each([
    [],
    ['text/html'],
    ['application/json, text/html'],
    ['application/json', 'text/html'],
    ['image/svg+xml'],
    ['application/jsonx'],
  ])('an answer that a browser might show as a page gets a sandbox: %j %j', (...types) => {
    const headers = answer(...types.flatMap((type) => ['content-type', type as string]))
    expect(valuesOf(headers, 'content-security-policy')).toEqual(["sandbox; default-src 'none'"])
    expect(valuesOf(headers, 'x-content-type-options')).toEqual(['nosniff'])
  })

  test('an answer whose type Connection removes gets a sandbox, as browsers guess', () => {
    const headers = answer('content-type', 'application/json', 'connection', 'Content-Type')
    expect(valuesOf(headers, 'content-type')).toEqual([])
    expect(valuesOf(headers, 'content-security-policy')).toEqual(["sandbox; default-src 'none'"])
    expect(valuesOf(headers, 'x-content-type-options')).toEqual(['nosniff'])
  })

  test('a response does not show the address of the replica', () => {
    expect(valuesOf(answer('Location', 'http://127.0.0.1:4000/mcp/'), 'location')).toEqual([])
    expect(valuesOf(answer('Location', 'https://elsewhere.example/'), 'location')).toEqual([
      'https://elsewhere.example/',
    ])
  })
})

describe('headers that an operator adds', () => {
  test.each(['x-acme-team', 'X-Acme-*', 'acme_key', 'x-mcp-toolsets'])(
    'an operator can add %s',
    (name) => {
      expect(headerMistake(name, 'server')).toBeUndefined()
      expect(headerMistake(name, 'client')).toBeUndefined()
    },
  )

  test.each(['*', 'x*', 'x-*', 'a b', '', 'x:', 'x-mcp-*', 'x-forwarded-*', 'x-f-*x', 'proxy-x'])(
    'an operator cannot add %j',
    (name) => {
      expect(headerMistake(name, 'server')).toBeDefined()
    },
  )
})

test('the documents list the headers that cross, and no others', () => {
  const guide = readFileSync(new URL('../../../../docs/adapters.md', import.meta.url), 'utf8')
  const section = guide.slice(guide.indexOf('## Headers'), guide.indexOf('## Secrets'))
  const lists = section
    .split('\n\n')
    .filter((paragraph) => /^`[a-z]/.test(paragraph))
    .map((paragraph) => [...paragraph.matchAll(/`([^`]+)`/g)].map(([, name]) => name))
  const named = (crosses: (row: HeaderRow) => boolean): string[] =>
    headerRows.filter(crosses).map(({ name }) => name)
  expect(lists).toEqual([
    named(({ server }) => server === 'pass'),
    named(({ server }) => server === 'key'),
    named(({ client }) => client !== '-' && client !== 'never'),
  ])
})
