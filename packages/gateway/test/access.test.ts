import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from './fixtures/gateway.ts'

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

async function as({ id, roles }: Caller, method: string, path: string, body?: object): Promise<Answer> {
  const answer = await gateway.send(path, {
    method,
    headers: {
      'x-dev-userid': id,
      'x-dev-roles': roles,
      ...(body === undefined ? {} : { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return { status: answer.status, body: (text.startsWith('{') ? JSON.parse(text) : { text }) as Answer['body'] }
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
  return { name, endpoint: 'http://127.0.0.1:9/score', toolDefinition: { tool: { name: `${name}_tool` } } }
}

describe('creating (A9)', () => {
  test.each(['adapters', 'tools'])('%s needs a role of access.create', async (kind) => {
    const body = kind === 'tools' ? endpointTool() : stopped()
    const refused = await as(reader, 'POST', `/${kind}`, body)
    expect(refused).toMatchObject({ status: 403, body: { code: 'forbidden', detail: expect.stringContaining('mcp.engineer') } })
    expect((await as(admin, 'GET', `/${kind}/${body.name}`)).status).toBe(404)
    expect((await as(engineer, 'POST', `/${kind}`, body)).status).toBe(201)
    expect((await as(admin, 'POST', `/${kind}`, kind === 'tools' ? endpointTool() : stopped())).status).toBe(201)
  })

  test('is refused before it is told whether a name is taken (A21)', async () => {
    const { name } = stopped()
    expect((await as(engineer, 'POST', '/adapters', stopped({ name }))).status).toBe(201)
    const free = await as(reader, 'POST', '/adapters', stopped({ name: 'never-made' }))
    const taken = await as(reader, 'POST', '/adapters', stopped({ name }))
    const { requestId: _free, ...freeBody } = free.body
    const { requestId: _taken, ...takenBody } = taken.body
    expect([taken.status, takenBody]).toEqual([free.status, freeBody])
  })

  test('an image that a rule names needs a role of that rule instead, also when an update brings the image', async () => {
    expect((await as(engineer, 'POST', '/adapters', stopped({ imageVersion: '9.1' }))).status).toBe(403)
    expect((await as(releaser, 'POST', '/adapters', stopped())).status).toBe(403)
    const released = stopped({ imageVersion: '9.1' })
    expect((await as(releaser, 'POST', '/adapters', released)).status).toBe(201)

    const own = stopped()
    await as(engineer, 'POST', '/adapters', own)
    for (const [method, body] of [
      ['PATCH', { imageVersion: '9.2' }],
      ['PUT', { ...own, imageVersion: '9.2' }],
    ] as const)
      expect(await as(engineer, method, `/adapters/${own.name}`, body)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    expect((await as(engineer, 'GET', `/adapters/${own.name}`)).body['imageVersion']).toBe('1')
    expect((await as(engineer, 'PATCH', `/adapters/${own.name}`, { imageVersion: '2' })).status).toBe(200)
  })

  test('whoever has lost the role may not change what runs, and may change the rest and remove it', async () => {
    const own = stopped()
    await as(engineer, 'POST', '/adapters', own)
    const former = { ...engineer, roles: '' }
    expect((await as(former, 'PATCH', `/adapters/${own.name}`, { imageName: 'mcp-proxy' })).status).toBe(403)
    expect((await as(former, 'PATCH', `/adapters/${own.name}`, { environmentVariables: { MCP_COMMAND: 'sh' } })).status).toBe(403)
    expect((await as(former, 'PATCH', `/adapters/${own.name}`, { description: 'new', requiredRoles: ['team'] })).status).toBe(200)
    expect((await as(former, 'DELETE', `/adapters/${own.name}`)).status).toBe(204)

    const tool = endpointTool()
    await as(engineer, 'POST', '/tools', tool)
    expect((await as(former, 'PATCH', `/tools/${tool.name}`, { endpoint: 'http://127.0.0.1:10/' })).status).toBe(403)
    expect((await as(former, 'PATCH', `/tools/${tool.name}`, { description: 'new' })).status).toBe(200)
  })
})

describe('logs (A13)', () => {
  test('need the right to write, and only the right to read where the configuration says so', async () => {
    const own = stopped({ requiredRoles: ['team'], replicaCount: 1 })
    await as(engineer, 'POST', '/adapters', own)
    await gateway.untilReady(own.name, 1, { 'x-dev-roles': 'mcp.admin' })
    expect((await as(reader, 'GET', `/adapters/${own.name}/logs`)).status).toBe(403)
    expect((await as(engineer, 'GET', `/adapters/${own.name}/logs`)).status).toBe(200)

    await using open = await TestGateway.open({ access: { logs: 'read' } })
    const name = await open.register({ requiredRoles: ['team'] })
    const logs = (roles: string): ReturnType<TestGateway['send']> =>
      open.send(`/adapters/${name}/logs`, { method: 'GET', headers: { 'x-dev-userid': 'rob', 'x-dev-roles': roles } })
    expect((await logs('team')).status).toBe(200)
    expect((await logs('other')).status).toBe(404)
  })
})
