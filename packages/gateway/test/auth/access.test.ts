import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ConfigSchema } from '../../src/config/config.ts'
import { adapterKind } from '../../src/control/kinds/adapter-kind.ts'
import { Registry } from '../../src/control/resources/registry.ts'
import { accessRules } from '../../src/core/access.ts'
import { fileSource } from '../../src/secrets/file-source.ts'
import { storeSource } from '../../src/secrets/store-source.ts'
import { createAddressPolicy } from '../../src/lib/net/address-policy.ts'
import { permittedStore } from '../../src/store/permitted.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { readAnswer, TestGateway } from '../fixtures/gateway.ts'
import { initialize, modernRequest } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open({
    access: {
      create: { adapter: ['mcp.engineer'], tool: ['mcp.engineer'] },
      images: [{ pattern: 'scripted:9*', roles: ['release'] }],
    },
  })
})
afterAll(() => gateway[Symbol.asyncDispose]())

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}
interface Caller {
  readonly id: string
  readonly roles: string
}

const engineer: Caller = { id: 'erin', roles: 'mcp.engineer' }
const releaser: Caller = { id: 'rita', roles: 'release' }
const reader: Caller = { id: 'rob', roles: 'team' }
const admin: Caller = { id: 'root', roles: 'mcp.admin' }

async function as(
  { id, roles }: Caller,
  method: string,
  path: string,
  body?: object,
  where = gateway,
): Promise<Answer> {
  const answer = await where.send(path, {
    method,
    headers: {
      'x-dev-userid': id,
      'x-dev-roles': roles,
      ...(body === undefined
        ? {}
        : {
            'content-type':
              method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
          }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    body: (/^[[{]/.test(text) ? JSON.parse(text) : { text }) as Answer['body'],
  }
}

let names = 0
const stopped = (more: object = {}): { name: string } & Record<string, unknown> => ({
  name: `access-${(names += 1)}`,
  imageName: 'scripted',
  imageVersion: '1',
  replicaCount: 0,
  ...more,
})
const endpointTool = (): { name: string } & Record<string, unknown> => {
  const name = `access-${(names += 1)}`
  return {
    name,
    endpoint: 'http://127.0.0.1:9/score',
    toolDefinition: { tool: { name: `${name}_tool` } },
  }
}

describe('creating (A9)', () => {
  test.each(['adapters', 'tools'])(
    'the creation of %s needs a role of access.create',
    async (kind) => {
      const body = kind === 'tools' ? endpointTool() : stopped()
      const refused = await as(reader, 'POST', `/${kind}`, body)
      expect(refused).toMatchObject({
        status: 403,
        body: { code: 'forbidden', detail: expect.stringContaining('mcp.engineer') },
      })
      expect((await as(admin, 'GET', `/${kind}/${body.name}`)).status).toBe(404)
      expect((await as(engineer, 'POST', `/${kind}`, body)).status).toBe(201)
      expect(
        (await as(admin, 'POST', `/${kind}`, kind === 'tools' ? endpointTool() : stopped())).status,
      ).toBe(201)
    },
  )

  test('the refusal of a creation does not tell whether the name is taken (A21)', async () => {
    const { name } = stopped()
    expect((await as(engineer, 'POST', '/adapters', stopped({ name }))).status).toBe(201)
    const free = await as(reader, 'POST', '/adapters', stopped({ name: 'never-made' }))
    const taken = await as(reader, 'POST', '/adapters', stopped({ name }))
    const { requestId: _free, ...freeBody } = free.body
    const { requestId: _taken, ...takenBody } = taken.body
    expect([taken.status, takenBody]).toEqual([free.status, freeBody])
  })

  test('an image of a rule needs a role of that rule, in updates too', async () => {
    expect((await as(engineer, 'POST', '/adapters', stopped({ imageVersion: '9.1' }))).status).toBe(
      403,
    )
    expect((await as(releaser, 'POST', '/adapters', stopped())).status).toBe(403)
    const released = stopped({ imageVersion: '9.1' })
    expect((await as(releaser, 'POST', '/adapters', released)).status).toBe(201)

    const own = stopped()
    await as(engineer, 'POST', '/adapters', own)
    for (const [method, body] of [
      ['PATCH', { imageVersion: '9.2' }],
      ['PUT', { ...own, imageVersion: '9.2' }],
    ] as const)
      expect(await as(engineer, method, `/adapters/${own.name}`, body)).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      })
    expect((await as(engineer, 'GET', `/adapters/${own.name}`)).body['imageVersion']).toBe('1')
    expect(
      (await as(engineer, 'PATCH', `/adapters/${own.name}`, { imageVersion: '2' })).status,
    ).toBe(200)
  })

  test('an owner who lost the role may change and remove all but what runs', async () => {
    const own = stopped()
    await as(engineer, 'POST', '/adapters', own)
    const former = { ...engineer, roles: '' }
    expect(
      (await as(former, 'PATCH', `/adapters/${own.name}`, { imageName: 'mcp-proxy' })).status,
    ).toBe(403)
    expect(
      (
        await as(former, 'PATCH', `/adapters/${own.name}`, {
          environmentVariables: { MCP_COMMAND: 'sh' },
        })
      ).status,
    ).toBe(403)
    expect(
      (
        await as(former, 'PATCH', `/adapters/${own.name}`, {
          description: 'new',
          requiredRoles: ['team'],
        })
      ).status,
    ).toBe(200)
    expect((await as(former, 'DELETE', `/adapters/${own.name}`)).status).toBe(204)

    const tool = endpointTool()
    await as(engineer, 'POST', '/tools', tool)
    expect(
      (await as(former, 'PATCH', `/tools/${tool.name}`, { endpoint: 'http://127.0.0.1:10/' }))
        .status,
    ).toBe(403)
    expect((await as(former, 'PATCH', `/tools/${tool.name}`, { description: 'new' })).status).toBe(
      200,
    )
  })

  test('an endpoint needs the role for creation, whatever images a caller may run', async () => {
    const elsewhere = { name: `access-${(names += 1)}`, endpoint: 'http://127.0.0.1:9/mcp' }
    const path = `/adapters/${elsewhere.name}`
    expect(await as(releaser, 'POST', '/adapters', elsewhere)).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    })
    expect((await as(engineer, 'POST', '/adapters', elsewhere)).status).toBe(201)
    expect(
      (await as({ ...engineer, roles: '' }, 'PATCH', path, { endpoint: 'http://127.0.0.1:10/mcp' }))
        .status,
    ).toBe(403)
    expect(
      (await as({ ...engineer, roles: '' }, 'PATCH', path, { description: 'new' })).status,
    ).toBe(200)
    const own = stopped({ imageVersion: '9' })
    expect((await as(releaser, 'POST', '/adapters', own)).status).toBe(201)
    const moved = { imageName: null, imageVersion: null, endpoint: 'http://127.0.0.1:9/mcp' }
    expect((await as(releaser, 'PATCH', `/adapters/${own.name}`, moved)).status).toBe(403)
  })
})

describe('the identity of the platform (B15)', () => {
  test('a role lends the platform identity to one code, and other code needs it too', async () => {
    const own = stopped({ ownerRoles: ['keepers'] })
    const path = `/adapters/${own.name}`
    expect((await as(engineer, 'POST', '/adapters', own)).status).toBe(201)
    expect((await as(engineer, 'PATCH', path, { useWorkloadIdentity: true })).status).toBe(403)
    expect((await as(admin, 'PATCH', path, { useWorkloadIdentity: true })).status).toBe(200)

    const code = [
      { imageName: 'other' },
      { imageVersion: '2' },
      { environmentVariables: { MCP_COMMAND: 'sh' } },
    ]
    const keeper: Caller = { id: 'kim', roles: 'keepers, mcp.engineer' }
    for (const caller of [engineer, keeper]) {
      for (const change of code) {
        const refused = await as(caller, 'PATCH', path, change)
        expect(refused).toMatchObject({
          status: 403,
          body: { detail: expect.stringContaining('useWorkloadIdentity') as string },
        })
        const replacement = { ...own, useWorkloadIdentity: true, ...change }
        expect((await as(caller, 'PUT', path, replacement)).status).toBe(403)
      }
    }
    const { body } = await as(engineer, 'GET', path)
    expect(body).toMatchObject({ imageName: 'scripted', imageVersion: '1' })
    expect(body).toHaveProperty('environmentVariables', {})

    const lender: Caller = { ...engineer, roles: 'mcp.engineer, mcp.dev' }
    expect(
      (await as(engineer, 'PATCH', path, { description: 'mine', requiredRoles: ['team'] })).status,
    ).toBe(200)
    expect((await as(lender, 'PATCH', path, { imageVersion: '2' })).status).toBe(200)
    // In one step or in two: without the identity, an adapter is as free as any other.
    expect(
      (await as(engineer, 'PATCH', path, { imageVersion: '3', useWorkloadIdentity: false })).status,
    ).toBe(200)
    expect((await as(engineer, 'PATCH', path, { useWorkloadIdentity: true })).status).toBe(403)
  })
})

describe('quotas (A9)', () => {
  let small: TestGateway
  beforeAll(async () => {
    small = await TestGateway.open({ access: { quotas: { adapters: 3, tools: 2, replicas: 4 } } })
  })
  afterAll(() => small[Symbol.asyncDispose]())
  const at = (caller: Caller, method: string, path: string, body?: object): Promise<Answer> =>
    as(caller, method, path, body, small)
  const dora: Caller = { id: 'dora', roles: '' }
  const exceeded = { status: 403, body: { code: 'quota_exceeded' } }

  test('many creations at once do not exceed a quota, and the refusal has figures', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, () => at(dora, 'POST', '/adapters', stopped())),
    )
    expect(outcomes.filter(({ status }) => status === 201)).toHaveLength(3)
    const refused = outcomes.filter(({ status }) => status !== 201)
    for (const each of refused) expect(each).toMatchObject(exceeded)
    expect(refused[0]?.body['detail']).toContain(
      'You have 3 adapters and ask for 1 more, but may have 3 (access.quotas.adapters)',
    )
    // Each caller has a quota of their own, and a removed adapter makes room.
    expect((await at({ id: 'dan', roles: '' }, 'POST', '/adapters', stopped())).status).toBe(201)
    expect((await at(dora, 'POST', '/tools', endpointTool())).status).toBe(201)
    const { name } = (await at(dora, 'GET', '/adapters')).body[0] as { name: string }
    await at(dora, 'DELETE', `/adapters/${name}`)
    expect((await at(dora, 'POST', '/adapters', stopped())).status).toBe(201)
  })

  test('the quota of replicas binds who scales for the owner, but no administrator', async () => {
    const rosa: Caller = { id: 'rosa', roles: '' }
    const keeper: Caller = { id: 'kim', roles: 'keepers' }
    const one = stopped({ replicaCount: 2, ownerRoles: ['keepers'] })
    const two = stopped({ replicaCount: 1 })
    for (const body of [one, two])
      expect((await at(rosa, 'POST', '/adapters', body)).status).toBe(201)
    expect(await at(rosa, 'POST', '/adapters', stopped({ replicaCount: 2 }))).toMatchObject(
      exceeded,
    )
    expect(await at(rosa, 'PATCH', `/adapters/${one.name}`, { replicaCount: 4 })).toMatchObject(
      exceeded,
    )
    const byKeeper = await at(keeper, 'PATCH', `/adapters/${one.name}`, { replicaCount: 4 })
    expect(byKeeper).toMatchObject(exceeded)
    expect(byKeeper.body['detail']).toBe('Its owner may have 4 replicas (access.quotas.replicas).')
    expect((await at(rosa, 'PATCH', `/adapters/${one.name}`, { replicaCount: 3 })).status).toBe(200)
    expect((await at(admin, 'PATCH', `/adapters/${two.name}`, { replicaCount: 5 })).status).toBe(
      200,
    )
    // An overdrawn owner may still make an adapter smaller, and change other fields.
    expect((await at(rosa, 'PATCH', `/adapters/${two.name}`, { description: 'x' })).status).toBe(
      200,
    )
    expect((await at(rosa, 'PATCH', `/adapters/${two.name}`, { replicaCount: 4 })).status).toBe(200)
    for (const { name } of [one, two]) await at(admin, 'DELETE', `/adapters/${name}`)
  })

  test('an offer does not stretch the quota: the taker must have room', async () => {
    const rich: Caller = { id: 'ria', roles: '' }
    const full: Caller = { id: 'fay', roles: '' }
    for (let index = 0; index < 3; index += 1) await at(full, 'POST', '/adapters', stopped())
    const made: string[] = []
    for (let index = 0; index < 3; index += 1)
      made.push(((await at(rich, 'POST', '/adapters', stopped())).body as { name: string }).name)
    // The owner cannot give adapters to a full owner, nor to somebody who does not exist.
    for (const [index, id] of ['fay', 'nobody-there', 'gus'].entries())
      expect((await at(rich, 'PUT', `/adapters/${made[index]}/offer`, { id })).status).toBe(200)
    expect(await at(rich, 'POST', '/adapters', stopped())).toMatchObject(exceeded)
    const taking = await at(full, 'PUT', `/adapters/${made[0]}/owner`, { id: 'fay' })
    expect(taking).toMatchObject(exceeded)
    expect(taking.body['detail']).toContain('but may have 3')
    expect(
      (await at(admin, 'PUT', `/adapters/${made[0]}/owner`, { id: 'fay', issuer: 'development' }))
        .status,
    ).toBe(200)
    expect(
      (await at({ id: 'gus', roles: '' }, 'PUT', `/adapters/${made[2]}/owner`, { id: 'gus' }))
        .status,
    ).toBe(200)
    expect((await at(rich, 'POST', '/adapters', stopped())).status).toBe(201)
  })
})

describe('ownership (E7)', () => {
  const kinds = ['adapters', 'tools']
  const register = async (kind: string, more: object = {}): Promise<string> => {
    const body = { ...(kind === 'tools' ? endpointTool() : stopped()), ...more }
    const created = await as(engineer, 'POST', `/${kind}`, body)
    expect(created).toMatchObject({
      status: 201,
      body: { owner: { id: 'erin', issuer: 'development' }, createdBy: 'erin' },
    })
    return `/${kind}/${body.name}`
  }
  const heir: Caller = { id: 'hana', roles: '' }

  test.each(kinds)(
    'an offer of one of /%s makes its taker the owner, and keeps what roles allow',
    async (kind) => {
      const path = await register(kind, { requiredRoles: ['team'] })
      expect(await as(engineer, 'PUT', `${path}/owner`, { id: 'hana' })).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      })
      expect((await as(heir, 'GET', path)).status).toBe(404)
      expect(await as(engineer, 'PUT', `${path}/offer`, { id: 'hana' })).toMatchObject({
        status: 200,
        body: { id: 'hana', issuer: 'development' },
      })

      const offered = { owner: { id: 'erin' }, offeredTo: { id: 'hana', issuer: 'development' } }
      // Until the heir takes the adapter, the owner keeps it, and the heir may only look.
      expect(await as(heir, 'GET', path)).toMatchObject({ status: 200, body: offered })
      expect((await as(heir, 'GET', `/${kind}`)).body).toMatchObject([offered])
      expect((await as(heir, 'PATCH', path, { description: 'mine' })).status).toBe(403)
      expect((await as(heir, 'PUT', `${path}/offer`, { id: 'hana' })).status).toBe(403)
      expect((await as(heir, 'PUT', `${path}/owner`, { id: 'mallory' })).status).toBe(403)
      expect((await as(engineer, 'PATCH', path, { description: 'still mine' })).status).toBe(200)
      expect(await as(heir, 'PUT', `${path}/owner`, { id: 'hana' })).toMatchObject({
        status: 200,
        body: { id: 'hana', issuer: 'development' },
      })
      expect((await as(engineer, 'GET', path)).status).toBe(404)
      expect((await as(engineer, 'PUT', `${path}/owner`, { id: 'erin' })).status).toBe(404)
      expect((await as({ ...engineer, roles: 'team' }, 'GET', path)).status).toBe(200)

      const taken = await as(heir, 'GET', path)
      expect(taken).toMatchObject({
        status: 200,
        body: { owner: { id: 'hana', issuer: 'development' }, createdBy: 'erin' },
      })
      expect(taken.body).not.toHaveProperty('offeredTo')
      expect((await as(heir, 'PATCH', path, { description: 'mine' })).status).toBe(200)
      expect((await as(heir, 'DELETE', path)).status).toBe(204)
    },
  )

  test.each(kinds)(
    'an offer of one of /%s ends when it is taken back, declined or replaced',
    async (kind) => {
      const path = await register(kind)
      const offer = (id: string): Promise<Answer> => as(engineer, 'PUT', `${path}/offer`, { id })
      expect(await as(engineer, 'DELETE', `${path}/offer`)).toMatchObject({
        status: 404,
        body: { code: 'not_found' },
      })
      expect((await offer('erin')).body).toMatchObject({
        errors: [{ pointer: '/id', code: 'already_owner' }],
      })
      for (const caller of [engineer, heir]) {
        await offer('hana')
        expect((await as(reader, 'DELETE', `${path}/offer`)).status).toBe(404)
        expect((await as(caller, 'DELETE', `${path}/offer`)).status).toBe(204)
        expect((await as(heir, 'GET', path)).status).toBe(404)
        expect((await as(heir, 'PUT', `${path}/owner`, { id: 'hana' })).status).toBe(404)
      }
      await offer('hana')
      await offer('gus')
      expect((await as(heir, 'PUT', `${path}/owner`, { id: 'hana' })).status).toBe(404)
      expect(
        (await as({ id: 'gus', roles: '' }, 'PUT', `${path}/owner`, { id: 'gus' })).status,
      ).toBe(200)
    },
  )

  test('an offered tool is neither listed for its recipient nor callable', async () => {
    const path = await register('tools')
    const adapter = await register('adapters')
    for (const each of [path, adapter])
      expect((await as(engineer, 'PUT', `${each}/offer`, { id: 'hana' })).status).toBe(200)
    const { headers, body } = modernRequest('tools/list', {})
    const listed = await gateway.send('/mcp', {
      headers: { ...headers, 'x-dev-userid': 'hana', 'x-dev-roles': '' },
      body,
    })
    expect(listed.status).toBe(200)
    expect(listed.body.toString()).not.toContain(path.slice('/tools/'.length))
    const used = await gateway.mcp(adapter.slice('/adapters/'.length), 'do=echo', {
      headers: { 'x-dev-userid': 'hana', 'x-dev-roles': '' },
      body: '{}',
    })
    expect([used.status, used.body.toString()]).toEqual([
      403,
      expect.stringContaining('become its owner before you use it'),
    ])
  })

  test.each(kinds)('administrators alone give away one of /%s', async (kind) => {
    const path = await register(kind, { requiredRoles: ['team'], ownerRoles: ['keepers'] })
    expect((await as(reader, 'PUT', `${path}/owner`, { id: 'rob' })).status).toBe(403)
    expect(
      (await as({ id: 'kim', roles: 'keepers' }, 'PUT', `${path}/owner`, { id: 'kim' })).status,
    ).toBe(403)
    expect((await as(heir, 'PUT', `${path}/owner`, { id: 'hana' })).status).toBe(404)
    expect(
      (await as(admin, 'PUT', `${path}/owner`, { id: 'hana', issuer: 'https://idp.example' }))
        .status,
    ).toBe(200)
    // The same id of another issuer is another person.
    expect((await as(heir, 'GET', path)).status).toBe(404)
  })

  test.each(kinds)('holders of ownerRoles share one of /%s', async (kind) => {
    const keeper: Caller = { id: 'kim', roles: 'keepers, mcp.engineer' }
    const path = await register(kind, { ownerRoles: [' keepers ', 'keepers'] })
    expect(await as(keeper, 'GET', path)).toMatchObject({
      status: 200,
      body: { ownerRoles: ['keepers'] },
    })
    expect((await as(keeper, 'PATCH', path, { description: 'ours' })).status).toBe(200)
    expect((await as(keeper, 'GET', `${path}/logs`)).status).not.toBe(403)
    // The right to write does not exceed the right to create.
    const code =
      kind === 'tools' ? { endpoint: 'http://127.0.0.1:10/' } : { environmentVariables: { A: '1' } }
    expect((await as({ ...keeper, roles: 'keepers' }, 'PATCH', path, code)).status).toBe(403)
    expect((await as(keeper, 'PATCH', path, code)).status).toBe(200)
    expect((await as(engineer, 'PATCH', path, { ownerRoles: null })).status).toBe(200)
    expect((await as(keeper, 'GET', path)).status).toBe(404)
  })

  test('ownership needs a recipient, a change and an explicit request', async () => {
    const path = await register('adapters')
    for (const body of [
      {},
      { id: '' },
      { id: 'a\u0000' },
      { id: 'a', issuer: '' },
      { id: 'a', role: 'x' },
      { id: 'a'.repeat(513) },
    ])
      for (const what of ['offer', 'owner'])
        expect(await as(engineer, 'PUT', `${path}/${what}`, body)).toMatchObject({
          status: 400,
          body: { code: 'validation_failed' },
        })

    const { headers } = await gateway.send(path, {
      method: 'GET',
      headers: { 'x-dev-userid': 'erin' },
    })
    const old = String(headers['etag'])
    await as(engineer, 'PATCH', path, { description: 'changed' })
    const refused = await gateway.send(`${path}/owner`, {
      method: 'PUT',
      headers: { 'x-dev-userid': 'erin', 'if-match': old, 'content-type': 'application/json' },
      body: JSON.stringify({ id: 'hana' }),
    })
    expect(refused.status).toBe(412)

    const same = await as(engineer, 'PUT', `${path}/owner`, { id: 'erin' })
    expect(same).toMatchObject({ status: 200, body: { id: 'erin' } })
  })

  test('ownership survives a replaced adapter, and a former owner’s offers end', async () => {
    const body = stopped({ replicaCount: 1 })
    await as(engineer, 'POST', '/adapters', body)
    await gateway.untilReady(body.name, 1, { 'x-dev-roles': 'mcp.admin' })
    const session = await gateway.mcp(body.name, 'do=initialize', {
      headers: { 'x-dev-userid': 'erin' },
      body: '{}',
    })
    expect(session.status).toBe(200)
    await as(engineer, 'PUT', `/adapters/${body.name}/offer`, { id: 'hana' })
    expect((await as(heir, 'PUT', `/adapters/${body.name}/owner`, { id: 'hana' })).status).toBe(200)
    const headers = {
      'x-dev-userid': 'erin',
      'mcp-session-id': String(session.headers['mcp-session-id']),
    }
    expect((await gateway.mcp(body.name, 'do=echo', { headers, body: '{}' })).status).toBe(404)
    const replaced = await as({ ...heir, roles: 'mcp.engineer' }, 'PUT', `/adapters/${body.name}`, {
      ...body,
      replicaCount: 0,
    })
    expect(replaced).toMatchObject({
      status: 200,
      body: { owner: { id: 'hana' }, createdBy: 'erin' },
    })
  })
})

describe('resources that a caller may not see (A21)', () => {
  const routes: readonly (readonly [method: string, rest: string, body: object | undefined])[] = [
    ['GET', '', undefined],
    ['GET', '/status', undefined],
    ['GET', '/logs', undefined],
    ['GET', '/logs?tail=nonsense', undefined],
    ['PUT', '', {}],
    ['PATCH', '', { replicaCount: -1 }],
    ['PUT', '/owner', {}],
    ['PUT', '/offer', {}],
    ['DELETE', '/offer', undefined],
    ['POST', '/restart', undefined],
    ['DELETE', '', undefined],
  ]
  const hidden = { adapters: stopped(), tools: endpointTool() }
  beforeAll(async () => {
    for (const kind of ['adapters', 'tools'] as const)
      expect((await as(engineer, 'POST', `/${kind}`, hidden[kind])).status).toBe(201)
  })

  test.each(
    (['adapters', 'tools'] as const).flatMap((kind) =>
      routes.map(([method, rest, body]) => [kind, method, rest, body] as const),
    ),
  )(
    'a hidden resource does not exist for its caller: /%s, %s {name}%s',
    async (kind, method, rest, body) => {
      const other = kind === 'adapters' ? 'tools' : 'adapters'
      const answers = await Promise.all(
        [hidden[kind].name, hidden[other].name, 'never-made'].map(async (name) => {
          const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
          // The ids that the gateway makes differ in length.
          const id = { 'x-request-id': 'the-request' }
          const headers = {
            ...id,
            'x-dev-userid': 'rob',
            'x-dev-roles': 'mcp.engineer',
            'if-match': '"x-1"',
          }
          const answer = await gateway.send(`/${kind}/${name}${rest}`, {
            method,
            headers: { ...headers, ...(body === undefined ? {} : { 'content-type': type }) },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          })
          const { date: _date, ...shown } = answer.headers
          return { status: answer.status, headers: shown, body: answer.body.toString() }
        }),
      )
      expect(answers[0]).toMatchObject({
        status: 404,
        body: expect.stringContaining('"code":"not_found"'),
      })
      expect(answers[1]).toEqual(answers[0])
      expect(answers[2]).toEqual(answers[0])
    },
  )

  test('a hidden resource costs the store the same reads as a missing one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-access-'))
    const store = openSqliteStore({ file: join(folder, 'gateway.db') })
    const reads = [vi.spyOn(store, 'get'), vi.spyOn(store, 'list')]
    const settings = ConfigSchema.parse({}).access
    const endpoints = { policy: createAddressPolicy([]), setting: 'endpointNetworks' }
    const registry = new Registry(adapterKind({ maxReplicas: 5, endpoints }), {
      store: permittedStore(store),
      sealedResources: store,
      nudge: () => undefined,
      secretSources: {
        store: storeSource(store.secrets),
        file: fileSource({}),
        kubernetes: fileSource({}),
      },
      access: accessRules(settings, { development: true, anonymous: false }),
      now: () => new Date(),
      newUid: randomUUID,
      sources: new Set(),
    })
    const principal = (id: string) => ({ id, issuer: 'development', name: id, roles: [] })
    await registry.create(principal('owner'), { name: 'hidden', imageName: 'i', imageVersion: '1' })
    const costOf = async (name: string): Promise<number[]> => {
      for (const spy of reads) spy.mockClear()
      const stranger = principal('stranger')
      const request = { principal: stranger, name, ifMatch: undefined }
      const works = [
        registry.records.get(stranger, name),
        registry.permitLogs(stranger, name),
        registry.replace(request, {}),
        registry.patch({ ...request, ifMatch: 3 }, {}),
        registry.ownership.transfer(request, {}),
        registry.ownership.offer(request, {}),
        registry.ownership.decline(request),
        registry.restart(request),
        registry.delete(request),
      ]
      const outcomes = await Promise.allSettled(works)
      expect(
        outcomes.map(
          (each) => each.status === 'rejected' && (each.reason as { code: string }).code,
        ),
      ).toEqual(works.map(() => 'not_found'))
      return reads.map(({ mock }) => mock.calls.length)
    }
    const there = await costOf('hidden')
    expect(there).toEqual([9, 0])
    expect(await costOf('missing')).toEqual(there)

    await store[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })
})

describe('logs (A13)', () => {
  test('logs need the right to write, or the right to read where the settings say so', async () => {
    const own = stopped({ requiredRoles: ['team'], replicaCount: 1 })
    await as(engineer, 'POST', '/adapters', own)
    await gateway.untilReady(own.name, 1, { 'x-dev-roles': 'mcp.admin' })
    expect((await as(reader, 'GET', `/adapters/${own.name}/logs`)).status).toBe(403)
    expect((await as(engineer, 'GET', `/adapters/${own.name}/logs`)).status).toBe(200)

    await using open = await TestGateway.open({ access: { logs: 'read' } })
    const name = await open.register({ requiredRoles: ['team'] })
    const logs = (roles: string): ReturnType<TestGateway['send']> =>
      open.send(`/adapters/${name}/logs`, {
        method: 'GET',
        headers: { 'x-dev-userid': 'rob', 'x-dev-roles': roles },
      })
    expect((await logs('team')).status).toBe(200)
    expect((await logs('other')).status).toBe(404)
  })

  test('the recipient of an offer sees no logs before it accepts', async () => {
    await using open = await TestGateway.open({ access: { logs: 'read' } })
    const heir: Caller = { id: 'hana', roles: 'other' }
    const path = `/adapters/${await open.register()}`
    const owner: Caller = { id: 'dev', roles: 'mcp.dev' }
    expect((await as(owner, 'PUT', `${path}/offer`, { id: 'hana' }, open)).status).toBe(200)

    expect((await as(heir, 'GET', `${path}/status`, undefined, open)).status).toBe(200)
    expect(await as(heir, 'GET', `${path}/logs`, undefined, open)).toMatchObject({
      status: 403,
      body: { code: 'forbidden', detail: expect.stringContaining('become its owner') },
    })
    expect((await as(heir, 'PUT', `${path}/owner`, { id: 'hana' }, open)).status).toBe(200)
    expect((await as(heir, 'GET', `${path}/logs`, undefined, open)).status).toBe(200)
  })
})

test('the gateway’s body limit counts for servers behind the bridge too', async () => {
  await using large = await TestGateway.open({ edge: { bodyLimitBytes: 6 * 1024 * 1024 } })
  const script =
    'require("node:readline").createInterface({input:process.stdin}).on("line",(line)=>{' +
    'const {id}=JSON.parse(line);console.log(JSON.stringify({jsonrpc:"2.0",id,' +
    'result:{protocolVersion:"2025-06-18",capabilities:{},read:line.length}}))})'
  const environmentVariables = {
    MCP_COMMAND: process.execPath,
    MCP_ARGS: `-e '${script}'`,
    MCP_ERAS: 'passthrough',
  }
  const own = stopped({ imageName: 'mcp-proxy', replicaCount: 1, environmentVariables })
  expect((await as(engineer, 'POST', '/adapters', own, large)).status).toBe(201)

  await large.untilReady(own.name, 1, { 'x-dev-userid': engineer.id })
  const send = (mebibytes: number): ReturnType<TestGateway['send']> =>
    large.send(`/adapters/${own.name}/mcp`, {
      headers: {
        'x-dev-userid': engineer.id,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'initialize',
        params: {
          protocolVersion: '2025-06-18',
          capabilities: {},
          clientInfo: { name: 'x'.repeat(mebibytes * 1024 * 1024), version: '1' },
        },
      }),
    })
  const taken = await send(5)
  expect({ status: taken.status, text: taken.body.toString().slice(0, 300) }).toMatchObject({
    status: 200,
    text: expect.stringMatching(/"read":52\d{5}/),
  })
  expect((await send(7)).status).toBe(413)
})

test('a creation with unsplittable arguments is refused without repeating them', async () => {
  const own = stopped({
    imageName: 'mcp-proxy',
    environmentVariables: { MCP_COMMAND: 'npx', MCP_ARGS: `--token hunter2 'x` },
  })
  const { status, body } = await as(engineer, 'POST', '/adapters', own)
  expect(status).toBe(400)
  expect(body['errors']).toMatchObject([{ pointer: '/environmentVariables/MCP_ARGS' }])
  expect(JSON.stringify(body)).not.toContain('hunter2')
})

describe('last words of a server', () => {
  const script = 'console.error("API_KEY=hunter2"); setTimeout(() => process.exit(3), 50)'

  test('readers of logs alone see last words of a server in the status', async () => {
    const images = { leaky: { command: [process.execPath, '-e', script] } }
    await using leaky = await TestGateway.open({ runtime: { images } })
    const own = stopped({ imageName: 'leaky', requiredRoles: ['team'], replicaCount: 1 })
    expect((await as(engineer, 'POST', '/adapters', own, leaky)).status).toBe(201)
    const status = async (who: Caller): Promise<string> =>
      JSON.stringify((await as(who, 'GET', `/adapters/${own.name}/status`, undefined, leaky)).body)
    await expect.poll(() => status(engineer)).toMatch(/It said last: API_KEY=hunter2/)
    const shown = await status(reader)
    expect(shown).toContain('exited with code 3')
    expect(shown).toContain('"reason":"Exited"')
    expect(shown).not.toContain('hunter2')
  })

  test('callers of a stdio server do not see its last words', async () => {
    await using leaky = await TestGateway.open()
    const own = stopped({
      imageName: 'mcp-proxy',
      replicaCount: 1,
      environmentVariables: {
        MCP_COMMAND: process.execPath,
        MCP_ARGS: `-e '${script}'`,
        MCP_WARM_SPARES: '0',
      },
    })
    expect((await as(engineer, 'POST', '/adapters', own, leaky)).status).toBe(201)

    const name = String(own.name)
    await leaky.untilReady(name, 1, { 'x-dev-userid': engineer.id, 'x-dev-roles': engineer.roles })
    const answer = await leaky.send(`/adapters/${name}/mcp`, {
      headers: {
        'x-dev-userid': engineer.id,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: initialize,
    })
    const text = answer.body.toString()
    expect({ status: answer.status, text }).toMatchObject({
      status: 502,
      text: expect.stringContaining('exited with code 3'),
    })
    expect(text).not.toContain('hunter2')
    expect(answer.headers['x-request-id']).toBeDefined()

    const logs = await leaky.send(`/adapters/${name}/logs`, {
      method: 'GET',
      headers: { 'x-dev-userid': engineer.id },
    })
    expect(logs.body.toString()).toContain('hunter2')
  })
})

describe('an image whose rule narrows', () => {
  const create = { adapter: ['mcp.engineer', 'team', 'platform'] }
  const narrowed = { create, images: [{ pattern: 'scripted:*', roles: ['platform'] }] }
  const member: Caller = { id: 'tom', roles: 'team' }
  const operator: Caller = { id: 'pat', roles: 'platform' }
  const headers = { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' }
  const rule = expect.objectContaining({
    type: 'Accepted',
    status: 'False',
    reason: 'ImageNotAllowed',
    message: expect.stringContaining("'scripted:*'") as string,
  }) as object

  test('a narrower image rule withholds a workload until someone vouches for it', async () => {
    await using wide = await TestGateway.open({ access: { create } })
    const [ofMember, ofOperator] = [stopped({ replicaCount: 1 }), stopped({ replicaCount: 1 })]
    expect((await as(member, 'POST', '/adapters', ofMember, wide)).status).toBe(201)
    expect((await as(operator, 'POST', '/adapters', ofOperator, wide)).status).toBe(201)
    await wide.untilReady(ofMember.name, 1, headers)

    await using narrow = await wide.reopen({ access: narrowed })
    const path = `/adapters/${ofMember.name}`
    const conditions = async (): Promise<unknown> =>
      (await as(admin, 'GET', `${path}/status`, undefined, narrow)).body['conditions']
    await expect.poll(conditions).toContainEqual(rule)
    await narrow.untilReady(ofOperator.name, 1, headers)
    const answer = await narrow.send(`${path}/mcp`, { headers, body: initialize })
    expect({ status: answer.status, text: answer.body.toString() }).toMatchObject({
      status: 503,
      text: expect.stringContaining('ImageNotAllowed') as string,
    })

    // A change of another field vouches for no image, whoever makes it.
    expect((await as(member, 'PATCH', path, { imageVersion: '1' }, narrow)).status).toBe(200)
    expect((await as(admin, 'PATCH', path, { description: 'seen' }, narrow)).status).toBe(200)
    expect(await conditions()).toContainEqual(rule)
    expect((await as(admin, 'PATCH', path, { imageVersion: '1' }, narrow)).status).toBe(200)
    await narrow.untilReady(ofMember.name, 1, headers)
  })

  test('a workload continues when the rules for creation alone narrow', async () => {
    await using wide = await TestGateway.open({ access: { create } })
    const own = stopped({ replicaCount: 1 })
    expect((await as(member, 'POST', '/adapters', own, wide)).status).toBe(201)

    await using narrow = await wide.reopen({ access: { create: { adapter: ['platform'] } } })
    await narrow.untilReady(own.name, 1, headers)
  })
})

describe('variables of a caller who may run one image alone', () => {
  const images = [
    { pattern: 'scripted:1', roles: ['*'], variables: ['REGION'] },
    { pattern: '*:*', roles: ['mcp.engineer'] },
  ]
  const open = (rules: readonly object[] = images): Promise<TestGateway> =>
    TestGateway.open({
      access: { create: { adapter: ['mcp.engineer'], tool: ['mcp.engineer'] }, images: rules },
    })
  const loader = { NODE_OPTIONS: '--import=data:text/javascript,globalThis.x=1' }

  test('the gateway refuses such variables by name, of adapters and tools', async () => {
    await using narrow = await open()
    const own = stopped({ environmentVariables: { REGION: 'eu' } })
    const refusal = {
      status: 403,
      body: {
        code: 'variable_not_allowed',
        detail: expect.stringMatching(/'NODE_OPTIONS'.*'scripted:1'/),
      },
    }
    const bad = { ...own, environmentVariables: loader }
    expect(await as(reader, 'POST', '/adapters', bad, narrow)).toMatchObject(refusal)
    expect((await as(reader, 'POST', '/adapters', own, narrow)).status).toBe(201)
    const path = `/adapters/${own.name}`
    expect(await as(reader, 'PUT', path, bad, narrow)).toMatchObject(refusal)
    const patch = { environmentVariables: loader }
    expect(await as(reader, 'PATCH', path, patch, narrow)).toMatchObject(refusal)
    const { endpoint: _, ...tool } = endpointTool() as { name: string; endpoint?: string }
    const workload = { ...tool, imageName: 'scripted', imageVersion: '1', replicaCount: 0 }
    expect(await as(reader, 'POST', '/tools', { ...workload, ...patch }, narrow)).toMatchObject(
      refusal,
    )
    expect((await as(reader, 'POST', '/tools', workload, narrow)).status).toBe(201)

    // A caller who may run every image sets any image, and the owner may still scale the adapter.
    expect((await as(admin, 'PATCH', path, patch, narrow)).status).toBe(200)
    expect((await as(reader, 'PATCH', path, { description: 'x' }, narrow)).status).toBe(200)
  })

  test('stored variables that rules forbid later withhold a workload with a reason', async () => {
    await using wide = await open([])
    const own = stopped({ replicaCount: 1, environmentVariables: { EXTRA: 'x' } })
    const byAdmin = stopped({ replicaCount: 1, environmentVariables: { EXTRA: 'x' } })
    expect((await as(engineer, 'POST', '/adapters', own, wide)).status).toBe(201)
    expect((await as(admin, 'POST', '/adapters', byAdmin, wide)).status).toBe(201)

    await wide.untilReady(own.name, 1, { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' })

    await using narrow = await wide.reopen({
      access: {
        create: { adapter: ['mcp.engineer'] },
        images: [
          { pattern: 'scripted:*', roles: ['*'] },
          { pattern: 'mcp-proxy:*', roles: ['platform'] },
        ],
      },
    })
    const conditions = async (name: string): Promise<unknown> =>
      (await as(admin, 'GET', `/adapters/${name}/status`, undefined, narrow)).body['conditions']
    await expect
      .poll(() => conditions(own.name))
      .toContainEqual(
        expect.objectContaining({
          type: 'Accepted',
          reason: 'VariableNotAllowed',
          message: expect.stringContaining("'EXTRA'"),
        }),
      )

    await narrow.untilReady(byAdmin.name, 1, { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' })

    // A caller who may choose all of it vouches for it by sending it again.
    const again = { environmentVariables: { EXTRA: 'x' } }
    expect((await as(admin, 'PATCH', `/adapters/${own.name}`, again, narrow)).status).toBe(200)

    await narrow.untilReady(own.name, 1, { 'x-dev-userid': 'root', 'x-dev-roles': 'mcp.admin' })
  })
})

test('the log line of a REST request names its caller and its adapter or tool', async () => {
  const name = `logged-${randomUUID().slice(0, 8)}`
  await as(engineer, 'POST', '/adapters', { name, imageName: 'scripted', imageVersion: '1' })
  await as(engineer, 'GET', `/adapters/${name}`)
  await as(reader, 'GET', '/adapters/not-there')
  await as(engineer, 'GET', '/tools/no-tool')
  const lineOf = (method: string, path: string): object | undefined =>
    gateway.log.find((line) => line['method'] === method && line['path'] === path)

  await expect.poll(() => lineOf('GET', '/tools/no-tool')).toBeDefined()
  expect(
    gateway.log.find(({ msg, adapter }) => msg === 'request' && adapter === name),
  ).toMatchObject({ method: 'POST', path: '/adapters', status: 201, principal: 'erin' })
  expect(lineOf('GET', `/adapters/${name}`)).toMatchObject({ principal: 'erin', adapter: name })
  expect(lineOf('GET', '/adapters/not-there')).toMatchObject({
    principal: 'rob',
    adapter: 'not-there',
    error: 'not_found',
  })
  expect(lineOf('GET', '/tools/no-tool')).toMatchObject({ principal: 'erin', tool: 'no-tool' })
})

test('a followed log ends when its reader loses the right, and continues for others', async () => {
  const talkative = {
    command: [process.execPath, '-e', "console.log('ready'); setInterval(() => undefined, 1000)"],
  }
  await using watched = await TestGateway.open({
    runtime: { images: { talkative } },
    proxy: { streamRecheckSeconds: 0.1 },
  })
  const at = (caller: Caller, method: string, path: string, body?: object): Promise<Answer> =>
    as(caller, method, path, body, watched)
  const keeper: Caller = { id: 'kim', roles: 'keepers' }
  const { name } = stopped()
  const running = { imageName: 'talkative', imageVersion: '1', ownerRoles: ['keepers', 'others'] }
  expect((await at(engineer, 'POST', '/adapters', { name, ...running })).status).toBe(201)

  const logs = `/adapters/${name}/logs`
  await expect.poll(async () => (await at(keeper, 'GET', logs)).body['text']).toBe('ready\n')

  const follow = ({ id, roles }: Caller): ReturnType<TestGateway['start']> =>
    watched.start(`${logs}?follow=true`, {
      method: 'GET',
      headers: { 'x-dev-userid': id, 'x-dev-roles': roles },
    })
  const [followed, kept] = await Promise.all([
    follow(keeper),
    follow({ id: 'ola', roles: 'others' }),
  ])
  expect([followed.statusCode, kept.statusCode]).toEqual([200, 200])

  expect(
    (await at(engineer, 'PATCH', `/adapters/${name}`, { ownerRoles: ['others'] })).status,
  ).toBe(200)
  // The log stream would not end by itself.
  expect((await readAnswer(followed)).whole).toBe(false)
  expect(kept.destroyed).toBe(false)

  kept.destroy()
})
