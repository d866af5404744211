import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { initialize, modernRequest } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

const headers = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
}
const modernServer = (tag: string): Promise<string> =>
  gateway.register({ environmentVariables: { DO: 'modern', TAG: tag } })

describe('a legacy client of a modern server', () => {
  test.each([
    ['no JSON', initialize.slice(0, -1)],
    ['JSON and more', `${initialize}x`],
    ['parameters that are no JSON', initialize.replace('{"name":"c"', '{"name":c')],
  ])('a legacy client of a modern server learns that its initialize is %s', async (_what, body) => {
    const adapter = await modernServer('malformed')
    // A first session tells the gateway the era of the server.
    expect((await gateway.mcp(adapter, '', { headers, body: initialize })).status).toBe(200)
    const answer = await gateway.mcp(adapter, '', { headers, body })
    expect([answer.status, answer.body.toString()]).toEqual([
      400,
      expect.stringContaining('"code":"invalid_json"'),
    ])
    expect(answer.headers).not.toHaveProperty('mcp-session-id')
  })

  test('a legacy client’s stream ends with its adapter, and its state is freed', async () => {
    const removed = await modernServer('removed')
    const opened = await gateway.mcp(removed, '', { headers, body: initialize })
    const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const stream = await gateway.start(`/adapters/${removed}/mcp`, {
      method: 'GET',
      headers: { ...headers, ...session },
    })
    const over = new Promise((resolve) => stream.resume().once('close', resolve))
    await gateway.send(`/adapters/${removed}`, { method: 'DELETE' })
    expect(await Promise.race([over.then(() => 'over'), sleep(15_000, 'open')])).toBe('over')
    expect(
      (await gateway.mcp(removed, '', { headers: { ...headers, ...session }, body: initialize }))
        .status,
    ).toBe(404)
  })
})

test('an initialize that the server rightly refuses turns on no translation', async () => {
  const tag = 'dual'
  const adapter = await gateway.register({ environmentVariables: { DO: 'dual', TAG: tag } })
  const wrong = { headers: { ...headers, accept: 'text/html' }, body: initialize }
  for (let time = 0; time < 3; time += 1)
    expect((await gateway.mcp(adapter, '', wrong)).status).toBe(406)

  const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
  expect(opened.body.toString()).toContain('"name":"legacy"')
  const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const listed = await gateway.mcp(adapter, '', {
    headers: { ...headers, ...session },
    body: '{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
  })
  expect(listed.body.toString()).toContain('"anything"')

  const asked = gateway.events(tag).map(({ method, body }) => {
    const text = Buffer.from(body ?? '', 'base64').toString()
    return method === 'POST' ? /"method":"([^"]+)"/.exec(text)?.[1] : method
  })
  expect(asked.filter((what) => what === 'server/discover')).toHaveLength(1)
  // Three refusals, one question of the gateway, and one success: the gateway sends no client
  // twice.
  expect(asked.filter((what) => what === 'initialize')).toHaveLength(5)
  expect(asked.filter((what) => what === 'DELETE')).toHaveLength(1)
})

test('sessions of a translated server end when it is restarted, though nobody calls', async () => {
  const adapter = await modernServer('restarted')
  const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
  const session = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
  const stream = await gateway.start(`/adapters/${adapter}/mcp`, {
    method: 'GET',
    headers: session,
  })
  const over = new Promise((resolve) => stream.resume().once('close', () => resolve('over')))

  const restarted = await gateway.send(`/adapters/${adapter}/restart`, { method: 'POST' })
  expect(restarted.status).toBe(202)
  expect(await Promise.race([over, sleep(15_000, 'open')])).toBe('over')
  const ping = '{"jsonrpc":"2.0","id":2,"method":"ping"}'
  expect((await gateway.mcp(adapter, '', { headers: session, body: ping })).status).toBe(404)
})

describe('a server that answers 400 for sessions that it has lost', () => {
  const rpc = (method: string): string => `{"jsonrpc":"2.0","id":2,"method":"${method}"}`

  test('legacy clients get 404 for a lost session, and other bad requests pass', async () => {
    const adapter = await gateway.register({ environmentVariables: { DO: 'forgetful' } })
    const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
    const session = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const ask = (method: string) =>
      gateway.mcp(adapter, '', { headers: session, body: rpc(method) })
    expect((await ask('tools/list')).status).toBe(200)
    const bad = await ask('bad')
    expect([bad.status, bad.body.toString()]).toEqual([400, expect.stringContaining('-32000')])
    expect((await ask('tools/list')).status).toBe(200)

    await gateway.mcp(adapter, 'do=forget')
    const lost = await ask('tools/list')
    expect([lost.status, lost.body.toString()]).toEqual([
      404,
      expect.stringContaining('"code":"session_not_found"'),
    ])
  })

  test('modern clients are served again by a new session', async () => {
    const adapter = await gateway.register({ environmentVariables: { DO: 'forgetful' } })
    const ask = async () =>
      (
        await gateway.mcp(adapter, '', modernRequest('tools/call', { name: 'x', arguments: {} }))
      ).body.toString()
    expect(await ask()).toContain('done')
    await gateway.mcp(adapter, 'do=forget')
    expect(await ask()).toContain('done')
  })

  test('modern clients are served again by the server’s next replica', async () => {
    const adapter = await gateway.register({ environmentVariables: { DO: 'forgetful' } })
    const ask = async () =>
      (
        await gateway.mcp(adapter, '', modernRequest('tools/call', { name: 'x', arguments: {} }))
      ).body.toString()
    expect(await ask()).toContain('done')
    await gateway.restart(adapter)

    expect(await ask()).toContain('done')
  })
})

describe('an initialize that is answered without a session', () => {
  const callTool =
    '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x","arguments":{}}}'

  test.each(['refusesInEvent', 'refusesInSession', 'refusesAfterwards'])(
    'an initialize is translated when the server speaks the modern era alone (%s)',
    async (behaviour) => {
      const adapter = await gateway.register({ environmentVariables: { DO: behaviour } })
      const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
      expect(opened.body.toString()).toContain('"name":"modern"')
      const session = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
      const called = await gateway.mcp(adapter, '', { headers: session, body: callTool })
      expect(called.body.toString()).toContain('done')
    },
  )

  test('an initialize is translated when only the modern side can ask clients', async () => {
    const tag = 'stateless'
    const adapter = await gateway.register({ environmentVariables: { DO: 'stateless', TAG: tag } })
    const asked = (): (string | undefined)[] =>
      gateway
        .events(tag)
        .filter(({ method }) => method === 'POST')
        .map(({ body }) => /"method":"([^"]+)"/.exec(Buffer.from(body ?? '', 'base64').toString()))
        .map((found) => found?.[1])

    const first = await gateway.mcp(adapter, '', { headers, body: initialize })
    expect(first.body.toString()).toContain('"name":"modern"')
    expect(first.headers).toHaveProperty('mcp-session-id')
    // The client's own request, the gateway's two questions in one round trip, and the translated
    // session.
    expect(asked().toSorted((a = '', b = '') => a.localeCompare(b))).toEqual([
      'initialize',
      'initialize',
      'server/discover',
      'server/discover',
    ])

    const second = await gateway.mcp(adapter, '', { headers, body: initialize })
    expect(second.body.toString()).toContain('"name":"modern"')
    expect(asked().slice(4)).toEqual(['server/discover'])
  })

  test('the gateway asks both questions about the era in one round trip', async () => {
    const adapter = await gateway.register({ environmentVariables: { DO: 'statelessPaired' } })
    const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
    expect(opened.body.toString()).toContain('"name":"modern"')
  })

  test('an initialize goes to a stateless legacy side where legacyLeg says so', async () => {
    const tag = 'passthrough'
    const adapter = await gateway.register({
      legacyLeg: 'passthrough',
      environmentVariables: { DO: 'stateless', TAG: tag },
    })
    for (let time = 0; time < 2; time += 1) {
      const opened = await gateway.mcp(adapter, '', { headers, body: initialize })
      expect(opened.body.toString()).toContain('"name":"legacy"')
      expect(opened.headers).not.toHaveProperty('mcp-session-id')
    }
    // The first client, three questions of the gateway, and the second client.
    expect(gateway.events(tag).filter(({ method }) => method === 'POST')).toHaveLength(5)
  })

  test('an initialize goes to a server of the legacy era alone, after one probe', async () => {
    const tag = 'legacy-stateless'
    const adapter = await gateway.register({ environmentVariables: { DO: 'legacy', TAG: tag } })
    for (let time = 0; time < 2; time += 1)
      expect((await gateway.mcp(adapter, '', { headers, body: initialize })).status).toBe(200)
    expect(gateway.events(tag).filter(({ method }) => method === 'POST')).toHaveLength(4)
  })
})
