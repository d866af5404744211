import { randomUUID } from 'node:crypto'
import { IdentityProvider } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signedByAnother, signedWithPublicKey, unsigned } from './fixtures/forged-tokens.ts'
import { TestGateway } from './fixtures/gateway.ts'
import { modernRequest } from './fixtures/mcp-requests.ts'

/** Every route × every kind of caller, from two tables. */

const audience = 'mcp-gateway'
const accounts = {
  owner: { roles: ['mcp.engineer'] },
  reader: { roles: ['mcp.reader'] },
  stranger: { roles: ['other'] },
  admin: { roles: ['mcp.admin'] },
}
let provider: IdentityProvider
let other: IdentityProvider
let gateway: TestGateway
let shared = ''
let ownersKey = { id: '', key: '' }
let revokedKey = ''

/** What callers show; undefined is nothing. */
const callers = {
  nobody: async () => undefined,
  'an expired token': () => provider.token('admin', { exp: Math.floor(Date.now() / 1000) - 120 }),
  'a token for another audience': () => provider.token('admin', { aud: 'another-api' }),
  'a token of another issuer': () => other.token('admin'),
  'a token that names the issuer, by another key': () => signedByAnother(provider, 'admin'),
  'a token of the algorithm none': () => unsigned(provider, 'admin'),
  'a token signed with the public key': () => signedWithPublicKey(provider, 'admin'),
  'a token without the scope': () => provider.token('admin', { scope: 'openid' }),
  stranger: () => provider.token('stranger'),
  reader: () => provider.token('reader'),
  owner: () => provider.token('owner'),
  admin: () => provider.token('admin'),
  'an API key of the owner': async () => ownersKey.key,
  'a revoked API key': async () => revokedKey,
} as const
type Caller = keyof typeof callers
type Known = 'stranger' | 'reader' | 'owner' | 'admin'

interface Route {
  readonly name: string
  readonly send: (headers: Record<string, string>) => Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>
  /** What each kind of person gets; the other callers are nobody to any route that is not open to all. */
  readonly expected: Readonly<Record<Known, Outcome>>
  /** What an API key gets, when it is not what its owner gets. */
  readonly key?: Outcome
  readonly open?: true
}
/** The status, and the code when it is an error. */
type Outcome = number | string

const json = { 'content-type': 'application/json' }
const definition = () => ({ imageName: 'scripted', imageVersion: '1', replicaCount: 0, requiredRoles: ['mcp.reader'] })
const unseen = { stranger: '404 not_found' }
const seen = { ...unseen, reader: 200, owner: 200, admin: 200 }
const owned = { ...unseen, reader: '403 forbidden', owner: 200, admin: 200 }
const everybody = { stranger: 200, reader: 200, owner: 200, admin: 200 }

/** An adapter of the owner's for a route that changes it. */
async function fresh(): Promise<string> {
  const name = `a${randomUUID().slice(0, 8)}`
  const body = JSON.stringify({ name, ...definition() })
  const { status } = await gateway.send('/adapters', { headers: { ...gateway.credentials, ...json }, body })
  expect(status).toBe(201)
  return name
}

async function freshTool(): Promise<string> {
  const name = `t${randomUUID().slice(0, 8)}`
  const body = JSON.stringify({ ...toolOf(name), requiredRoles: ['mcp.reader'] })
  const { status } = await gateway.send('/tools', { headers: { ...gateway.credentials, ...json }, body })
  expect(status).toBe(201)
  return name
}

async function newKey(): Promise<{ id: string; key: string }> {
  const body = JSON.stringify({ name: 'robot', roles: ['mcp.engineer'] })
  const { status, body: told } = await gateway.send('/api-keys', { headers: { ...gateway.credentials, ...json }, body })
  expect(status).toBe(201)
  return JSON.parse(told.toString()) as { id: string; key: string }
}

const toolOf = (name: string) => ({ name, endpoint: 'http://127.0.0.1:9/score', toolDefinition: { tool: { name } } })

const kinds = [
  { kind: 'adapters', make: fresh, body: (name: string) => ({ name, ...definition() }) },
  { kind: 'tools', make: freshTool, body: (name: string) => ({ ...toolOf(name), requiredRoles: ['mcp.reader'] }) },
]

const routes: readonly Route[] = [
  ...kinds.flatMap(({ kind, make, body }): Route[] => {
    const newName = () => `n${randomUUID().slice(0, 8)}`
    return [
      { name: `GET /${kind}`, expected: everybody, send: (headers) => gateway.send(`/${kind}`, { method: 'GET', headers }) },
      {
        name: `POST /${kind}`,
        expected: { stranger: '403 forbidden', reader: '403 forbidden', owner: 201, admin: 201 },
        send: (headers) => gateway.send(`/${kind}`, { headers: { ...headers, ...json }, body: JSON.stringify(body(newName())) }),
      },
      {
        name: `GET /${kind}/{name}`,
        expected: seen,
        send: async (headers) => gateway.send(`/${kind}/${await make()}`, { method: 'GET', headers }),
      },
      {
        name: `GET /${kind}/{name}/status`,
        expected: seen,
        send: async (headers) => gateway.send(`/${kind}/${await make()}/status`, { method: 'GET', headers }),
      },
      {
        name: `GET /${kind}/{name}/logs`,
        // Nothing runs.
        expected: { ...unseen, reader: '403 forbidden', owner: '404 not_found', admin: '404 not_found' },
        send: async (headers) => gateway.send(`/${kind}/${await make()}/logs`, { method: 'GET', headers }),
      },
      {
        name: `PUT /${kind}/{name}`,
        expected: owned,
        send: async (headers) => {
          const name = await make()
          const changed = { ...body(name), description: 'changed' }
          return gateway.send(`/${kind}/${name}`, { method: 'PUT', headers: { ...headers, ...json }, body: JSON.stringify(changed) })
        },
      },
      {
        name: `PATCH /${kind}/{name}`,
        expected: owned,
        send: async (headers) =>
          gateway.send(`/${kind}/${await make()}`, {
            method: 'PATCH',
            headers: { ...headers, 'content-type': 'application/merge-patch+json' },
            body: '{"description":"changed"}',
          }),
      },
      {
        name: `PUT /${kind}/{name}/owner`,
        expected: owned,
        send: async (headers) =>
          gateway.send(`/${kind}/${await make()}/owner`, { method: 'PUT', headers: { ...headers, ...json }, body: '{"id":"heir"}' }),
      },
      {
        name: `DELETE /${kind}/{name}`,
        expected: { ...owned, owner: 204, admin: 204 },
        send: async (headers) => gateway.send(`/${kind}/${await make()}`, { method: 'DELETE', headers }),
      },
      {
        name: `GET /${kind}/{name} of what is not there`,
        expected: { stranger: '404 not_found', reader: '404 not_found', owner: '404 not_found', admin: '404 not_found' },
        send: (headers) => gateway.send(`/${kind}/nothing-there`, { method: 'GET', headers }),
      },
    ]
  }),
  { name: 'GET /api-keys', expected: everybody, send: (headers) => gateway.send('/api-keys', { method: 'GET', headers }) },
  {
    name: 'POST /api-keys',
    expected: { stranger: 201, reader: 201, owner: 201, admin: 201 },
    key: '403 forbidden',
    send: (headers) => gateway.send('/api-keys', { headers: { ...headers, ...json }, body: '{"name":"robot"}' }),
  },
  {
    name: 'GET /api-keys/{id}',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: 200, admin: 200 },
    send: (headers) => gateway.send(`/api-keys/${ownersKey.id}`, { method: 'GET', headers }),
  },
  {
    name: 'DELETE /api-keys/{id}',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: 204, admin: 204 },
    key: '403 forbidden',
    send: async (headers) => gateway.send(`/api-keys/${(await newKey()).id}`, { method: 'DELETE', headers }),
  },
  ...(['POST', 'GET', 'DELETE'] as const).map((method): Route => ({
    name: `${method} /adapters/{name}/mcp`,
    expected: seen,
    send: (headers) => gateway.mcp(shared, 'do=status&status=200', { method, headers, ...(method === 'POST' ? { body: '{}' } : {}) }),
  })),
  {
    name: 'PUT /adapters/{name}/mcp',
    expected: { ...unseen, reader: '405 method_not_allowed', owner: '405 method_not_allowed', admin: '405 method_not_allowed' },
    send: (headers) => gateway.mcp(shared, 'do=echo', { method: 'PUT', headers }),
  },
  {
    name: 'POST /adapters/{name}/mcp of what is not there',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: '404 not_found', admin: '404 not_found' },
    send: (headers) => gateway.mcp('nothing-there', 'do=echo', { headers, body: '{}' }),
  },
  {
    name: 'POST /mcp',
    expected: everybody,
    send: (headers) => {
      const { headers: modern, body } = modernRequest('tools/list', {})
      return gateway.send('/mcp', { headers: { ...headers, ...modern }, body })
    },
  },
  {
    name: 'GET /mcp without a session',
    expected: {
      stranger: '405 method_not_allowed',
      reader: '405 method_not_allowed',
      owner: '405 method_not_allowed',
      admin: '405 method_not_allowed',
    },
    send: (headers) => gateway.send('/mcp', { method: 'GET', headers }),
  },
  ...['/ping', '/healthz', '/readyz', '/openapi.json', '/docs', '/.well-known/jwks.json', '/.well-known/oauth-protected-resource/mcp'].map(
    (path): Route => ({
      name: `GET ${path}`,
      open: true,
      expected: everybody,
      send: (headers) => gateway.send(path, { method: 'GET', headers }),
    }),
  ),
]

beforeAll(async () => {
  provider = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  other = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  gateway = await TestGateway.open({
    tools: { endpointNetworks: ['127.0.0.0/8'] },
    apiKeys: { maxPerPrincipal: 1000 },
    edge: { trustedProxies: ['127.0.0.0/8'] },
    identity: {
      mode: 'oidc',
      issuers: [{ preset: 'keycloak', issuer: provider.issuer, audiences: [audience], requiredScopes: ['access'] }],
    },
  })
  gateway.credentials = { authorization: `Bearer ${await provider.token('owner')}` }
  shared = await gateway.register({ requiredRoles: ['mcp.reader'] })
  ownersKey = await newKey()
  const revoked = await newKey()
  revokedKey = revoked.key
  await gateway.send(`/api-keys/${revoked.id}`, { method: 'DELETE', headers: gateway.credentials })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
})

function expectedOf({ expected, open, key }: Route, caller: Caller): Outcome {
  if (caller === 'stranger' || caller === 'reader' || caller === 'owner' || caller === 'admin') return expected[caller]
  if (caller === 'an API key of the owner') return key ?? expected.owner
  if (open === true) return 200
  return caller === 'a token without the scope' ? '403 insufficient_scope' : '401 unauthenticated'
}

describe.each(Object.keys(callers) as Caller[])('%s', (caller) => {
  // Bad credentials are limited by address.
  const from = { 'x-forwarded-for': `198.51.100.${Object.keys(callers).indexOf(caller)}` }
  test.each(routes)('at $name gets what the table says', async (route) => {
    const token = await callers[caller]()
    const { status, headers, body } = await route.send(token === undefined ? from : { ...from, authorization: `Bearer ${token}` })
    const expected = expectedOf(route, caller)
    if (typeof expected === 'number') return expect(status).toBe(expected)
    // REST and MCP have errors of their own forms.
    const told = JSON.parse(body.toString()) as { code?: string; error?: { data?: { code: string } } }
    expect(`${status} ${told.code ?? told.error?.data?.code}`).toBe(expected)
    expect(headers['www-authenticate'] !== undefined).toBe(status === 401 || expected.endsWith('insufficient_scope'))
    expect(body.toString()).not.toContain(token ?? 'Bearer')
  })
})

test('nothing of a credential is in the log', () => {
  expect(gateway.log.length).toBeGreaterThan(100)
  expect(gateway.log.filter((line) => JSON.stringify(line).includes('eyJ') || JSON.stringify(line).includes(ownersKey.key))).toEqual([])
})
