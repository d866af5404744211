import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { authenticateDevelopment } from './development.ts'

const principalOf = (headers: Record<string, string>) =>
  authenticateDevelopment({ headers } as unknown as IncomingMessage)

describe('development identity', () => {
  test('a caller that says nothing is dev with the role mcp.dev', () => {
    expect(principalOf({})).toEqual({
      id: 'dev',
      issuer: 'development',
      name: 'dev',
      roles: ['mcp.dev'],
    })
  })

  test('headers name the caller and its roles, trimmed and distinct', () => {
    expect(
      principalOf({
        'x-dev-userid': 'alice',
        'x-dev-name': 'Alice',
        'x-dev-roles': ' mcp.admin, ,a,a ',
      }),
    ).toEqual({
      id: 'alice',
      issuer: 'development',
      name: 'Alice',
      roles: ['mcp.admin', 'a'],
    })
  })

  test('an empty list of roles is no role at all', () => {
    expect(principalOf({ 'x-dev-roles': '' }).roles).toEqual([])
  })

  test('an empty user id is never an id', () => {
    expect(principalOf({ 'x-dev-userid': '  ' }).id).toBe('dev')
  })

  test.each(['x-dev-userid', 'x-dev-name', 'x-dev-roles'])(
    'the header %s gives no control characters, nor any that turn text around',
    (header) => {
      for (const bad of ['a\u0085b', 'a\u2028b', 'a\u202eb', 'a\u009b31m'])
        expect(() =>
          principalOf({ [header]: Buffer.from(bad, 'utf8').toString('latin1') }),
        ).toThrow(/control characters/)
    },
  )

  test.each(['x-dev-userid', 'x-dev-name', 'x-dev-roles'])(
    'bytes of %s that are not UTF-8 do not make one caller of two',
    (header) => {
      for (const bad of ['zo\u00eb', '\u00ff', '\u00c3', '\u00ed\u00a0\u0080'])
        expect(() => principalOf({ [header]: bad })).toThrow(/not valid UTF-8/)
    },
  )

  test.each([
    'forwarded',
    'forwarded-for',
    'x-forwarded',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-forwarded-proto',
    'x-forwarded-user',
    'x-forwarder-for',
    'via',
    'cdn-loop',
    'x-real-ip',
    'x-client-ip',
    'client-ip',
    'x-cluster-client-ip',
    'true-client-ip',
    'fastly-client-ip',
    'fly-client-ip',
    'do-connecting-ip',
    'cf-connecting-ip',
    'cf-ray',
    'cf-access-jwt-assertion',
    'cloudfront-viewer-address',
    'tailscale-user-login',
    'x-original-url',
    'x-original-forwarded-for',
    'x-rewrite-url',
    'x-envoy-external-address',
    'x-azure-clientip',
    'x-appengine-user-ip',
    'x-arr-log-id',
    'x-nf-client-connection-ip',
    'x-vercel-id',
    'x-proxyuser-ip',
    'x-scheme',
    'x-remote-addr',
    'x-auth-request-user',
    'x-ms-client-principal',
    'remote-user',
    'front-end-https',
  ])('development identity does not believe a request with %s of a proxy', (header) => {
    for (const claim of [{}, { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }])
      expect(() => principalOf({ ...claim, [header]: '' })).toThrow(
        expect.objectContaining({
          code: 'forwarded_request',
          status: 403,
          message: expect.stringContaining(`'${header}'`) as string,
        }),
      )
  })

  test('development identity believes a request with headers of clients', () => {
    const names =
      'host connection accept accept-encoding accept-language content-type content-length origin ' +
      'referer user-agent authorization cookie mcp-session-id mcp-protocol-version mcp-method ' +
      'mcp-name last-event-id sec-fetch-mode sec-ch-ua priority dnt traceparent tracestate ' +
      'baggage ' +
      'x-request-id x-requested-with x-api-key x-tenant x-github-token x-client-name ' +
      'x-custom-auth-headers ' +
      'x-mcp-proxy-auth cache-control pragma dd-api-key x-amzn-trace-id x-http-method-override'
    const headers = Object.fromEntries(names.split(' ').map((name) => [name, 'x']))
    expect(principalOf({ ...headers, 'x-dev-userid': 'alice' }).id).toBe('alice')
  })

  test('names beyond ASCII survive', () => {
    expect(principalOf({ 'x-dev-name': Buffer.from('Zoë', 'utf8').toString('latin1') }).name).toBe(
      'Zoë',
    )
  })
})
