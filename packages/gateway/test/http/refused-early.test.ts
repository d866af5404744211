import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

let gateway: TestGateway
const engineer = { 'x-dev-userid': 'erin', 'x-dev-roles': 'mcp.engineer' }
const stranger = { 'x-dev-userid': 'stan', 'x-dev-roles': 'team' }
const json = { 'content-type': 'application/json' }
const merge = { 'content-type': 'application/merge-patch+json' }

beforeAll(async () => {
  gateway = await TestGateway.open({
    access: { create: { adapter: ['mcp.engineer'], tool: ['mcp.engineer'] } },
  })
  for (const [path, body] of [
    ['/adapters', { name: 'hidden', imageName: 'scripted', imageVersion: '1', replicaCount: 0 }],
    ['/adapters', shared],
    ['/secrets', { name: 'hidden-secret', value: 'x' }],
  ] as const)
    expect(
      (await gateway.send(path, { headers: { ...engineer, ...json }, body: JSON.stringify(body) }))
        .status,
    ).toBe(201)
})
afterAll(() => gateway[Symbol.asyncDispose]())

const shared = {
  name: 'shared',
  imageName: 'scripted',
  imageVersion: '1',
  replicaCount: 0,
  requiredRoles: ['team'],
}

/** Gives the answer to a request that announces a body and never sends it. */
function announce(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      new URL(path, gateway.origin),
      { method, headers: { ...headers, 'content-length': '1000000' } },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => {
          sent.destroy()
          const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
          resolve({ status: answer.statusCode ?? 0, body })
        })
      },
    )
    sent.on('error', reject)
    sent.flushHeaders()
  })
}

describe('a body that the gateway does not read', () => {
  test.each([
    ['POST', '/adapters', json, 403],
    ['POST', '/tools', json, 403],
    ['POST', '/secrets', json, 403],
    ['PUT', '/adapters/shared', json, 403],
    ['PATCH', '/adapters/shared', merge, 403],
    ['PUT', '/adapters/hidden', json, 404],
    ['PATCH', '/adapters/hidden', merge, 404],
    ['PUT', '/adapters/hidden/owner', json, 404],
    ['PUT', '/adapters/hidden/offer', json, 404],
    ['PUT', '/tools/hidden', json, 404],
    ['PUT', '/secrets/hidden-secret', json, 404],
    ['PATCH', '/secrets/hidden-secret', merge, 404],
    ['PATCH', '/api-keys/0123456789abcdef', merge, 404],
  ])(
    'the gateway reads no body of %s %s by a caller without the right',
    async (method, path, type, status) => {
      expect((await announce(method, path, { ...stranger, ...type })).status).toBe(status)
    },
  )

  test.each([
    ['PUT', '/adapters/%s', json],
    ['PATCH', '/adapters/%s', merge],
    ['PUT', '/secrets/%s', json],
    ['PATCH', '/secrets/%s', merge],
  ])(
    'the gateway reads no body of %s %s, and answers hidden and missing alike',
    async (method, path, type) => {
      const at = async (name: string): Promise<object> => {
        const { status, body } = await announce(method, path.replace('%s', name), {
          ...stranger,
          ...type,
        })
        const { requestId: _id, ...rest } = body
        return { status, rest }
      }
      const hidden = path.includes('secrets') ? 'hidden-secret' : 'hidden'
      expect(await at(hidden)).toEqual(await at('never-made'))
    },
  )

  test('the gateway reads no body of an API key that asks for another key', async () => {
    const made = await gateway.send('/api-keys', {
      headers: { ...engineer, ...json },
      body: JSON.stringify({ name: 'k' }),
    })
    const { key, id } = JSON.parse(made.body.toString()) as { key: string; id: string }
    const authorization = `Bearer ${key}`
    expect((await announce('POST', '/api-keys', { authorization, ...json })).status).toBe(403)
    const path = `/api-keys/${id}`
    expect((await announce('PATCH', path, { authorization, ...merge })).status).toBe(403)
  })
})

describe('bounds for callers who may create', () => {
  const create = (path: string, body: string): ReturnType<TestGateway['send']> =>
    gateway.send(path, { headers: { ...engineer, ...json }, body })
  const codes = (body: Buffer): unknown[] =>
    (JSON.parse(body.toString()) as { errors: { code: string }[] }).errors.map(({ code }) => code)

  test('ninety thousand variables bring one mistake', async () => {
    const variables = Array.from({ length: 90_000 }, (_, index) => `"V${index}":""`)
    const body =
      '{"name":"many","imageName":"scripted","imageVersion":"1",' +
      `"environmentVariables":{${variables.join(',')}}}`
    const refused = await create('/adapters', body)
    expect([refused.status, codes(refused.body)]).toEqual([400, ['too_many_members']])
  })

  test.each([
    ['/adapters', 2 * 1024 * 1024],
    ['/tools', 2 * 1024 * 1024],
    ['/api-keys', 256 * 1024],
  ])('a body for %s has a bounded length', async (path, most) => {
    const fitting = await create(path, `{"x":"${'x'.repeat(most - 8)}"}`)
    expect(fitting.status).toBe(400)
    const longer = await create(path, `{"x":"${'x'.repeat(most - 7)}"}`)
    expect(longer.status).toBe(413)
  })

  test('a resource has at most a thousand variables', async () => {
    const adapter = (count: number): string =>
      JSON.stringify({
        name: `v${randomUUID().slice(0, 8)}`,
        imageName: 'scripted',
        imageVersion: '1',
        replicaCount: 0,
        environmentVariables: Object.fromEntries(
          Array.from({ length: count }, (_, index) => [`V${index}`, '']),
        ),
      })
    expect((await create('/adapters', adapter(1000))).status).toBe(201)
    const refused = await create('/adapters', adapter(1001))
    expect([refused.status, codes(refused.body)]).toEqual([400, ['custom']])
  })

  test.each([
    ['a number that is too big', '{"name":"a","replicaCount":1e999}'],
    ['deep nesting', `{"name":${'['.repeat(90_000)}${']'.repeat(90_000)}}`],
    ['a long name of an image', `{"name":"a","imageName":"${'a-'.repeat(500_000)}!"}`],
    ['a long name', `{"name":"${'a-'.repeat(500_000)}"}`],
    ['a long role', `{"name":"a","requiredRoles":["${' '.repeat(1_000_000)}a"]}`],
  ])('the gateway answers 400 for %s', async (_, body) => {
    expect((await create('/adapters', body)).status).toBe(400)
  })
})

describe('the right to create secrets and API keys', () => {
  test('a secret needs the right to create what uses it', async () => {
    const body = JSON.stringify({ name: `s${randomUUID().slice(0, 8)}`, value: 'x' })
    const refused = await gateway.send('/secrets', { headers: { ...stranger, ...json }, body })
    expect([refused.status, JSON.parse(refused.body.toString())]).toEqual([
      403,
      expect.objectContaining({
        code: 'forbidden',
        detail: expect.stringContaining('mcp.engineer'),
      }),
    ])
    const made = await gateway.send('/secrets', { headers: { ...engineer, ...json }, body })
    expect(made.status).toBe(201)
  })

  test('a secret or API key needs the roles that the configuration names', async () => {
    await using strict = await TestGateway.open({
      access: { create: { secret: ['keeper'], apiKey: ['robot-maker'] } },
    })
    const outcome = async (path: string, roles: string): Promise<number> =>
      (
        await strict.send(path, {
          headers: { 'x-dev-userid': 'kim', 'x-dev-roles': roles, ...json },
          body: JSON.stringify({ name: `s${randomUUID().slice(0, 8)}`, value: 'x' }),
        })
      ).status
    expect([
      await outcome('/secrets', 'mcp.engineer'),
      await outcome('/secrets', 'keeper'),
      await outcome('/api-keys', 'keeper'),
      await outcome('/api-keys', 'robot-maker'),
      await outcome('/api-keys', 'mcp.admin'),
    ]).toEqual([403, 201, 403, 201, 201])
  })
})

test('the document of the API is the same bytes for everybody', async () => {
  const get = (path: string): ReturnType<TestGateway['send']> =>
    gateway.send(path, { method: 'GET' })
  const [one, two] = [await get('/openapi.json'), await get('/openapi.json')]
  expect(one.status).toBe(200)
  expect(one.headers['content-type']).toMatch(/^application\/json/)
  expect(one.body.equals(two.body)).toBe(true)
  expect((await get('/docs')).body.toString()).toContain('<!doctype html>')
})
