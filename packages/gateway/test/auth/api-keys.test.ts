import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { AdapterResource, ApiKeyCreated, ApiKeyResource, Problem } from '@mcp-gateway/contract'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiKeys } from '../../src/auth/api-keys.ts'
import { newApiKey, type ApiKey } from '../../src/core/api-key.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { sampleApiKey } from '../contracts/samples.ts'
import { readAnswer, TestGateway, valuesOf } from '../fixtures/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  const talkative = {
    command: [process.execPath, '-e', "console.log('ready'); setInterval(() => undefined, 1000)"],
  }
  gateway = await TestGateway.open({
    runtime: { images: { talkative } },
    proxy: { streamRecheckSeconds: 1 },
  })
})
afterAll(() => gateway[Symbol.asyncDispose]())

type Headers = Readonly<Record<string, string>>
const alice: Headers = {
  'x-dev-userid': 'alice',
  'x-dev-name': 'Alice',
  'x-dev-roles': 'reader,writer',
}
const bob: Headers = { 'x-dev-userid': 'bob', 'x-dev-roles': 'reader' }
const admin: Headers = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
const bearer = (key: string): Headers => ({ authorization: `Bearer ${key}` })

async function call<T>(
  method: string,
  path: string,
  headers: Headers,
  body?: unknown,
  to = gateway,
) {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const answer = await to.send(path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': type }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    headers: answer.headers,
    text,
    body: (text === '' ? undefined : JSON.parse(text)) as T,
  }
}

async function make(headers: Headers, body: object = {}, to = gateway): Promise<ApiKeyCreated> {
  const { status, body: made } = await call<ApiKeyCreated>(
    'POST',
    '/api-keys',
    headers,
    { name: 'a program', ...body },
    to,
  )
  expect(status).toBe(201)
  return made
}

const adapter = (name: string): object => ({
  name,
  imageName: 'scripted',
  imageVersion: '1',
  replicaCount: 0,
})
let names = 0
const newName = (): string => `k${(names += 1)}`

describe('an API key', () => {
  test('an API key is shown once, in the answer that makes it', async () => {
    const created = await call<ApiKeyCreated>('POST', '/api-keys', alice, {
      name: 'nightly build',
      roles: ['reader'],
    })
    expect(created).toMatchObject({ status: 201, headers: { 'cache-control': 'no-store' } })

    const { key, id } = created.body
    expect(created.headers['location']).toBe(`/api-keys/${id}`)
    expect(created.body).toMatchObject({
      name: 'nightly build',
      roles: ['reader'],
      prefix: key.slice(0, 22),
      createdBy: 'alice',
    })

    const secret = key.slice(23)
    const answers = await Promise.all([
      call('GET', `/api-keys/${id}`, alice),
      call('GET', '/api-keys', alice),
      call('GET', '/api-keys', admin),
      call('PATCH', `/api-keys/${id}`, alice, { name: 'nightly' }),
      call('GET', '/api-keys', bearer(key)),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])

    await call('DELETE', `/api-keys/${id}`, alice)
    const refused = await call('GET', '/api-keys', bearer(key))
    expect(refused.status).toBe(401)

    const files = ['gateway.db', 'gateway.db-wal'].map((file) =>
      readFileSync(join(gateway.dataDir, file), 'latin1'),
    )
    for (const text of [
      ...answers.map(({ text }) => text),
      refused.text,
      JSON.stringify(gateway.log),
      ...files,
    ]) {
      expect(text).not.toContain(secret)
      expect(text).not.toContain(secret.slice(0, 20))
    }
  })

  test('an API key acts as its creator with its own roles, by either header', async () => {
    const name = newName()
    const { key } = await make(alice, { name: 'robot', roles: ['writer'] })
    const created = await call<AdapterResource>('POST', '/adapters', bearer(key), adapter(name))
    expect(created).toMatchObject({ status: 201, body: { createdBy: 'alice' } })
    expect((await call('GET', `/adapters/${name}`, alice)).status).toBe(200)
    expect((await call('GET', `/adapters/${name}`, { 'x-api-key': key })).status).toBe(200)
    expect((await call('GET', `/adapters/${name}`, bob)).status).toBe(404)
    const served = await gateway.register({ requiredRoles: ['writer'] })
    const answer = await gateway.mcp(served, 'do=echo&tag=as-creator', {
      headers: { ...bearer(key), 'content-type': 'application/json' },
      body: '{}',
    })
    expect(answer.status).toBe(200)
    const { rawHeaders } = gateway.received('as-creator')
    expect(valuesOf(rawHeaders, 'x-mcp-userid')).toEqual(['alice'])
    expect(valuesOf(rawHeaders, 'x-mcp-username')).toEqual(['robot'])
    expect(valuesOf(rawHeaders, 'x-mcp-roles')).toEqual(['writer'])
  })

  test('a resource survives the replacement of the API key that created it', async () => {
    const name = newName()
    const first = await make(alice)
    await call('POST', '/adapters', bearer(first.key), adapter(name))
    const second = await make(alice)
    expect((await call('DELETE', `/api-keys/${first.id}`, alice)).status).toBe(204)
    expect(
      (await call('PATCH', `/adapters/${name}`, bearer(second.key), { description: 'new' })).status,
    ).toBe(200)
  })

  test('an API key has no role but those given, whatever its creator holds', async () => {
    const adapterName = await gateway.register({ requiredRoles: ['reader'] }, false)
    const { key } = await make(bob)
    expect((await call('GET', `/adapters/${adapterName}`, bob)).status).toBe(200)
    expect((await call('GET', `/adapters/${adapterName}`, bearer(key))).status).toBe(404)
  })

  test('an API key outranks development identity, and a wrong one never becomes it', async () => {
    const { key, id } = await make(bob)
    expect(
      (await call<ApiKeyResource[]>('GET', '/api-keys', { ...bearer(key), ...admin })).body.every(
        ({ createdBy }) => createdBy === 'bob',
      ),
    ).toBe(true)

    const wrong: [string, Headers][] = [
      [
        'a typing mistake',
        bearer(`${key.slice(0, 30)}${key[30] === 'x' ? 'y' : 'x'}${key.slice(31)}`),
      ],
      ['half of it', bearer(key.slice(0, 40))],
      ['another key of the same form', bearer(newApiKey().text)],
      ['only the prefix', bearer('mcpgw_')],
      ['another scheme', { authorization: `Basic ${key}` }],
      ['no scheme', { authorization: key }],
      ['two keys in one header', { 'x-api-key': `${key}, ${key}` }],
      ['two different keys', { ...bearer(key), 'x-api-key': newApiKey().text }],
      ['a key among other things', { 'x-api-key': `other, ${key}` }],
      ['a key of 30 kB', bearer(`mcpgw_${'a'.repeat(30_000)}`)],
      ['a key beyond ASCII', bearer('mcpgw_é')],
    ]
    for (const [what, headers] of wrong) {
      const {
        status,
        body,
        text,
        headers: answered,
      } = await call<Problem>('GET', '/api-keys', { ...admin, ...headers })
      expect([what, status, body.code]).toEqual([what, 401, 'unauthenticated'])
      expect(answered['www-authenticate']).toMatch(/^Bearer /)
      expect(text).not.toContain(key.slice(23))
    }
    const name = await gateway.register()
    expect(
      (await gateway.mcp(name, 'do=echo', { headers: bearer(key.slice(0, -1)), body: '{}' }))
        .status,
    ).toBe(401)
    expect((await call('GET', `/api-keys/${id}`, bearer(key))).status).toBe(200)
  })

  test('a server never gets the gateway’s API key, but its own by the same header', async () => {
    const { key } = await make({ 'x-dev-userid': 'dev', 'x-dev-roles': 'mcp.dev' })
    const name = await gateway.register()
    const sending = (headers: Headers): object => ({
      headers: { 'content-type': 'application/json', ...headers },
      body: '{}',
    })
    expect((await gateway.mcp(name, 'do=echo&tag=own', sending({ 'x-api-key': key }))).status).toBe(
      200,
    )
    expect(
      (
        await gateway.mcp(
          name,
          'do=echo&tag=theirs',
          sending({ ...bearer(key), 'x-api-key': 'of-the-server' }),
        )
      ).status,
    ).toBe(200)
    expect(JSON.stringify(gateway.received('own').rawHeaders)).not.toContain(key.slice(0, 12))
    expect(JSON.stringify(gateway.received('theirs').rawHeaders)).not.toContain('mcpgw_')
    expect(valuesOf(gateway.received('theirs').rawHeaders, 'x-api-key')).toEqual(['of-the-server'])
  })
})

describe('making and changing API keys', () => {
  test('nobody but mcp.admin gives a key a role without holding it', async () => {
    const refused = await call<Problem>('POST', '/api-keys', bob, {
      name: 'x',
      roles: ['reader', 'writer'],
    })
    expect(refused).toMatchObject({
      status: 403,
      body: { code: 'forbidden', detail: expect.stringContaining('writer') as string },
    })
    expect((await make(bob, { roles: ['READER'] })).roles).toEqual(['READER'])
    expect((await make(admin, { roles: ['anything'] })).roles).toEqual(['anything'])
    const { id } = await make(bob, { roles: ['reader'] })
    expect((await call('PATCH', `/api-keys/${id}`, bob, { roles: ['mcp.admin'] })).status).toBe(403)
    expect(
      (
        await call<ApiKeyResource>('PATCH', `/api-keys/${id}`, admin, {
          roles: ['reader', 'extra'],
        })
      ).body.roles,
    ).toEqual(['reader', 'extra'])
    // A key may keep the role that it has, though its owner could not give it.
    expect(
      (await call('PATCH', `/api-keys/${id}`, bob, { name: 'new', roles: ['extra'] })).status,
    ).toBe(200)
    expect(
      (await call<ApiKeyResource>('PATCH', `/api-keys/${id}`, bob, { roles: null })).body.roles,
    ).toEqual([])
  })

  test('nobody prolongs a role that the owner does not hold', async () => {
    const { id } = await make(bob, { roles: ['reader'], expiresAt: '2090-01-01T00:00:00Z' })
    expect(
      (await call('PATCH', `/api-keys/${id}`, admin, { roles: ['reader', 'lost'] })).status,
    ).toBe(200)
    for (const expiresAt of ['2091-01-01T00:00:00Z', null])
      expect(await call('PATCH', `/api-keys/${id}`, bob, { expiresAt })).toMatchObject({
        status: 403,
        body: { code: 'forbidden', detail: expect.stringContaining('lost') as string },
      })
    expect(
      (await call('PATCH', `/api-keys/${id}`, bob, { expiresAt: '2089-01-01T00:00:00Z' })).status,
    ).toBe(200)
    expect(
      (await call('PATCH', `/api-keys/${id}`, bob, { expiresAt: null, roles: ['reader'] })).status,
    ).toBe(200)
  })

  test('an API key makes or prolongs no keys, but may revoke itself', async () => {
    const { key, id } = await make(admin, { roles: ['mcp.admin'] })
    const other = await make(admin)
    expect((await call('POST', '/api-keys', bearer(key), { name: 'x' })).status).toBe(403)
    expect((await call('PATCH', `/api-keys/${id}`, bearer(key), { expiresAt: null })).status).toBe(
      403,
    )
    expect((await call('DELETE', `/api-keys/${other.id}`, bearer(key))).status).toBe(403)
    expect((await call('DELETE', `/api-keys/${id}`, bearer(key))).status).toBe(204)
    expect((await call('GET', '/api-keys', bearer(key))).status).toBe(401)
  })

  test('an API key is visible to its owner and to mcp.admin alone', async () => {
    const { id } = await make(alice)
    for (const method of ['GET', 'PATCH', 'DELETE'])
      expect(
        await call(method, `/api-keys/${id}`, bob, method === 'PATCH' ? {} : undefined),
      ).toMatchObject({
        status: 404,
        body: { code: 'not_found' },
      })
    expect(
      (await call<ApiKeyResource[]>('GET', '/api-keys', bob)).body.map((each) => each.id),
    ).not.toContain(id)
    expect(
      (await call<ApiKeyResource[]>('GET', '/api-keys', admin)).body.map((each) => each.id),
    ).toContain(id)
    expect((await call('DELETE', `/api-keys/${id}`, admin)).status).toBe(204)
    expect((await call('DELETE', `/api-keys/${id}`, admin)).status).toBe(404)
  })

  test('a refused API key request names every mistake', async () => {
    const { status, body } = await call<Problem>('POST', '/api-keys', alice, {
      name: ' ',
      roles: [''],
      expiresAt: 'soon',
    })
    expect([status, body.errors?.map(({ pointer }) => pointer)]).toEqual([
      400,
      ['/name', '/roles/0', '/expiresAt'],
    ])
    const past = await call<Problem>('POST', '/api-keys', alice, {
      name: 'x',
      expiresAt: '2020-01-01T00:00:00Z',
    })
    expect(past).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/expiresAt', code: 'in_the_past' }] },
    })
    const unknown = await call<ApiKeyCreated>('POST', '/api-keys', alice, {
      name: 'x',
      expires: 'never',
    })
    expect(unknown.body.warnings).toMatchObject([{ pointer: '/expires', code: 'unknown_field' }])
    expect((await call('PUT', '/api-keys/x', alice, {})).status).toBe(405)
  })

  test('ETags guard API keys, and use does not change them', async () => {
    const { id, key } = await make(alice)
    const etag = String((await call('GET', `/api-keys/${id}`, alice)).headers['etag'])
    await call('GET', '/adapters', bearer(key))
    expect(
      (await call('PATCH', `/api-keys/${id}`, { ...alice, 'if-match': etag }, { name: 'new' }))
        .status,
    ).toBe(200)
    expect(
      (await call('PATCH', `/api-keys/${id}`, { ...alice, 'if-match': etag }, { name: 'newer' }))
        .status,
    ).toBe(412)
    expect((await call('DELETE', `/api-keys/${id}`, { ...alice, 'if-match': etag })).status).toBe(
      412,
    )
  })

  test('the list of API keys is paged', async () => {
    const carol = { 'x-dev-userid': 'carol', 'x-dev-roles': '' }
    const made = [await make(carol), await make(carol), await make(carol)]
      .map(({ id }) => id)
      .toSorted()
    const first = await call<ApiKeyResource[]>('GET', '/api-keys?limit=2', carol)
    expect(first.body.map(({ id }) => id)).toEqual(made.slice(0, 2))
    const next = /<(.+)>; rel="next"/.exec(String(first.headers['link']))?.[1] ?? ''
    const second = await call<ApiKeyResource[]>('GET', next, carol)
    expect(second.body.map(({ id }) => id)).toEqual(made.slice(2))
    expect(second.headers['link']).toBeUndefined()
  })

  test('each principal has a quota of API keys, also for requests at once', async () => {
    await using small = await TestGateway.open({
      apiKeys: { maxPerPrincipal: 3, maxLifetimeDays: 2 },
    })
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        call<Problem>('POST', '/api-keys', alice, { name: 'x' }, small),
      ),
    )
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(3)
    expect(answers.filter(({ status }) => status === 403)).toHaveLength(7)
    expect(answers.find(({ status }) => status === 403)?.body.code).toBe('quota_exceeded')
    const { expiresAt = '' } = await make(bob, {}, small)
    expect(Math.abs(Date.parse(expiresAt) - Date.now() - 2 * 86_400_000)).toBeLessThan(60_000)
    const late = await call<Problem>(
      'POST',
      '/api-keys',
      bob,
      { name: 'x', expiresAt: '2999-01-01T00:00:00Z' },
      small,
    )
    expect(late).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/expiresAt', code: 'too_late' }] },
    })
  })
})

describe('the end of an API key', () => {
  const open = (key: string, name: string, query: string): ReturnType<TestGateway['start']> =>
    gateway.start(`/adapters/${name}/mcp?${query}`, { method: 'GET', headers: bearer(key) })

  test('revocation of an API key ends its streams and the logs that it follows', async () => {
    const { key, id } = await make(alice, { roles: ['writer'] })
    const other = await make(alice, { roles: ['writer'] })
    const name = await gateway.register({ requiredRoles: ['writer'] })
    const stream = await open(key, name, 'do=stream')
    const own = newName()
    await call('POST', '/adapters', bearer(key), {
      ...adapter(own),
      imageName: 'talkative',
      replicaCount: 1,
    })
    await expect
      .poll(async () =>
        (
          await gateway.send(`/adapters/${own}/logs`, { method: 'GET', headers: alice })
        ).body.toString(),
      )
      .toBe('ready\n')

    const logs = await gateway.start(`/adapters/${own}/logs?follow=true`, {
      method: 'GET',
      headers: bearer(key),
    })
    expect(logs.statusCode).toBe(200)

    const unconcerned = await open(other.key, name, 'do=stream')
    await call('DELETE', `/api-keys/${id}`, alice)
    // Neither stream would end by itself.
    await Promise.all([stream, logs].map(readAnswer))
    expect(unconcerned.destroyed).toBe(false)
    expect((await call('GET', `/adapters/${name}`, bearer(other.key))).status).toBe(200)

    unconcerned.destroy()
  })

  test('revocation in another process takes effect within a second', async () => {
    const { key, id } = await make(alice, { roles: ['writer'] })
    const name = await gateway.register({ requiredRoles: ['writer'] })
    const stream = await open(key, name, 'do=stream')
    expect((await call('GET', '/api-keys', bearer(key))).status).toBe(200)
    const program = fileURLToPath(new URL('../fixtures/api-key-revoker.js', import.meta.url))
    await promisify(execFile)(process.execPath, [program, join(gateway.dataDir, 'gateway.db'), id])
    // The gateway looks at the store twice a second. The rest is for a busy machine.
    await expect
      .poll(async () => (await call('GET', '/api-keys', bearer(key))).status, { interval: 20 })
      .toBe(401)
    await readAnswer(stream)
  })

  test('the loss of a role ends streams and logs that it permitted', async () => {
    const { key, id } = await make(alice, { roles: ['writer', 'reader'] })
    const name = await gateway.register({ requiredRoles: ['writer'] })
    const stream = await open(key, name, 'do=stream')
    await call('PATCH', `/api-keys/${id}`, alice, { roles: ['reader'] })
    await readAnswer(stream)
    expect((await open(key, name, 'do=stream')).statusCode).toBe(404)
  })
})

describe('the copy of all keys in memory', () => {
  /** A table over a store of its own, with one key in it. */
  async function opened(
    spec: Partial<ApiKey['spec']> = {},
    clock = { now: Date.now() },
    development = true,
  ) {
    const file = join(gateway.dataDir, `${newName()}.db`)
    const store = openSqliteStore({ file, pollMs: 5 })
    const { id, text, digest } = newApiKey()
    const key = sampleApiKey(id, { spec: { name: 'x', roles: ['r'], digest, ...spec } })
    await store.apiKeys.create(key)
    const ended = { times: 0 }
    const keys = await ApiKeys.open({
      collection: store.apiKeys,
      log: pino({ level: 'silent' }),
      now: () => clock.now,
      development,
      tellUseMs: 20,
    })
    keys.onEnd(() => (ended.times += 1))
    const authenticate = () =>
      keys.authenticate({ headers: { authorization: `Bearer ${text}` } } as never)
    return {
      store,
      id,
      key,
      keys,
      ended,
      authenticate,
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    }
  }

  test('the copy refuses a key from the moment that it expires', async () => {
    const clock = { now: Date.parse('2026-06-01T00:00:00Z') }
    await using all = await opened({ expiresAt: '2026-06-01T00:00:01.000Z' }, clock)
    expect(all.authenticate()).toMatchObject({
      id: 'alice',
      issuer: 'development',
      roles: ['r'],
      apiKey: all.id,
    })
    clock.now += 999
    all.authenticate()
    clock.now += 1
    expect(all.authenticate).toThrow(/expired/)
    await all.keys[Symbol.asyncDispose]()
  })

  test('the copy refuses keys of development identity where tokens are required', async () => {
    await using all = await opened({ roles: ['mcp.admin'] }, undefined, false)
    expect(all.authenticate).toThrow(/development identity/)
    await all.keys[Symbol.asyncDispose]()
  })

  test('the store learns of use now and then, and at the end, without a new version', async () => {
    const clock = { now: Date.parse('2026-06-01T00:00:00Z') }
    await using all = await opened({}, clock)
    const seen = async (): Promise<string | undefined> =>
      (await all.store.apiKeys.get(all.id))?.spec.lastUsedAt
    all.authenticate()
    await expect.poll(seen).toBe('2026-06-01T00:00:00.000Z')
    clock.now += 19
    all.authenticate()
    clock.now += 1
    all.authenticate()
    await all.keys[Symbol.asyncDispose]()
    expect(await seen()).toBe('2026-06-01T00:00:00.020Z')
    expect((await all.store.apiKeys.get(all.id))?.version).toBe(1)
  })

  test('the copy returns one principal as long as nothing of the key changes', async () => {
    await using all = await opened()
    const first = all.authenticate()
    await expect
      .poll(async () => (await all.store.apiKeys.get(all.id))?.spec.lastUsedAt)
      .toBeDefined()
    expect(all.authenticate()).toBe(first)
    const stored = (await all.store.apiKeys.get(all.id)) as ApiKey
    await all.store.apiKeys.replace(
      { ...stored, version: 2, spec: { ...stored.spec, roles: ['s'] } },
      1,
    )
    await expect.poll(() => all.authenticate()?.roles).toEqual(['s'])
    expect(all.ended.times).toBe(1)
    await all.keys[Symbol.asyncDispose]()
  })
})
