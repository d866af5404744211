import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openApiDocument } from '@mcp-gateway/contract'
import { IdentityProvider } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { App } from '../../src/compose/composition.ts'
import { ConfigSchema } from '../../src/config/config.ts'
import type { Principal } from '../../src/core/principal.ts'
import { Hop } from '../../src/ingress/peer-hop.ts'
import { openToolGateway } from '../../src/tool-gateway.ts'
import { signedByAnother, signedWithPublicKey, unsigned } from '../fixtures/forged-tokens.ts'
import { TestGateway } from '../fixtures/gateway.ts'
import { modernRequest } from '../fixtures/mcp-requests.ts'

/**
 * Every route × every kind of caller, from two tables: one for gateways that ask for a caller, one
 * for gateways that do not.
 */

const audience = 'mcp-gateway'
const accounts = {
  owner: { roles: ['mcp.engineer'] },
  keeper: { roles: ['mcp.keeper'] },
  reader: { roles: ['mcp.reader'] },
  stranger: { roles: ['other'] },
  admin: { roles: ['mcp.admin'] },
}
let provider: IdentityProvider
let other: IdentityProvider
let gateway: TestGateway
let shared = ''
/** An adapter that is open to the anonymous caller. */
let opened = ''
let ownersKey = { id: '', key: '' }
let revokedKey = ''

/** The credentials of callers; undefined for none. */
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
  'a holder of a role of its owners': () => provider.token('keeper'),
  admin: () => provider.token('admin'),
  'an API key of the owner': async () => ownersKey.key,
  'a revoked API key': async () => revokedKey,
} as const
type Caller = keyof typeof callers
type Known = 'stranger' | 'reader' | 'owner' | 'admin'

interface Route {
  readonly name: string
  readonly send: (
    headers: Record<string, string>,
  ) => Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>
  /**
   * The outcome for each kind of person, or one for everybody where the gateway asks for no caller.
   * A route that asks treats all other callers as nobody.
   */
  readonly expected: Readonly<Record<Known, Outcome>> | Outcome
  /** The outcome for a holder of one of `ownerRoles`, if it differs from the owner's. */
  readonly keeper?: Outcome
  /** The outcome for an API key, if it differs from its owner's. */
  readonly key?: Outcome
  /** The outcome for the anonymous caller, if it may use the resource of the route. */
  readonly anonymous?: Outcome
}
/** The status, and the code when it is an error. */
type Outcome = number | string

const json = { 'content-type': 'application/json' }
const roles = { requiredRoles: ['mcp.reader'], ownerRoles: ['mcp.keeper'] }
const definition = () => ({ imageName: 'scripted', imageVersion: '1', replicaCount: 0, ...roles })
const unseen = { stranger: '404 not_found' }
const seen = { ...unseen, reader: 200, owner: 200, admin: 200 }
const owned = { ...unseen, reader: '403 forbidden', owner: 200, admin: 200 }
const everybody = { stranger: 200, reader: 200, owner: 200, admin: 200 }

/** Makes an adapter of the owner for a route that changes it. */
async function fresh(): Promise<string> {
  const name = `a${randomUUID().slice(0, 8)}`
  const body = JSON.stringify({ name, ...definition() })
  const { status } = await gateway.send('/adapters', {
    headers: { ...gateway.credentials, ...json },
    body,
  })
  expect(status).toBe(201)
  return name
}

async function freshTool(): Promise<string> {
  const name = `t${randomUUID().slice(0, 8)}`
  const body = JSON.stringify({ ...toolOf(name), ...roles })
  const { status } = await gateway.send('/tools', {
    headers: { ...gateway.credentials, ...json },
    body,
  })
  expect(status).toBe(201)
  return name
}

async function freshSecret(): Promise<string> {
  const name = `s${randomUUID().slice(0, 8)}`
  const { status } = await gateway.send('/secrets', {
    headers: { ...gateway.credentials, ...json },
    body: secretOf(name),
  })
  expect(status).toBe(201)
  return name
}

const secretOf = (name: string) => JSON.stringify({ name, value: 'hidden', ...roles })

async function newKey(): Promise<{ id: string; key: string }> {
  const body = JSON.stringify({ name: 'robot', roles: ['mcp.engineer'] })
  const { status, body: told } = await gateway.send('/api-keys', {
    headers: { ...gateway.credentials, ...json },
    body,
  })
  expect(status).toBe(201)
  return JSON.parse(told.toString()) as { id: string; key: string }
}

const toolOf = (name: string) => ({
  name,
  endpoint: 'http://127.0.0.1:9/score',
  toolDefinition: { tool: { name } },
})

const kinds = [
  {
    kind: 'adapters',
    make: fresh,
    body: (name: string) => ({ name, ...definition() }),
    restarted: { owner: 202, admin: 202 },
    // No replica runs, so there is no log.
    logged: { owner: '404 not_found', admin: '404 not_found' },
  },
  {
    kind: 'tools',
    make: freshTool,
    body: (name: string) => ({ ...toolOf(name), ...roles }),
    // The tool runs elsewhere.
    restarted: { owner: '409 runs_elsewhere', admin: '409 runs_elsewhere' },
    logged: { owner: '409 runs_elsewhere', admin: '409 runs_elsewhere' },
  },
]

type Kind = (typeof kinds)[number]

/** Routes that list, create and read. */
function readingRoutes({ kind, make, body, logged }: Kind): Route[] {
  const newName = () => `n${randomUUID().slice(0, 8)}`
  return [
    {
      name: `GET /${kind}`,
      expected: everybody,
      send: (headers) => gateway.send(`/${kind}`, { method: 'GET', headers }),
    },
    {
      name: `POST /${kind}`,
      expected: { stranger: '403 forbidden', reader: '403 forbidden', owner: 201, admin: 201 },
      keeper: '403 forbidden',
      send: (headers) =>
        gateway.send(`/${kind}`, {
          headers: { ...headers, ...json },
          body: JSON.stringify(body(newName())),
        }),
    },
    {
      name: `GET /${kind}/{name}`,
      expected: seen,
      send: async (headers) => gateway.send(`/${kind}/${await make()}`, { method: 'GET', headers }),
    },
    {
      name: `GET /${kind}/{name}/status`,
      expected: seen,
      send: async (headers) =>
        gateway.send(`/${kind}/${await make()}/status`, { method: 'GET', headers }),
    },
    {
      name: `GET /${kind}/{name}/logs`,
      expected: { ...owned, ...logged },
      send: async (headers) =>
        gateway.send(`/${kind}/${await make()}/logs`, { method: 'GET', headers }),
    },
  ]
}

/** Routes that change the resource itself. */
function changingRoutes({ kind, make, body }: Kind): Route[] {
  return [
    {
      name: `PUT /${kind}/{name}`,
      expected: owned,
      send: async (headers) => {
        const name = await make()
        const changed = { ...body(name), description: 'changed' }
        return gateway.send(`/${kind}/${name}`, {
          method: 'PUT',
          headers: { ...headers, ...json },
          body: JSON.stringify(changed),
        })
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
  ]
}

/** Routes that change the owner. */
function owningRoutes({ kind, make }: Kind): Route[] {
  return [
    {
      name: `PUT /${kind}/{name}/owner`,
      expected: { ...owned, owner: '403 forbidden' },
      send: async (headers) =>
        gateway.send(`/${kind}/${await make()}/owner`, {
          method: 'PUT',
          headers: { ...headers, ...json },
          body: '{"id":"heir"}',
        }),
    },
    {
      name: `PUT /${kind}/{name}/offer`,
      expected: owned,
      keeper: '403 forbidden',
      send: async (headers) =>
        gateway.send(`/${kind}/${await make()}/offer`, {
          method: 'PUT',
          headers: { ...headers, ...json },
          body: '{"id":"heir"}',
        }),
    },
    {
      name: `DELETE /${kind}/{name}/offer`,
      expected: { ...owned, owner: 204, admin: 204 },
      keeper: '403 forbidden',
      send: async (headers) => {
        const offer = `/${kind}/${await make()}/offer`
        const { status } = await gateway.send(offer, {
          method: 'PUT',
          headers: { ...gateway.credentials, ...json },
          body: '{"id":"heir"}',
        })
        expect(status).toBe(200)
        return gateway.send(offer, { method: 'DELETE', headers })
      },
    },
  ]
}

/** Routes that restart and delete, and one for a missing resource. */
function endingRoutes({ kind, make, restarted }: Kind): Route[] {
  return [
    {
      name: `POST /${kind}/{name}/restart`,
      expected: { ...owned, ...restarted },
      send: async (headers) => gateway.send(`/${kind}/${await make()}/restart`, { headers }),
    },
    {
      name: `DELETE /${kind}/{name}`,
      expected: { ...owned, owner: 204, admin: 204 },
      send: async (headers) =>
        gateway.send(`/${kind}/${await make()}`, { method: 'DELETE', headers }),
    },
    {
      name: `GET /${kind}/{name} of what is not there`,
      expected: {
        stranger: '404 not_found',
        reader: '404 not_found',
        owner: '404 not_found',
        admin: '404 not_found',
      },
      send: (headers) => gateway.send(`/${kind}/nothing-there`, { method: 'GET', headers }),
    },
  ]
}

/** Makes a virtual server of the owner. */
async function freshServer(): Promise<string> {
  const name = `v${randomUUID().slice(0, 8)}`
  const { status } = await gateway.send('/servers', {
    headers: { ...gateway.credentials, ...json },
    body: JSON.stringify({ name, ...roles }),
  })
  expect(status).toBe(201)
  return name
}

function serverRoute(
  verb: string,
  rest: string,
  expected: Readonly<Record<Known, Outcome>>,
  body?: object,
): Route {
  const type = verb === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  return {
    name: `${verb} /servers/{name}${rest}`,
    expected,
    send: async (headers) =>
      gateway.send(`/servers/${await freshServer()}${rest}`, {
        method: verb,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-type': type }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
  }
}

const serverRoutes: readonly Route[] = [
  {
    name: 'POST /import',
    expected: { stranger: '403 forbidden', reader: '403 forbidden', owner: 200, admin: 200 },
    keeper: '403 forbidden',
    send: (headers) =>
      gateway.send('/import', {
        headers: { ...headers, ...json },
        body: JSON.stringify({ file: { mcpServers: {} } }),
      }),
  },
  {
    name: 'POST /tools/import',
    expected: { stranger: '403 forbidden', reader: '403 forbidden', owner: 200, admin: 200 },
    keeper: '403 forbidden',
    send: (headers) =>
      gateway.send('/tools/import', {
        headers: { ...headers, ...json },
        body: JSON.stringify({ document: { openapi: '3.1.0', paths: {} } }),
      }),
  },
  {
    name: 'GET /servers',
    expected: everybody,
    send: (headers) => gateway.send('/servers', { method: 'GET', headers }),
  },
  {
    name: 'POST /servers',
    expected: { stranger: 201, reader: 201, owner: 201, admin: 201 },
    send: (headers) =>
      gateway.send('/servers', {
        headers: { ...headers, ...json },
        body: JSON.stringify({ name: `n${randomUUID().slice(0, 8)}` }),
      }),
  },
  serverRoute('GET', '', seen),
  serverRoute('GET', '/status', seen),
  serverRoute('PUT', '', owned, roles),
  serverRoute('PATCH', '', owned, { title: 'Changed' }),
  serverRoute('DELETE', '', { ...owned, owner: 204, admin: 204 }),
  serverRoute('GET', '/server-card', seen),
  serverRoute('GET', '/mcp/server-card', seen),
]

const routes: readonly Route[] = [
  ...serverRoutes,
  ...kinds.flatMap((kind) => [
    ...readingRoutes(kind),
    ...changingRoutes(kind),
    ...owningRoutes(kind),
    ...endingRoutes(kind),
  ]),
  {
    name: 'GET /status',
    send: (headers) => gateway.send('/status', { method: 'GET', headers }),
    expected: everybody,
  },
  {
    name: 'GET /api-keys',
    expected: everybody,
    send: (headers) => gateway.send('/api-keys', { method: 'GET', headers }),
  },
  {
    name: 'POST /api-keys',
    expected: { stranger: 201, reader: 201, owner: 201, admin: 201 },
    key: '403 forbidden',
    send: (headers) =>
      gateway.send('/api-keys', { headers: { ...headers, ...json }, body: '{"name":"robot"}' }),
  },
  {
    name: 'GET /api-keys/{id}',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: 200, admin: 200 },
    keeper: '404 not_found',
    send: (headers) => gateway.send(`/api-keys/${ownersKey.id}`, { method: 'GET', headers }),
  },
  {
    name: 'DELETE /api-keys/{id}',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: 204, admin: 204 },
    keeper: '404 not_found',
    key: '403 forbidden',
    send: async (headers) =>
      gateway.send(`/api-keys/${(await newKey()).id}`, { method: 'DELETE', headers }),
  },
  {
    name: 'PATCH /api-keys/{id}',
    expected: { stranger: '404 not_found', reader: '404 not_found', owner: 200, admin: 200 },
    keeper: '404 not_found',
    key: '403 forbidden',
    send: (headers) =>
      gateway.send(`/api-keys/${ownersKey.id}`, {
        method: 'PATCH',
        headers: { ...headers, 'content-type': 'application/merge-patch+json' },
        body: '{"name":"renamed"}',
      }),
  },
  {
    name: 'PUT /api-keys/{id}',
    expected: '405 method_not_allowed',
    send: (headers) =>
      gateway.send(`/api-keys/${ownersKey.id}`, {
        method: 'PUT',
        headers: { ...headers, ...json },
        body: '{}',
      }),
  },
  {
    name: 'GET /secrets',
    expected: everybody,
    send: (headers) => gateway.send('/secrets', { method: 'GET', headers }),
  },
  {
    name: 'POST /secrets',
    expected: { stranger: '403 forbidden', reader: '403 forbidden', owner: 201, admin: 201 },
    keeper: '403 forbidden',
    send: (headers) =>
      gateway.send('/secrets', {
        headers: { ...headers, ...json },
        body: secretOf(`n${randomUUID().slice(0, 8)}`),
      }),
  },
  {
    name: 'GET /secrets/{name}',
    expected: seen,
    send: async (headers) =>
      gateway.send(`/secrets/${await freshSecret()}`, { method: 'GET', headers }),
  },
  {
    name: 'PUT /secrets/{name}',
    expected: owned,
    send: async (headers) => {
      const name = await freshSecret()
      return gateway.send(`/secrets/${name}`, {
        method: 'PUT',
        headers: { ...headers, ...json },
        body: secretOf(name),
      })
    },
  },
  {
    name: 'PATCH /secrets/{name}',
    expected: owned,
    send: async (headers) =>
      gateway.send(`/secrets/${await freshSecret()}`, {
        method: 'PATCH',
        headers: { ...headers, 'content-type': 'application/merge-patch+json' },
        body: '{"value":"changed"}',
      }),
  },
  {
    name: 'DELETE /secrets/{name}',
    expected: { ...owned, owner: 204, admin: 204 },
    send: async (headers) =>
      gateway.send(`/secrets/${await freshSecret()}`, { method: 'DELETE', headers }),
  },
  {
    name: 'GET /secrets/{name} of what is not there',
    expected: {
      stranger: '404 not_found',
      reader: '404 not_found',
      owner: '404 not_found',
      admin: '404 not_found',
    },
    send: (headers) => gateway.send('/secrets/nothing-there', { method: 'GET', headers }),
  },
  ...(['POST', 'GET', 'DELETE'] as const).map((method): Route => ({
    name: `${method} /adapters/{name}/mcp`,
    expected: seen,
    send: (headers) =>
      gateway.mcp(shared, 'do=status&status=200', {
        method,
        headers,
        ...(method === 'POST' ? { body: '{}' } : {}),
      }),
  })),
  {
    name: 'PUT /adapters/{name}/mcp',
    expected: {
      ...unseen,
      reader: '405 method_not_allowed',
      owner: '405 method_not_allowed',
      admin: '405 method_not_allowed',
    },
    send: (headers) => gateway.mcp(shared, 'do=echo', { method: 'PUT', headers }),
  },
  {
    name: 'POST /adapters/{name}/mcp of what is not there',
    expected: {
      stranger: '404 not_found',
      reader: '404 not_found',
      owner: '404 not_found',
      admin: '404 not_found',
    },
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
  ...[
    '/ping',
    '/healthz',
    '/readyz',
    '/openapi.json',
    '/docs',
    '/.well-known/jwks.json',
    '/.well-known/oauth-protected-resource',
    '/.well-known/oauth-protected-resource/mcp',
    '/.well-known/oauth-protected-resource/adapters/nothing-there/mcp',
  ].map((path): Route => ({
    name: `GET ${path}`,
    expected: 200,
    send: (headers) => gateway.send(path, { method: 'GET', headers }),
  })),
  ...['/internal/tools', '/internal/nothing-there', '/.well-known/openid-configuration'].flatMap(
    (path) =>
      ['GET', 'POST'].map((method): Route => ({
        name: `${method} ${path}`,
        expected: '404 not_found',
        send: (headers) => gateway.send(path, { method, headers }),
      })),
  ),
]

/** The places where clients find servers. `anonymous` is the outcome for callers without a name. */
function discoveryRoutes(anonymous: Outcome): Route[] {
  const found = (name: string, path: () => Promise<string>, one: boolean): Route => ({
    name: `GET ${name}`,
    expected: one ? seen : everybody,
    ...(one ? {} : { anonymous }),
    send: async (headers) => gateway.send(await path(), { method: 'GET', headers }),
  })
  const versions = async (): Promise<string> =>
    `/v0.1/servers/127.0.0.1%2Fadapters.${await fresh()}/versions`
  return [
    ...['/.well-known/mcp/catalog.json', '/.well-known/ai-catalog.json', '/v0.1/servers'].map(
      (path) => found(path, async () => path, false),
    ),
    ...['/server-card', '/mcp/server-card'].map((rest) =>
      found(`/adapters/{name}${rest}`, async () => `/adapters/${await fresh()}${rest}`, true),
    ),
    found('/v0.1/servers/{serverName}/versions', versions, true),
    found(
      '/v0.1/servers/{serverName}/versions/{version}',
      async () => `${await versions()}/latest`,
      true,
    ),
  ]
}

/** Routes of a gateway that asks for no caller: an adapter that is open to all. */
const openRoutes: readonly Route[] = [
  ...(['POST', 'GET', 'DELETE'] as const).map((method): Route => ({
    name: `${method} /adapters/{name}/mcp that is open to the anonymous caller`,
    expected: everybody,
    anonymous: 200,
    send: (headers) =>
      gateway.mcp(opened, 'do=status&status=200', {
        method,
        headers,
        ...(method === 'POST' ? { body: '{}' } : {}),
      }),
  })),
  ...['', '/status', '/logs'].map((rest): Route => ({
    name: `GET /adapters/{name}${rest} of one that is open to the anonymous caller`,
    expected: { ...unseen, reader: '404 not_found', owner: 200, admin: 200 },
    keeper: '404 not_found',
    send: (headers) => gateway.send(`/adapters/${opened}${rest}`, { method: 'GET', headers }),
  })),
]

beforeAll(async () => {
  provider = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  other = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
})
afterAll(async () => {
  await provider[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
})

async function open(allowAnonymous: boolean, sessions = {}): Promise<void> {
  gateway = await TestGateway.open({
    sessions,
    tools: { endpointNetworks: ['127.0.0.0/8'] },
    apiKeys: { maxPerPrincipal: 1000 },
    secrets: { maxPerPrincipal: 1000 },
    access: { quotas: { servers: 1000 } },
    edge: { trustedProxies: ['127.0.0.0/8'] },
    identity: {
      mode: 'oidc',
      allowAnonymous,
      issuers: [
        {
          preset: 'keycloak',
          issuer: provider.issuer,
          audiences: [audience],
          requiredScopes: ['access'],
        },
      ],
    },
  })
  gateway.credentials = { authorization: `Bearer ${await provider.token('owner')}` }
  shared = await gateway.register(roles)
  if (allowAnonymous) opened = await gateway.register({ anonymous: true })
  ownersKey = await newKey()
  const revoked = await newKey()
  revokedKey = revoked.key
  await gateway.send(`/api-keys/${revoked.id}`, { method: 'DELETE', headers: gateway.credentials })
}

function expectedOf({ expected, anonymous, keeper, key }: Route, caller: Caller): Outcome {
  if (typeof expected !== 'object') return expected
  if (caller === 'stranger' || caller === 'reader' || caller === 'owner' || caller === 'admin')
    return expected[caller]
  if (caller === 'a holder of a role of its owners') return keeper ?? expected.owner
  if (caller === 'an API key of the owner') return key ?? expected.owner
  if (caller === 'nobody') return anonymous ?? '401 unauthenticated'
  return caller === 'a token without the scope' ? '403 insufficient_scope' : '401 unauthenticated'
}

test('the table has every route of the API', () => {
  const { paths } = openApiDocument('0.0.0') as { paths: Record<string, object> }
  const verbs = ['get', 'put', 'post', 'patch', 'delete']
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    verbs.filter((verb) => verb in operations).map((verb) => `${verb.toUpperCase()} ${path}`),
  )
  expect(described.length).toBeGreaterThan(30)
  const names = new Set([...routes, ...discoveryRoutes(200)].map(({ name }) => name))
  expect(described.filter((route) => !names.has(route))).toEqual([])
})

describe.each([
  {
    where: 'must be somebody',
    allowAnonymous: false,
    at: [...routes, ...discoveryRoutes('401 unauthenticated')],
  },
  {
    where: 'need not be somebody',
    allowAnonymous: true,
    at: [...routes, ...openRoutes, ...discoveryRoutes(200)],
  },
])('the permissions of callers where $where', ({ allowAnonymous, at }) => {
  beforeAll(() => open(allowAnonymous))
  afterAll(() => gateway[Symbol.asyncDispose]())

  describe.each(Object.keys(callers) as Caller[])('%s', (caller) => {
    // The gateway limits bad credentials by address.
    const from = { 'x-forwarded-for': `198.51.100.${Object.keys(callers).indexOf(caller)}` }
    test.each(at)('every caller at $name gets what the table says', async (route) => {
      const token = await callers[caller]()
      const { status, headers, body } = await route.send(
        token === undefined ? from : { ...from, authorization: `Bearer ${token}` },
      )
      const expected = expectedOf(route, caller)
      if (typeof expected === 'number') return expect(status).toBe(expected)
      // REST and MCP have different forms of errors.
      const told = JSON.parse(body.toString()) as {
        code?: string
        error?: { data?: { code: string } }
      }
      expect(`${status} ${told.code ?? told.error?.data?.code}`).toBe(expected)
      expect(headers['www-authenticate'] !== undefined).toBe(
        status === 401 || expected.endsWith('insufficient_scope'),
      )
      expect(body.toString()).not.toContain(token ?? 'Bearer')
    })
  })

  test('the log holds nothing of a credential', () => {
    expect(gateway.log.length).toBeGreaterThan(100)
    expect(
      gateway.log.filter(
        (line) =>
          JSON.stringify(line).includes('eyJ') || JSON.stringify(line).includes(ownersKey.key),
      ),
    ).toEqual([])
  })
})

describe('requests straight at a tool gateway', () => {
  const keys = [randomBytes(32)]
  const sessions = { keys: keys.map((key) => key.toString('base64')) }
  const { headers: modern, body } = modernRequest('tools/list', {})
  const log: string[] = []
  let dataDir = ''
  let tools: App

  beforeAll(async () => {
    await open(false, sessions)
    dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-tools-'))
    const role = {
      role: 'tool-gateway',
      cluster: { name: 'one' },
      tools: { followed: [gateway.origin] },
    }
    tools = await openToolGateway({
      config: ConfigSchema.parse({ port: 0, dataDir, sessions, ...role }),
      log: pino({ level: 'info' }, { write: (line: string) => void log.push(line) }),
      version: '0.0.0',
    })
  })
  afterAll(async () => {
    await tools[Symbol.asyncDispose]()
    await gateway[Symbol.asyncDispose]()
    rmSync(dataDir, { recursive: true, force: true })
  })

  const admin: Principal = { id: 'root', issuer: 'development', name: 'root', roles: ['mcp.admin'] }
  const sent = {
    ...modern,
    accept: 'application/json, text/event-stream',
    'x-request-id': 'the-request',
  }
  const sign = ({
    by = keys,
    to = 'one',
    url = '/mcp',
    method = 'POST',
    over = body,
    at = Date.now(),
    headers = sent,
  } = {}): string => {
    const signed = { to, method, url, headers, principal: admin, body: Buffer.from(over) }
    return new Hop({ keys: by, self: 'x', peers: [], now: () => at }).sign(signed)
  }

  async function send(headers: Record<string, string>): Promise<string> {
    const answer = await fetch(`${tools.origin}/mcp`, {
      method: 'POST',
      headers: { ...sent, ...headers },
      body,
    })
    expect(answer.headers.get('www-authenticate')).toBe(answer.status === 401 ? 'Bearer' : null)
    const told = (await answer.json()) as { result?: object; error?: { data?: { code: string } } }
    return `${answer.status} ${told.error?.data?.code ?? 'tools' in (told.result ?? {})}`
  }

  test.each(Object.keys(callers) as Caller[])(
    'a direct call by %s needs the signature of a gateway',
    async (caller) => {
      const token = await callers[caller]()
      const before = log.length
      expect(await send(token === undefined ? {} : { authorization: `Bearer ${token}` })).toBe(
        '401 unauthenticated',
      )
      await expect
        .poll(() => log.slice(before).filter((line) => line.includes('"msg":"request"')))
        .toHaveLength(1)
      expect(log.slice(before).join('')).not.toContain(token ?? 'eyJ')
    },
  )

  test.each<readonly [string, () => string]>([
    ['of nothing', () => ''],
    ['that is none', () => 'one.b.c.d.e.f'],
    ['by other keys', () => sign({ by: [randomBytes(32)] })],
    ['of a request for something else', () => sign({ url: '/internal/tools' })],
    ['of another method', () => sign({ method: 'GET' })],
    ['of another body', () => sign({ over: '{}' })],
    ['of an hour ago', () => sign({ at: Date.now() - 3600_000 })],
    ['of an hour from now', () => sign({ at: Date.now() + 3600_000 })],
    ['for another process', () => sign({ to: 'two' })],
    [
      'of the session of somebody',
      () => sign({ headers: { ...sent, 'mcp-session-id': 'x' } as typeof sent }),
    ],
    [
      'of somebody else',
      () =>
        sign().replace(
          /^((?:[^.]+\.){3})[^.]+/,
          `$1${Buffer.from('{"id":"me"}').toString('base64url')}`,
        ),
    ],
  ])('nobody gets anything by a signature %s', async (_what, signature) => {
    expect(await send({ 'x-mcpgw-hop': signature() })).toBe('401 unauthenticated')
  })

  test('a gateway gets what its caller may, once', async () => {
    const signature = sign()
    expect(await send({ 'x-mcpgw-hop': signature })).toBe('200 true')
    expect(await send({ 'x-mcpgw-hop': signature })).toBe('401 unauthenticated')
  })

  test.each([
    '/adapters',
    '/tools',
    '/api-keys',
    '/secrets',
    '/adapters/any/mcp',
    '/internal/tools',
    '/.well-known/jwks.json',
  ])('a tool gateway has no %s', async (path) => {
    const answer = await fetch(`${tools.origin}${path}`, {
      headers: { 'x-mcpgw-hop': sign({ to: path, method: 'GET', over: '' }) },
    })
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([
      404,
      'not_found',
    ])
  })
})
