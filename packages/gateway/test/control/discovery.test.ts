import { randomUUID } from 'node:crypto'
import { IdentityProvider } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

const audience = 'mcp-gateway'
type Caller = 'owner' | 'reader' | 'stranger' | 'nobody'
let provider: IdentityProvider
let gateway: TestGateway
/** Adapters: open to everyone, to a role, and to their owner alone. */
let open = ''
let shared = ''
let closed = ''
/** A virtual server for the role, and one with the name of the closed adapter, for everyone. */
const team = `v${randomUUID().slice(0, 8)}`

/** `ServerResponse` of the OpenAPI document of the official registry, as strict as it is there. */
const officialServer = z.object({
  server: z.object({
    name: z
      .string()
      .min(3)
      .max(200)
      .regex(/^[a-zA-Z0-9.-]+\/[a-zA-Z0-9._-]+$/),
    description: z.string().min(1).max(100),
    title: z.string().min(1).max(100).optional(),
    version: z.string().max(255),
    $schema: z.url(),
    remotes: z.array(z.object({ type: z.literal('streamable-http'), url: z.url() })),
  }),
  _meta: z.object({
    'io.modelcontextprotocol.registry/official': z.strictObject({
      status: z.enum(['active', 'deprecated', 'deleted']),
      statusMessage: z.string().max(500).optional(),
      statusChangedAt: z.iso.datetime(),
      publishedAt: z.iso.datetime(),
      updatedAt: z.iso.datetime(),
      isLatest: z.boolean(),
    }),
  }),
})
const officialList = z.object({
  servers: z.array(officialServer),
  metadata: z.object({ nextCursor: z.string().optional(), count: z.int() }),
})

beforeAll(async () => {
  provider = await IdentityProvider.start({
    shape: 'keycloak',
    audience,
    accounts: {
      owner: { roles: ['mcp.engineer'] },
      reader: { roles: ['team'] },
      stranger: { roles: ['other'] },
    },
  })
  gateway = await TestGateway.open({
    identity: {
      mode: 'oidc',
      allowAnonymous: true,
      issuers: [{ preset: 'keycloak', issuer: provider.issuer, audiences: [audience] }],
    },
  })
  gateway.credentials = await bearer('owner')
  open = await gateway.register({ anonymous: true, replicaCount: 0 }, false)
  shared = await gateway.register({ requiredRoles: ['team'], replicaCount: 0 }, false)
  closed = await gateway.register({ replicaCount: 0, description: 'Only mine' }, false)
  await put(team, { title: 'Our team', requiredRoles: ['team'], members: [{ adapter: shared }] })
  await put(closed, { anonymous: true })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

async function bearer(caller: Caller): Promise<Record<string, string>> {
  return caller === 'nobody' ? {} : { authorization: `Bearer ${await provider.token(caller)}` }
}

async function put(name: string, body: object): Promise<void> {
  const { status } = await gateway.send(`/servers/${name}`, {
    method: 'PUT',
    headers: { ...gateway.credentials, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  expect(status).toBe(201)
}

async function get(path: string, caller: Caller, headers = {}): Promise<Exchange> {
  return gateway.send(path, { method: 'GET', headers: { ...(await bearer(caller)), ...headers } })
}

async function read(path: string, caller: Caller): Promise<unknown> {
  const { body, status } = await get(path, caller)
  expect(status, body.toString()).toBe(200)
  return JSON.parse(body.toString())
}

async function listed(query: string, caller: Caller): Promise<readonly string[]> {
  const { servers } = officialList.parse(await read(`/v0.1/servers${query}`, caller))
  return servers.map(({ server }) => server.name.split('/')[1] ?? '')
}

describe('The registry of what a caller may use', () => {
  test.each([
    ['owner', () => [open, shared, closed], () => [team, closed]],
    ['reader', () => [open, shared], () => [team, closed]],
    ['stranger', () => [open], () => [closed]],
    ['nobody', () => [open], () => [closed]],
  ] as const)('shows %s exactly the servers of that caller', async (caller, adapters, servers) => {
    expect(await listed('', caller)).toEqual([
      ...adapters()
        .map((name) => `adapters.${name}`)
        .toSorted(),
      ...servers()
        .map((name) => `servers.${name}`)
        .toSorted(),
    ])
  })

  test('pages by cursor give every server once, in the order of the whole list', async () => {
    const found: string[] = []
    let query = '?limit=2'
    for (let pages = 0; ; pages += 1) {
      expect(pages).toBeLessThan(5)
      const { servers, metadata } = officialList.parse(await read(`/v0.1/servers${query}`, 'owner'))
      expect(metadata.count).toBe(servers.length)
      found.push(...servers.map(({ server }) => server.name.split('/')[1] ?? ''))
      if (metadata.nextCursor === undefined) break
      query = `?limit=2&cursor=${encodeURIComponent(metadata.nextCursor)}`
    }
    expect(found).toEqual(await listed('', 'owner'))
  })

  test('searches names, titles and descriptions, and nothing that the caller cannot see', async () => {
    expect(await listed(`?search=${shared.toUpperCase()}`, 'reader')).toEqual([
      `adapters.${shared}`,
    ])
    expect(await listed('?search=our%20TEAM', 'reader')).toEqual([`servers.${team}`])
    expect(await listed('?search=only%20mine', 'owner')).toEqual([`adapters.${closed}`])
    expect(await listed('?search=only%20mine', 'stranger')).toEqual([])
  })

  test('filters by time and by version as the official registry does', async () => {
    const all = await listed('', 'owner')
    expect(await listed('?version=latest&include_deleted=true', 'owner')).toEqual(all)
    expect(await listed('?version=1.0.1', 'owner')).toEqual(all)
    expect(await listed('?version=9.9.9', 'owner')).toEqual([])
    expect(await listed('?updated_since=2025-08-07T13:15:04.280%2B02:00', 'owner')).toEqual(all)
    expect(await listed('?updated_since=2999-01-01T00:00:00Z', 'owner')).toEqual([])
  })

  test.each([
    '?limit=0',
    '?limit=101',
    '?limit=many',
    '?updated_since=yesterday',
    '?cursor=%00',
    '?cursor=e30',
    '?limit=1&limit=2',
    `?search=${'x'.repeat(300)}`,
  ])('refuses the query %s with its place', async (query) => {
    const { body, status } = await get(`/v0.1/servers${query}`, 'owner')
    expect(status).toBe(400)
    expect(JSON.parse(body.toString())).toMatchObject({
      code: 'validation_failed',
      errors: [{ pointer: expect.stringMatching(/^query:/) }],
    })
  })

  test.each(['latest', '1.0.1'])('gives the version %s by the encoded name', async (version) => {
    const { servers } = officialList.parse(await read('/v0.1/servers', 'reader'))
    for (const { server } of servers) {
      const path = `/v0.1/servers/${encodeURIComponent(server.name)}/versions`
      const one = officialServer.parse(await read(`${path}/${version}`, 'reader'))
      expect(one.server).toEqual(server)
      expect(await read(path, 'reader')).toMatchObject({ servers: [one], metadata: { count: 1 } })
    }
  })

  test.each([
    [
      'a version that there is not',
      () => `/v0.1/servers/127.0.0.1%2Fadapters.${shared}/versions/7`,
    ],
    ['a hidden server', () => `/v0.1/servers/127.0.0.1%2Fadapters.${closed}/versions/latest`],
    ['a missing server', () => '/v0.1/servers/127.0.0.1%2Fadapters.nothing/versions/latest'],
    ['another host', () => `/v0.1/servers/com.example%2Fadapters.${shared}/versions/latest`],
    ['another kind', () => `/v0.1/servers/127.0.0.1%2Ftools.${shared}/versions/latest`],
    ['a prototype key', () => '/v0.1/servers/127.0.0.1%2F__proto__/versions/latest'],
    ['a name with NUL', () => '/v0.1/servers/127.0.0.1%2Fadapters.%00/versions/latest'],
    ['a very long name', () => `/v0.1/servers/${'x'.repeat(5000)}/versions/latest`],
  ])('answers 404 for %s', async (_what, path) => {
    const { body, status } = await get(path(), 'reader')
    expect(status).toBe(404)
    expect(JSON.parse(body.toString()).code).toBe('not_found')
  })

  test('a change of a server is a new version', async () => {
    const name = await gateway.register({ replicaCount: 0 }, false)
    const path = `/v0.1/servers/127.0.0.1%2Fadapters.${name}/versions`
    const changed = await gateway.send(`/adapters/${name}`, {
      method: 'PATCH',
      headers: { ...gateway.credentials, 'content-type': 'application/merge-patch+json' },
      body: JSON.stringify({ description: 'New' }),
    })
    expect(changed.status).toBe(200)
    expect(await read(`${path}/latest`, 'owner')).toMatchObject({
      server: { version: '1.0.2', description: 'New' },
    })
    expect((await get(`${path}/1.0.1`, 'owner')).status).toBe(404)
    await gateway.send(`/adapters/${name}`, { method: 'DELETE', headers: gateway.credentials })
    expect((await get(`${path}/latest`, 'owner')).status).toBe(404)
  })
})

describe('A Server Card', () => {
  test('stands beside the endpoint and beside the resource, for those who may use it', async () => {
    for (const [path, caller] of [
      [`/servers/${team}`, 'reader'],
      [`/adapters/${shared}`, 'reader'],
      [`/adapters/${open}`, 'nobody'],
      [`/servers/${closed}`, 'nobody'],
    ] as const) {
      const card = await read(`${path}/server-card`, caller)
      expect(card).toMatchObject({
        $schema: 'https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json',
        remotes: [{ type: 'streamable-http', url: `${gateway.origin}${path}/mcp` }],
      })
      const beside = await get(`${path}/mcp/server-card`, caller)
      expect(JSON.parse(beside.body.toString())).toEqual(card)
      expect(beside.headers['content-type']).toBe('application/mcp-server-card+json')
    }
  })

  test.each([
    ['stranger', '404 not_found'],
    ['nobody', '401 unauthenticated'],
  ] as const)(
    'the card of a hidden server looks to %s like that of a missing server',
    async (caller, told) => {
      for (const name of [
        `adapters/${closed}`,
        'adapters/nothing',
        `servers/${team}`,
        'servers/no',
      ]) {
        const { body, headers, status } = await get(`/${name}/server-card`, caller)
        expect(`${status} ${JSON.parse(body.toString()).code}`).toBe(told)
        expect(headers['www-authenticate'] !== undefined).toBe(status === 401)
      }
    },
  )
})

describe('A catalog of Server Cards', () => {
  test.each([
    ['/.well-known/mcp/catalog.json', 'application/json'],
    ['/.well-known/ai-catalog.json', 'application/ai-catalog+json'],
  ])('%s leads each caller to the cards that this caller may read', async (path, type) => {
    for (const [caller, count] of [
      ['owner', 5],
      ['reader', 4],
      ['nobody', 2],
    ] as const) {
      const { entries } = (await read(path, caller)) as { entries: { url: string; type: string }[] }
      expect(entries).toHaveLength(count)
      for (const entry of entries) {
        const card = await read(entry.url.slice(gateway.origin.length), caller)
        expect(card).toHaveProperty('remotes')
        expect(entry.type).toBe('application/mcp-server-card+json')
      }
    }
    expect((await get(path, 'nobody')).headers['content-type']).toContain(type)
  })
})

describe('Answers about servers', () => {
  const paths = ['/v0.1/servers', '/.well-known/mcp/catalog.json']

  test.each(paths)('caches may share %s only where everybody gets it', async (path) => {
    const [known, unknown] = [await get(path, 'reader'), await get(path, 'nobody')]
    expect(known.headers['cache-control']).toBe('private, max-age=60')
    expect(unknown.headers['cache-control']).toBe('public, max-age=60')
    for (const { headers } of [known, unknown])
      expect(headers['vary']).toContain('Authorization, X-API-Key')
  })

  test.each(paths)('a client that has %s does not get it again', async (path) => {
    const { headers } = await get(path, 'reader')
    const again = await get(path, 'reader', { 'if-none-match': headers['etag'] })
    expect(again.status).toBe(304)
    expect(again.body).toHaveLength(0)
    const other = await get(path, 'nobody', { 'if-none-match': headers['etag'] })
    expect(other.status).toBe(200)
  })
})
