import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createClientView, type ClientViewOptions } from './client-view.ts'

const request = (remoteAddress: string, headers: Record<string, string> = {}): IncomingMessage =>
  ({
    socket: { remoteAddress },
    headers: { host: 'gw.example', ...headers },
  }) as unknown as IncomingMessage
const view = (options: Partial<ClientViewOptions> = {}) =>
  createClientView({
    publicOrigin: undefined,
    trustedProxies: ['10.0.0.0/8', 'fd00::/8'],
    forwardedBy: 'x-forwarded',
    allowedHosts: ['gw.example'],
    listening: () => 'http://127.0.0.1:8000',
    ...options,
  })
const seen = (from: IncomingMessage, options?: Partial<ClientViewOptions>) => [
  view(options).addressOf(from),
  view(options).originOf(from),
]

describe('the view of a client through proxies', () => {
  test('untrusted proxies are not believed, and neither is the Host header (A24)', () => {
    const headers = {
      'x-forwarded-for': '1.1.1.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'gw.example',
      forwarded: 'for=1.1.1.1',
    }
    expect(seen(request('9.9.9.9', headers))).toEqual(['9.9.9.9', 'http://127.0.0.1:8000'])
  })

  test('trusted proxies report the client and the public origin (E1)', () => {
    const headers = {
      'x-forwarded-for': '1.1.1.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'gw.example',
    }
    expect(seen(request('::ffff:10.1.2.3', headers))).toEqual(['1.1.1.1', 'https://gw.example'])
  })

  test('a trusted proxy that names no host passes on the right one', () => {
    expect(
      seen(request('10.0.0.1', { 'x-forwarded-for': '1.1.1.1', 'x-forwarded-proto': 'https' })),
    ).toEqual(['1.1.1.1', 'https://gw.example'])
  })

  test('claims of a client before the first trusted proxy are not believed', () => {
    expect(seen(request('10.0.0.1', { 'x-forwarded-for': '6.6.6.6, 1.1.1.1, 10.0.0.2' }))[0]).toBe(
      '1.1.1.1',
    )
  })

  test('the first of only trusted addresses is the client', () => {
    expect(seen(request('10.0.0.1', { 'x-forwarded-for': '10.0.0.3, 10.0.0.2' }))[0]).toBe(
      '10.0.0.3',
    )
  })

  test.each([
    'evil.example',
    'gw.example@evil.example',
    'gw.example/path',
    'gw.example:99999',
    '',
    'a b',
    'gw.example?x',
  ])('a host such as %j does not reach clients', (host) => {
    expect(
      seen(
        request('10.0.0.1', {
          'x-forwarded-for': '1.1.1.1',
          'x-forwarded-host': host,
          host: 'evil.example',
        }),
      )[1],
    ).toBe('http://127.0.0.1:8000')
  })

  test('the configured origin outranks all claims', () => {
    const headers = { 'x-forwarded-for': '1.1.1.1', 'x-forwarded-host': 'gw.example' }
    expect(seen(request('10.0.0.1', headers), { publicOrigin: 'https://public.example/' })[1]).toBe(
      'https://public.example',
    )
  })

  test('RFC 7239 is read only where it is configured', () => {
    const forwarded =
      'for="[2001:db8::1]:4711";proto=https;host="gw.example:8443", for=10.0.0.2;proto=http'
    expect(seen(request('10.0.0.1', { forwarded }), { forwardedBy: 'forwarded' })).toEqual([
      '2001:db8::1',
      'https://gw.example:8443',
    ])
    expect(seen(request('10.0.0.1', { forwarded }))[0]).toBe('10.0.0.1')
  })

  test.each(['for=unknown', 'for=_hidden', 'for="a\\"b,c;d"', ';;;,,,', '=', 'for="', 'for=[::1'])(
    'the text %j is no address',
    (forwarded) => {
      expect(seen(request('10.0.0.1', { forwarded }), { forwardedBy: 'forwarded' })[0]).toBe(
        '10.0.0.1',
      )
    },
  )
})
