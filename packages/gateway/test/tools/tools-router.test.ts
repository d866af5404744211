import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { freePort, IdentityProvider } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { messagesOf, modern, modernRequest } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open({ tools: { pageSize: 3, maxListenersPerCaller: 2 } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

const alice = { 'x-dev-userid': 'alice' }
const bob = { 'x-dev-userid': 'bob' }

async function api(
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = alice,
): Promise<number> {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const { status } = await gateway.send(path, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': type }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return status
}

async function register(
  name: string,
  more: object = {},
  toolName = name,
  headers = alice,
): Promise<void> {
  const body = {
    name,
    endpoint: 'http://127.0.0.1:9/',
    toolDefinition: { tool: { name: toolName } },
    ...more,
  }
  expect(await api('POST', '/tools', body, headers)).toBe(201)
}

async function page(
  cursor: unknown,
  headers = alice,
): Promise<{ names: string[]; next: unknown; error: unknown; result: unknown }> {
  const { message } = await modern(gateway, 'tools/list', cursor === undefined ? {} : { cursor }, {
    headers,
  })
  const tools = (message.result?.['tools'] ?? []) as { name: string }[]
  return {
    names: tools.map(({ name }) => name),
    next: message.result?.['nextCursor'],
    error: message.error,
    result: message.result,
  }
}

async function names(headers = alice): Promise<string[]> {
  const all: string[] = []
  let cursor: unknown
  do {
    const { names: some, next } = await page(cursor, headers)
    all.push(...some)
    cursor = next
  } while (cursor !== undefined)
  return all
}

/** An open answer of the gateway, and its messages so far. */
class Stream {
  readonly response: IncomingMessage
  #text = ''
  ended = false

  constructor(response: IncomingMessage) {
    this.response = response
    response.setEncoding('utf8').on('data', (part: string) => (this.#text += part))
    response.on('close', () => (this.ended = true))
    response.on('error', () => undefined)
  }

  get messages(): Record<string, unknown>[] {
    return messagesOf(this.#text, 'text/event-stream')
  }

  count(method: string): number {
    return this.messages.filter((message) => message['method'] === method).length
  }
}

async function listen(
  headers: Readonly<Record<string, string>>,
  notifications: object = { toolsListChanged: true },
): Promise<Stream> {
  const request = modernRequest('subscriptions/listen', { notifications })
  return new Stream(
    await gateway.start('/mcp', {
      headers: { ...request.headers, ...headers },
      body: request.body,
    }),
  )
}

const listChanged = 'notifications/tools/list_changed'

describe('the list of tools', () => {
  test('the list is in order of names, paged, and continues after deletions', async () => {
    for (const name of ['m5', 'm1', 'm4', 'm2', 'm3', 'm7', 'm6'])
      await register(name, {}, name.toUpperCase())
    const first = await page(undefined)
    expect(first.names).toEqual(['M1', 'M2', 'M3'])
    expect(first.result).toMatchObject({
      resultType: 'complete',
      ttlMs: 0,
      cacheScope: 'private',
      _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'mcp-gateway' } },
    })
    await api('DELETE', '/tools/m3')
    await register('m3b', {}, 'M35')
    expect((await page(first.next)).names).toEqual(['M35', 'M4', 'M5'])
    expect(await names()).toEqual(['M1', 'M2', 'M35', 'M4', 'M5', 'M6', 'M7'])
    for (const cursor of ['', '!', 5, 'AAAA'])
      expect((await page(cursor)).error).toMatchObject({ code: -32602 })
    for (const name of ['m1', 'm2', 'm3b', 'm4', 'm5', 'm6', 'm7'])
      await api('DELETE', `/tools/${name}`)
    expect(await names()).toEqual([])
  })

  test('the list shows each caller what it may use, and follows roles and names', async () => {
    await register('secret', { requiredRoles: ['chef'] })
    const chef = { ...bob, 'x-dev-roles': 'Chef' }
    expect([await names(), await names(bob), await names(chef)]).toEqual([
      ['secret'],
      [],
      ['secret'],
    ])
    await api('PATCH', '/tools/secret', { requiredRoles: ['baker'] })
    expect(await names(chef)).toEqual([])
    await api('PATCH', '/tools/secret', {
      toolDefinition: { tool: { name: 'renamed', title: 'T' } },
    })
    expect(await names()).toEqual(['renamed'])
    await register('other', {}, 'secret')
    expect(await names()).toEqual(['renamed', 'secret'])
    expect(await api('DELETE', '/tools/secret')).toBe(204)
    expect(await names()).toEqual(['secret'])
    expect(await api('DELETE', '/tools/other')).toBe(204)
  })
})

describe('a listen stream', () => {
  test('a listen stream is acknowledged first, and hears of visible changes alone', async () => {
    const [hers, his] = [await listen(alice), await listen(bob)]
    await expect
      .poll(() => hers.messages[0])
      .toEqual({
        jsonrpc: '2.0',
        method: 'notifications/subscriptions/acknowledged',
        params: {
          notifications: { toolsListChanged: true },
          _meta: { 'io.modelcontextprotocol/subscriptionId': 7 },
        },
      })

    await register('heard')
    await expect.poll(() => hers.count(listChanged)).toBe(1)
    expect(hers.messages.at(-1)).toEqual({
      jsonrpc: '2.0',
      method: listChanged,
      params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 7 } },
    })

    await api('PATCH', '/tools/heard', { toolDefinition: { tool: { description: 'new' } } })
    await expect.poll(() => hers.count(listChanged)).toBe(2)

    const told = hers.count(listChanged)
    // A change that no list shows is not a change of the list.
    await api('PATCH', '/tools/heard', { description: 'for people' })
    await api('PATCH', '/tools/heard', { requiredRoles: ['mcp.dev'] })
    await expect.poll(() => his.count(listChanged)).toBe(1)
    expect(hers.count(listChanged)).toBe(told)

    await api('DELETE', '/tools/heard')
    await expect.poll(() => his.count(listChanged)).toBe(2)

    hers.response.destroy()
    his.response.destroy()
  })

  test('a listen stream says what of its filter is honoured', async () => {
    const stream = await listen(alice, { promptsListChanged: true, resourceSubscriptions: ['a:b'] })
    await expect
      .poll(() => stream.messages[0])
      .toHaveProperty('params.notifications', { promptsListChanged: true })
    stream.response.destroy()
  })

  test('a caller may have a bounded number of listen streams', async () => {
    // The streams of earlier tests are gone once the gateway has seen their disconnect.
    const carol = { 'x-dev-userid': 'carol' }
    const streams = [await listen(carol), await listen(carol)]
    const third = await listen(carol)
    expect(third.response.statusCode).toBe(429)
    streams[0]?.response.destroy()
    await expect
      .poll(async () => {
        const again = await listen(carol)
        if (again.response.statusCode === 200) streams.push(again)
        return again.response.statusCode
      })
      .toBe(200)
    for (const { response } of streams) response.destroy()
  })

  test('a listen stream ends in order when the gateway drains', async () => {
    const draining = await TestGateway.open()
    const request = modernRequest('subscriptions/listen', {
      notifications: { toolsListChanged: true },
    })
    const stream = new Stream(
      await draining.start('/mcp', { headers: request.headers, body: request.body }),
    )
    await expect.poll(() => stream.messages.length).toBe(1)
    await draining[Symbol.asyncDispose]()
    expect(stream.messages.at(-1)).toMatchObject({
      id: 7,
      result: { resultType: 'complete', _meta: { 'io.modelcontextprotocol/subscriptionId': 7 } },
    })
  })
})

describe('a legacy session', () => {
  const rpc = (method: string, params: object = {}, id?: number): string =>
    JSON.stringify({ jsonrpc: '2.0', method, params, ...(id === undefined ? {} : { id }) })
  const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

  async function open(version: string, headers: Readonly<Record<string, string>> = alice) {
    const opened = await gateway.send('/mcp', {
      headers: { ...json, ...headers },
      body: rpc(
        'initialize',
        { protocolVersion: version, capabilities: {}, clientInfo: { name: 'c', version: '1' } },
        1,
      ),
    })
    const session = {
      ...json,
      ...headers,
      'mcp-session-id': String(opened.headers['mcp-session-id']),
    }
    await gateway.send('/mcp', { headers: session, body: rpc('notifications/initialized') })
    const ask = async (
      method: string,
      params: object = {},
      more: Readonly<Record<string, string>> = {},
    ): Promise<Record<string, unknown>> => {
      const {
        status,
        headers: given,
        body,
      } = await gateway.send('/mcp', {
        headers: { ...session, ...more },
        body: rpc(method, params, 2),
      })
      return { status, ...messagesOf(body.toString(), given['content-type']).at(-1) }
    }
    return {
      opened: JSON.parse(opened.body.toString()) as { result: Record<string, unknown> },
      session,
      ask,
    }
  }

  test.each(['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'])(
    'a legacy session of %s lists, calls, and hears of changes',
    async (version) => {
      const { opened, session, ask } = await open(version)
      expect(opened.result).toMatchObject({
        protocolVersion: version,
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: 'mcp-gateway' },
      })

      const stream = new Stream(
        await gateway.start('/mcp', {
          method: 'GET',
          headers: { ...session, accept: 'text/event-stream' },
        }),
      )
      const name = `legacy-${version}`
      await register(name)
      await expect.poll(() => stream.count(listChanged)).toBe(1)
      expect(await ask('tools/list')).toEqual({
        status: 200,
        jsonrpc: '2.0',
        id: 2,
        result: { tools: [{ name, inputSchema: { type: 'object' } }] },
      })
      expect(await ask('tools/call', { name, arguments: {} })).toMatchObject({
        result: {
          isError: true,
          content: [{ text: expect.stringContaining('cannot be reached') as unknown }],
        },
      })
      expect(await ask('tools/call', { name: 'none' })).toMatchObject({
        error: { code: -32602, message: 'Unknown tool: none' },
      })

      await api('PATCH', `/tools/${name}`, { toolDefinition: { tool: { title: 'T' } } })
      await expect.poll(() => stream.count(listChanged)).toBe(2)
      expect((await gateway.send('/mcp', { method: 'DELETE', headers: session })).status).toBe(200)
      expect(
        (await gateway.send('/mcp', { headers: session, body: rpc('ping', {}, 3) })).status,
      ).toBe(404)

      stream.response.destroy()
      await api('DELETE', `/tools/${name}`)
    },
  )

  test('a legacy session sees with the roles of its present request', async () => {
    await register('for-chefs', { requiredRoles: ['chef'] })
    const { ask } = await open('2025-11-25', { ...bob, 'x-dev-roles': 'chef' })
    expect(await ask('tools/list')).toMatchObject({ result: { tools: [{ name: 'for-chefs' }] } })
    expect(await ask('tools/list', {}, { 'x-dev-roles': 'none' })).toMatchObject({
      result: { tools: [] },
    })
    await api('DELETE', '/tools/for-chefs')
  })

  test('a legacy session belongs to the caller that opened it, and needs an id', async () => {
    const { ask } = await open('2025-11-25')
    expect(await ask('tools/list', {}, bob)).toMatchObject({ status: 404 })
    const none = await gateway.send('/mcp', { headers: json, body: rpc('tools/list', {}, 1) })
    expect([none.status, none.body.toString()]).toEqual([
      400,
      expect.stringContaining('names no session'),
    ])
    expect((await gateway.send('/mcp', { method: 'GET' })).status).toBe(405)
    expect((await gateway.send('/mcp', { method: 'PUT' })).status).toBe(405)
    expect((await gateway.send('/mcp', { headers: json, body: '{' })).status).toBe(400)
  })
})

test('a caller with too many legacy sessions loses its own oldest one', async () => {
  const initialize =
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",' +
    '"capabilities":{}}}'
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
  }
  const open = async (who: Readonly<Record<string, string>>): Promise<string> => {
    const answer = await gateway.send('/mcp', { headers: { ...headers, ...who }, body: initialize })
    expect(answer.status).toBe(200)
    return String(answer.headers['mcp-session-id'])
  }
  const ask = async (
    who: Readonly<Record<string, string>>,
    session: string,
    request: string,
  ): Promise<number> =>
    (
      await gateway.send('/mcp', {
        headers: { ...headers, ...who, 'mcp-session-id': session },
        body: `{"jsonrpc":"2.0","id":2,${request}}`,
      })
    ).status
  const ping = (who: Readonly<Record<string, string>>, session: string): Promise<number> =>
    ask(who, session, '"method":"ping"')
  const many = { 'x-dev-userid': 'many' }
  const others = await open(bob)
  const first = await open(many)
  // A session that holds nothing would begin again unnoticed.
  const level = '"method":"logging/setLevel","params":{"level":"error"}'
  expect(await ask(many, first, level)).toBe(200)
  for (let opened = 1; opened < 1000; opened += 1) await open(many)
  expect(await ping(many, first)).toBe(200)

  const second = await open(many)
  expect([await ping(many, first), await ping(many, second), await ping(bob, others)]).toEqual([
    200, 200, 200,
  ])

  for (let opened = 0; opened < 999; opened += 1) await open(many)
  expect([await ping(many, first), await ping(bob, others)]).toEqual([404, 200])
})

describe('two gateway processes with the same keys', () => {
  test('either gateway serves a session, also when the process that held it has ended', async () => {
    const keys = [randomBytes(32).toString('base64')]
    const [portA, portB] = [await freePort(), await freePort()]
    const peers = { a: `http://127.0.0.1:${portA}`, b: `http://127.0.0.1:${portB}` }
    const settings = (name: string, port: number): Record<string, object> =>
      ({ port, sessions: { keys }, cluster: { name, peers } }) as unknown as Record<string, object>
    const a = await TestGateway.open(settings('a', portA))
    await using b = await TestGateway.open(settings('b', portB))
    for (const each of [a, b]) {
      const body = JSON.stringify({
        name: 'both',
        endpoint: 'http://127.0.0.1:9/',
        toolDefinition: { tool: { name: 'both' } },
      })
      expect(
        (await each.send('/tools', { headers: { 'content-type': 'application/json' }, body }))
          .status,
      ).toBe(201)
    }
    const json = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const initialize = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const opened = await a.send('/mcp', {
      headers: json,
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: initialize }),
    })
    const session = { ...json, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const list = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list', params: {} })
    for (const each of [a, b]) {
      const { status, body } = await each.send('/mcp', { headers: session, body: list })
      expect([status, body.toString()]).toEqual([200, expect.stringContaining('"name":"both"')])
    }
    expect(
      (await b.send('/mcp', { headers: { ...session, 'x-dev-userid': 'bob' }, body: list })).status,
    ).toBe(404)

    const forged = await b.send('/mcp', {
      headers: { ...session, 'x-mcpgw-hop': '1.2.3.4' },
      body: list,
    })
    expect(forged.status).toBe(401)

    await a[Symbol.asyncDispose]()
    const { status, body } = await b.send('/mcp', { headers: session, body: list })
    expect([status, body.toString()]).toEqual([200, expect.stringContaining('"name":"both"')])
    expect((await b.send('/mcp', { method: 'DELETE', headers: session })).status).toBe(200)
    expect((await b.send('/mcp', { headers: session, body: list })).status).toBe(404)
  })

  test('a stream that one gateway hands to the other survives a check of its callers', async () => {
    const audience = 'mcp-gateway'
    const accounts = { alice: { roles: ['mcp.engineer'] } }
    await using provider = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
    const { issuer } = provider
    const issuers = [{ preset: 'keycloak', issuer, audiences: [audience] }]
    const keys = [randomBytes(32).toString('base64')]
    const ports = [await freePort(), await freePort()] as const
    const peers = { a: `http://127.0.0.1:${ports[0]}`, b: `http://127.0.0.1:${ports[1]}` }
    const open = (name: string, port: number): Promise<TestGateway> =>
      TestGateway.open({
        port,
        sessions: { keys },
        cluster: { name, peers },
        identity: { mode: 'oidc', issuers },
      } as unknown as Record<string, object>)
    await using a = await open('a', ports[0])
    await using b = await open('b', ports[1])
    const headers = {
      authorization: `Bearer ${await provider.token('alice')}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const params =
      '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}'
    const opened = await a.send('/mcp', {
      headers,
      body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":${params}}`,
    })
    const session = { ...headers, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const initialized = '{"jsonrpc":"2.0","method":"notifications/initialized"}'
    expect((await a.send('/mcp', { headers: session, body: initialized })).status).toBe(202)

    const handed = new Stream(await b.start('/mcp', { method: 'GET', headers: session }))

    // The end of a key makes the gateway check all streams again, so the test need not wait.
    const made = await a.send('/api-keys', { headers, body: '{"name":"k","roles":[]}' })
    const { id, key } = JSON.parse(made.body.toString()) as { id: string; key: string }
    const request = modernRequest('subscriptions/listen', { notifications: {} })
    const listening = await a.start('/mcp', {
      headers: { ...request.headers, 'x-api-key': key },
      body: request.body,
    })
    const witness = new Stream(listening)
    const revoked = await a.send(`/api-keys/${id}`, { method: 'DELETE', headers })
    expect(revoked.status).toBe(204)
    await expect.poll(() => witness.ended).toBe(true)

    const tool = { name: 'new', toolDefinition: { tool: { name: 'new' } } }
    const body = JSON.stringify({ ...tool, endpoint: 'https://tools.example/' })
    expect((await a.send('/tools', { headers, body })).status).toBe(201)
    await expect.poll(() => handed.count(listChanged)).toBe(1)
    expect(handed.ended).toBe(false)
  })

  test('a reused peer address causes no circle of handed-over requests', async () => {
    const keys = [randomBytes(32).toString('base64')]
    const [portA, portB] = [await freePort(), await freePort()]
    const open = (name: string, port: number, goneAt: number): Promise<TestGateway> => {
      const peers = { gone: `http://127.0.0.1:${goneAt}` }
      return TestGateway.open({
        port,
        sessions: { keys },
        cluster: { name, peers },
      } as unknown as Record<string, object>)
    }
    const gone = await TestGateway.open({ sessions: { keys }, cluster: { name: 'gone' } })
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const json = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    }
    const initialize = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })
    const opened = await gone.send('/mcp', { headers: json, body: initialize })
    await gone[Symbol.asyncDispose]()
    await using a = await open('a', portA, portB)
    await using _b = await open('b', portB, portA)
    const headers = { ...json, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const { status } = await a.send('/mcp', {
      headers,
      body: '{"jsonrpc":"2.0","id":2,"method":"ping"}',
    })
    // The gateway goes on with the session itself.
    expect(status).toBe(200)
  })
})

describe('a modern request', () => {
  test('a modern request gets discovery and refusals as the specification words them', async () => {
    const { message } = await modern(gateway, 'server/discover')
    expect(message.result).toMatchObject({
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: { listChanged: true } },
    })
    const unknown = await modern(gateway, 'resources/none')
    expect([unknown.status, unknown.message.error?.code]).toEqual([404, -32601])
    const mismatch = await modern(
      gateway,
      'tools/list',
      {},
      { headers: { 'mcp-method': 'tools/call' } },
    )
    expect([mismatch.status, mismatch.message.error?.code]).toEqual([400, -32020])
  })

  test('a modern request leaves one log line, with its caller', async () => {
    await modern(gateway, 'tools/list', {}, { headers: { ...alice, 'x-request-id': 'logged-1' } })
    await expect
      .poll(() => gateway.log.find((line) => line['requestId'] === 'logged-1'))
      .toMatchObject({ path: '/mcp', status: 200, principal: 'alice', method: 'POST' })
  })
})
