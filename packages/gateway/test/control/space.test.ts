import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sampleResource } from '../contracts/samples.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

/** A key takes some kilobytes of these roles. */
const keyRoles = Array.from({ length: 10 }, (_, index) => `role${index}`.padEnd(250, 'x'))

/** An adapter keeps the roles of its owner, so only callers on other paths have the long roles. */
function rolesOf(id: string, path: string): string {
  if (id === 'root') return 'mcp.admin'
  return path.startsWith('/adapters') ? 'engineer' : keyRoles.join(',')
}

interface Answer {
  readonly status: number
  readonly code: unknown
  readonly detail: unknown
}

describe('bytes that are stored', () => {
  let gateway: TestGateway
  beforeAll(async () => {
    gateway = await TestGateway.open({
      access: { quotas: { bytes: 20_000, totalBytes: 30_000 } },
      secrets: { maxBytesPerPrincipal: 5000, maxTotalBytes: 8000 },
      apiKeys: { maxBytesPerPrincipal: 5000, maxTotalBytes: 8000 },
    })
  })
  afterAll(() => gateway[Symbol.asyncDispose]())

  const as = async (id: string, method: string, path: string, body?: object): Promise<Answer> => {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const answer = await gateway.send(path, {
      method,
      headers: {
        'x-dev-userid': id,
        'x-dev-roles': rolesOf(id, path),
        ...(body === undefined ? {} : { 'content-type': type }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = answer.body.toString()
    const { code, detail } = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
    return { status: answer.status, code, detail }
  }
  let names = 0
  const adapter = (length: number): { readonly name: string } & Record<string, unknown> => ({
    name: `space-${(names += 1)}`,
    imageName: 'scripted',
    imageVersion: '1',
    replicaCount: 0,
    environmentVariables: { TEXT: 'x'.repeat(length) },
  })

  test('bytes of adapters are bounded for each owner and for all together', async () => {
    const first = adapter(9000)
    expect((await as('ann', 'POST', '/adapters', first)).status).toBe(201)
    expect((await as('ann', 'POST', '/adapters', adapter(9000))).status).toBe(201)
    expect(await as('ann', 'POST', '/adapters', adapter(9000))).toEqual({
      status: 403,
      code: 'quota_exceeded',
      detail: expect.stringContaining('20000 bytes (access.quotas.bytes)'),
    })
    const path = `/adapters/${first.name}`
    const grown = { environmentVariables: { TEXT: 'x'.repeat(12_000) } }
    expect(await as('ann', 'PATCH', path, grown)).toMatchObject({ code: 'quota_exceeded' })
    const shrunk = { environmentVariables: { TEXT: 'x'.repeat(8000) } }
    expect((await as('ann', 'PATCH', path, shrunk)).status).toBe(200)

    const third = adapter(9000)
    expect((await as('bob', 'POST', '/adapters', third)).status).toBe(201)
    expect(await as('cyd', 'POST', '/adapters', adapter(5000))).toEqual({
      status: 507,
      code: 'storage_full',
      detail: expect.stringContaining('30000 bytes (access.quotas.totalBytes)'),
    })
    expect((await as('bob', 'DELETE', `/adapters/${third.name}`)).status).toBe(204)
    expect((await as('cyd', 'POST', '/adapters', adapter(5000))).status).toBe(201)
    // Administrators may exceed the limit.
    expect((await as('root', 'POST', '/adapters', adapter(9000))).status).toBe(201)
  })

  test.each([
    ['/secrets', 'secrets', (name: string) => ({ name, value: 'v'.repeat(2500) })],
    ['/api-keys', 'apiKeys', (name: string) => ({ name, roles: keyRoles })],
  ])(
    'bytes of %s are bounded for each principal and for all together',
    async (path, setting, body) => {
      const make = (id: string): Promise<Answer> =>
        as(id, 'POST', path, body(`s${(names += 1)}`.padEnd(10, '0')))
      expect((await make('dan')).status).toBe(201)
      expect(await make('dan')).toMatchObject({
        code: 'quota_exceeded',
        detail: expect.stringContaining(`${setting}.maxBytesPerPrincipal`),
      })
      expect((await make('eve')).status).toBe(201)
      expect(await make('fay')).toMatchObject({
        status: 507,
        detail: expect.stringContaining(`${setting}.maxTotalBytes`),
      })
    },
  )
})

test('bytes of an accepted offer count for its new owner', async () => {
  await using gateway = await TestGateway.open({ access: { quotas: { bytes: 20_000 } } })
  const as = async (id: string, method: string, path: string, body?: object): Promise<Exchange> =>
    gateway.send(path, {
      method,
      headers: { 'x-dev-userid': id, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const make = async (id: string, name: string, length: number): Promise<void> => {
    const environmentVariables = { TEXT: 'x'.repeat(length) }
    const image = { imageName: 'scripted', imageVersion: '1', replicaCount: 0 }
    const made = await as(id, 'POST', '/adapters', { name, ...image, environmentVariables })
    expect(made.status).toBe(201)
  }
  await make('ann', 'given', 4000)
  await make('bob', 'own', 18_000)
  expect((await as('ann', 'PUT', '/adapters/given/offer', { id: 'bob' })).status).toBe(200)

  const take = (): Promise<Exchange> => as('bob', 'PUT', '/adapters/given/owner', { id: 'bob' })

  const refused = await take()
  expect([refused.status, refused.body.toString()]).toEqual([
    403,
    expect.stringContaining('access.quotas.bytes'),
  ])

  const left = await gateway.send('/adapters/own', {
    method: 'DELETE',
    headers: { 'x-dev-userid': 'bob' },
  })
  expect(left.status).toBe(204)
  expect((await take()).status).toBe(200)
})

/** Makes adapters of the development caller. Their list takes more than one page. */
async function makeLarge(gateway: TestGateway): Promise<string[]> {
  const headers = { 'content-type': 'application/json' }
  const made: string[] = []
  for (let index = 0; index < 24; index += 1) {
    const name = `large-${String(index).padStart(2, '0')}`
    const environmentVariables = Object.fromEntries(
      Array.from({ length: 7 }, (_, each) => [`V${each}`, 'x'.repeat(110_000)]),
    )
    const body = { name, imageName: 'scripted', imageVersion: '1', replicaCount: 0 }
    const text = JSON.stringify({ ...body, environmentVariables })
    expect((await gateway.send('/adapters', { headers, body: text })).status).toBe(201)
    made.push(name)
  }
  return made
}

test('lists that their client does not read take a share of memory, and return it', async () => {
  await using gateway = await TestGateway.open({ limits: { heldBytes: 64 * 1024 * 1024 } })
  await makeLarge(gateway)
  const unread = await gateway.start('/adapters', { method: 'GET' })

  const list = (caller: object = {}) => gateway.send('/adapters', { method: 'GET', ...caller })
  const refused = await list()
  expect(refused.status).toBe(429)
  expect(JSON.parse(refused.body.toString())).toMatchObject({ code: 'share_used_up' })
  const other = { headers: { 'x-dev-userid': 'bob', 'x-dev-roles': 'mcp.admin' } }
  expect((await list(other)).status).toBe(200)

  unread.destroy()
  await expect.poll(async () => (await list()).status, { timeout: 10_000 }).toBe(200)
})

test('a list of large records ends with a page, and the next one continues it', async () => {
  await using gateway = await TestGateway.open({})
  const made = await makeLarge(gateway)
  const found: string[] = []
  let pages = 0
  for (let path: string | undefined = '/adapters'; path !== undefined; pages += 1) {
    const page = await gateway.send(path, { method: 'GET' })
    expect(page.body.length).toBeLessThan(18 * 1024 * 1024)
    found.push(...(JSON.parse(page.body.toString()) as { name: string }[]).map(({ name }) => name))
    path = /^<([^>]+)>; rel="next"$/.exec(String(page.headers['link']))?.[1]
  }
  expect(found).toEqual(made)
  expect(pages).toBe(2)
})

test('a gateway with a small heap starts with a larger store, and serves it', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-space-'))
  const store = openSqliteStore({ file: join(dataDir, 'gateway.db') })
  const { spec } = sampleResource('x')
  const text = 'x'.repeat(2_500_000)
  for (let index = 0; index < 60; index += 1) {
    const large = { ...spec, replicaCount: 0, description: text }
    await store.create(sampleResource(`large-${index}`, { spec: large }))
  }
  await store[Symbol.asyncDispose]()
  try {
    await using gateway = await GatewayProcess.start({
      dataDir,
      environment: { NODE_OPTIONS: '--max-old-space-size=96' },
    })
    const { status, body } = await gateway.api('GET', '/adapters?limit=1', undefined, {
      'x-dev-userid': 'alice',
    })
    expect([status, (body as { name: string }[])[0]?.name]).toEqual([200, 'large-0'])
    const strangers = await gateway.api('GET', '/adapters', undefined, { 'x-dev-userid': 'stan' })
    expect([strangers.status, strangers.body]).toEqual([200, []])
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})
