import { randomUUID } from 'node:crypto'
import { IdentityProvider } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange, type Sending } from '../fixtures/gateway.ts'
import { ElsewhereMember } from '../fixtures/elsewhere-member.ts'
import { adapterAt, serve, textOf } from '../fixtures/many-servers.ts'
import { modernRequest } from '../fixtures/mcp-requests.ts'

const audience = 'mcp-gateway'
let provider: IdentityProvider
let gateway: TestGateway
/** These two belong to one owner: an adapter that is open to everyone, and one that is not. */
let open = ''
let closed = ''
let tool = ''

const json = { 'content-type': 'application/json' }

beforeAll(async () => {
  provider = await IdentityProvider.start({
    shape: 'keycloak',
    audience,
    accounts: { owner: { roles: ['mcp.engineer'] }, stranger: { roles: ['other'] } },
  })
  gateway = await TestGateway.open({
    endpointNetworks: ['127.0.0.0/8'],
    identity: {
      mode: 'oidc',
      allowAnonymous: true,
      issuers: [{ preset: 'keycloak', issuer: provider.issuer, audiences: [audience] }],
    },
  })
  gateway.credentials = await bearer('owner')
  open = await gateway.register({ anonymous: true })
  closed = await gateway.register()
  tool = `t${randomUUID().slice(0, 8)}`
  const body = JSON.stringify({
    name: tool,
    endpoint: 'http://127.0.0.1:9/',
    toolDefinition: { tool: { name: tool } },
  })
  expect(
    (await gateway.send('/tools', { headers: { ...json, ...gateway.credentials }, body })).status,
  ).toBe(201)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

async function bearer(account: string): Promise<Record<string, string>> {
  return { authorization: `Bearer ${await provider.token(account)}` }
}

/** Sends an id of the test, because ids of the gateway differ in length. */
const send = (path: string, sending: Sending): Promise<Exchange> =>
  gateway.send(path, { ...sending, headers: { ...sending.headers, 'x-request-id': 'the-request' } })

/** The part of an answer that must be equal in all refusals. */
function refusalOf({ status, headers, body }: Exchange): unknown {
  const { date: _date, 'www-authenticate': challenge, ...others } = headers
  return {
    status,
    others,
    challenge: String(challenge).replaceAll(/\/(adapters|tools)\/[^/"]+/g, '/$1/{name}'),
    body: body.toString(),
  }
}

describe('an adapter that is open to the anonymous caller', () => {
  test('an open adapter serves callers with good credentials or none', async () => {
    const use = (headers: Record<string, string>): Promise<Exchange> =>
      gateway.mcp(open, 'do=status&status=200', { headers, body: '{}' })
    expect((await use({})).status).toBe(200)
    expect((await use(await bearer('stranger'))).status).toBe(200)
    expect((await use({ authorization: 'Bearer bad' })).status).toBe(401)
    expect((await use({ authorization: 'Basic YTpi' })).status).toBe(401)
  })

  test('an open adapter learns that nobody calls, whatever the client says', async () => {
    const tag = randomUUID()
    await gateway.mcp(open, `do=echo&tag=${tag}`, {
      headers: { 'x-mcp-userid': 'root', 'x-mcp-roles': 'mcp.admin', 'x-dev-userid': 'root' },
      body: '{}',
    })
    const { rawHeaders } = gateway.received(tag)
    const told = Object.fromEntries(
      rawHeaders.flatMap((name, index) =>
        index % 2 === 0 && /^x-/i.test(name) ? [[name.toLowerCase(), rawHeaders[index + 1]]] : [],
      ),
    )
    expect([told['x-mcp-userid'] ?? '', told['x-mcp-roles'] ?? '', told['x-dev-userid']]).toEqual([
      '',
      '',
      undefined,
    ])
  })

  test('an anonymous session is good for whoever got its id, and for nobody else', async () => {
    const session = String(
      (await gateway.mcp(open, 'do=initialize', { body: '{}' })).headers['mcp-session-id'],
    )
    const goOn = (id: string, headers: Record<string, string> = {}): Promise<Exchange> =>
      gateway.mcp(open, 'do=echo', { headers: { ...headers, 'mcp-session-id': id }, body: '{}' })
    expect((await goOn(session)).status).toBe(200)
    expect((await goOn(session, await bearer('stranger'))).status).toBe(404)
    const strangers = await gateway.mcp(open, 'do=initialize', {
      headers: await bearer('stranger'),
      body: '{}',
    })
    expect((await goOn(String(strangers.headers['mcp-session-id']))).status).toBe(404)
  })

  test('an open adapter stays hidden from named callers who may not read it', async () => {
    const headers = await bearer('stranger')
    expect((await gateway.send(`/adapters/${open}`, { method: 'GET', headers })).status).toBe(404)
    const { body } = await gateway.send('/adapters', { method: 'GET', headers })
    expect(JSON.parse(body.toString())).toEqual([])
  })
})

describe('everything else gives the anonymous caller the same 401', () => {
  const path =
    (kind: 'adapters' | 'tools', rest = '') =>
    (name: string) =>
      `/${kind}/${name}${rest}`
  const one: readonly (readonly [string, (name: string) => string, Sending])[] = (
    ['adapters', 'tools'] as const
  ).flatMap((kind) => [
    [`GET /${kind}/{name}`, path(kind), { method: 'GET' }],
    [`GET /${kind}/{name}/status`, path(kind, '/status'), { method: 'GET' }],
    [`GET /${kind}/{name}/logs`, path(kind, '/logs'), { method: 'GET' }],
    [`GET /${kind}/{name}/logs?tail=x`, path(kind, '/logs?tail=x'), { method: 'GET' }],
    [`PUT /${kind}/{name}`, path(kind), { method: 'PUT', headers: json, body: '{}' }],
    [
      `PATCH /${kind}/{name}`,
      path(kind),
      {
        method: 'PATCH',
        headers: { 'content-type': 'application/merge-patch+json' },
        body: '{"description":"x"}',
      },
    ],
    [
      `PUT /${kind}/{name}/owner`,
      path(kind, '/owner'),
      { method: 'PUT', headers: json, body: '{"id":"me"}' },
    ],
    [
      `PUT /${kind}/{name}/offer`,
      path(kind, '/offer'),
      { method: 'PUT', headers: json, body: '{"id":"me"}' },
    ],
    [`DELETE /${kind}/{name}/offer`, path(kind, '/offer'), { method: 'DELETE' }],
    [`DELETE /${kind}/{name}`, path(kind), { method: 'DELETE' }],
    [
      `DELETE /${kind}/{name} with If-Match`,
      path(kind),
      { method: 'DELETE', headers: { 'if-match': '"x-1"' } },
    ],
  ])
  const mcp: typeof one = ['POST', 'GET', 'DELETE', 'PUT'].map((method) => [
    `${method} /adapters/{name}/mcp`,
    path('adapters', '/mcp'),
    {
      method,
      headers: json,
      ...(method === 'POST' ? { body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' } : {}),
    },
  ])

  test.each(one)(
    'the anonymous caller gets a 401 for %s, existing or not',
    async (route, at, sending) => {
      const there = route.includes('/tools') ? tool : closed
      const answers = await Promise.all(
        [there, ...(route.includes('/tools') ? [] : [open]), 'never-made'].map((name) =>
          send(at(name), sending),
        ),
      )
      for (const answer of answers) {
        expect([answer.status, answer.headers['www-authenticate']]).toEqual([
          401,
          expect.stringContaining('resource_metadata='),
        ])
        expect(refusalOf(answer)).toEqual(refusalOf(answers[0] as Exchange))
      }
    },
  )

  test.each(mcp)(
    'the anonymous caller gets a 401 for %s, existing or not',
    async (_, at, sending) => {
      const [hidden, missing, ofTool] = await Promise.all(
        [closed, 'never-made', tool].map((name) => send(at(name), sending)),
      )
      expect([hidden?.status, hidden?.headers['www-authenticate']]).toEqual([
        401,
        expect.stringContaining('resource_metadata='),
      ])
      expect(refusalOf(missing as Exchange)).toEqual(refusalOf(hidden as Exchange))
      expect(refusalOf(ofTool as Exchange)).toEqual(refusalOf(hidden as Exchange))
    },
  )

  test.each<[string, string, Sending]>([
    ['GET /adapters', '/adapters', { method: 'GET' }],
    ['GET /tools', '/tools', { method: 'GET' }],
    ['GET /api-keys', '/api-keys', { method: 'GET' }],
    [
      'POST /adapters',
      '/adapters',
      { headers: json, body: '{"name":"x","imageName":"scripted","imageVersion":"1"}' },
    ],
    ['POST /adapters of what is no JSON', '/adapters', { headers: json, body: '{' }],
    ['POST /tools', '/tools', { headers: json, body: '{}' }],
    ['POST /api-keys', '/api-keys', { headers: json, body: '{}' }],
    ['POST /mcp', '/mcp', modernRequest('tools/list', {})],
    ['GET /mcp', '/mcp', { method: 'GET' }],
  ])('the anonymous caller gets a 401 for %s', async (_, at, sending) => {
    const answer = await gateway.send(at, sending)
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([
      401,
      expect.stringContaining('resource_metadata='),
    ])
  })
})

test('an adapter opens only where the configuration lets anonymous callers in', async () => {
  await using known = await TestGateway.open()
  const register = (anonymous: unknown) =>
    known.send('/adapters', {
      headers: json,
      body: JSON.stringify({
        name: `a${randomUUID().slice(0, 8)}`,
        imageName: 'scripted',
        imageVersion: '1',
        replicaCount: 0,
        anonymous,
      }),
    })
  const refused = await register(true)
  expect([
    refused.status,
    (JSON.parse(refused.body.toString()) as { errors: unknown }).errors,
  ]).toEqual([
    400,
    [
      {
        pointer: '/anonymous',
        code: 'anonymous_not_allowed',
        detail: expect.stringContaining('identity.allowAnonymous'),
      },
    ],
  ])
  expect((await register(false)).status).toBe(201)
})

test('an adapter closes again at once', async () => {
  const name = await gateway.register({ anonymous: true })
  const use = async (): Promise<number> =>
    (await gateway.mcp(name, 'do=status&status=200', { body: '{}' })).status
  expect(await use()).toBe(200)
  await gateway.patch(name, { anonymous: null })
  await expect.poll(use).toBe(401)
})

test('an adapter that is open to everyone is open in a virtual server, too', async () => {
  await using member = await ElsewhereMember.start({
    tools: [{ name: 'run' }],
    resources: [{ uri: 'file:///x', name: 'x' }],
  })
  const more = { requiredRoles: ['boss'], anonymous: true }
  const adapter = await adapterAt(gateway, member.endpoint, more)
  const members = [{ adapter, alias: 'a' }]
  const server = await serve(gateway, members, { requiredRoles: ['other'] })
  const stranger = await bearer('stranger')
  await expect.poll(() => server.names(stranger)).toEqual(['a_run'])
  const called = await server.ask('tools/call', { name: 'a_run' }, stranger)
  expect(textOf(called)).toBe('did run')
  const read = await server.ask('resources/read', { uri: 'a+file:///x' }, stranger)
  expect(read.message.result).toBeDefined()
})
