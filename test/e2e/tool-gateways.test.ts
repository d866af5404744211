import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GatewayProcess, ToolPlane } from '@mcp-gateway/testkit'
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose'
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test, vi } from 'vitest'

let service: Server
let endpoint = ''
/** Ends the waiting calls. */
let release: () => void = () => undefined
let held: Promise<void> = Promise.resolve()
beforeAll(async () => {
  service = createServer((request, response) => {
    const answer = (): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          caller: request.headers['x-mcp-userid'],
          proof: request.headers['x-mcp-identity'],
          key: request.headers['x-key'],
        }),
      )
    request.resume().on('end', () => (request.url === '/held' ? void held.then(answer) : answer()))
  })
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
})
afterAll(() => {
  service.closeAllConnections()
  service.close()
})

let plane: ToolPlane
async function start(): Promise<void> {
  plane = await ToolPlane.start()
  await register('greet')
  await vi.waitFor(async () => expect(await everywhere()).toEqual(Array(4).fill(['greet'])), {
    timeout: 30_000,
  })
}
const end = (): Promise<void> => plane[Symbol.asyncDispose]()

async function register(name: string, more: object = {}): Promise<void> {
  const { status, body } = await plane.api('POST', '/tools', {
    name,
    endpoint,
    toolDefinition: { tool: { name } },
    ...more,
  })
  expect({ status, body }).toMatchObject({ status: 201 })
}

interface Answer {
  readonly status: number
  readonly session: string | null
  readonly message: {
    readonly result?: Readonly<Record<string, unknown>>
    readonly error?: { readonly data?: { readonly code?: string } }
  }
}

async function post(
  body: object,
  headers: Readonly<Record<string, string>> = {},
  origin = plane.origin,
  path = '/mcp',
): Promise<Answer> {
  const response = await fetch(`${origin}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
  })
  const text = await response.text()
  return {
    status: response.status,
    session: response.headers.get('mcp-session-id'),
    message: text.startsWith('{') ? (JSON.parse(text) as Answer['message']) : {},
  }
}

/** A request of 2026-07-28. */
function modern(
  method: string,
  params: Readonly<Record<string, unknown>> = {},
  headers: Readonly<Record<string, string>> = {},
  place: { readonly origin?: string; readonly path?: string } = {},
): Promise<Answer> {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  }
  const { name } = params
  return post(
    { method, params: { ...params, _meta } },
    {
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(typeof name === 'string' ? { 'mcp-name': name } : {}),
      ...headers,
    },
    place.origin,
    place.path,
  )
}

async function open(): Promise<string> {
  const { session } = await post({
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    },
  })
  return session ?? ''
}

const list = (session: string): Promise<Answer> =>
  post({ method: 'tools/list' }, { 'mcp-session-id': session })

async function names(): Promise<unknown> {
  const { message } = await modern('tools/list')
  return (message.result?.['tools'] as { name: string }[] | undefined)?.map(({ name }) => name)
}

/**
 * Asks both tool gateways by way of both gateways. These take turns, and each takes turns with the
 * tool gateways.
 */
const everywhere = (): Promise<unknown[]> => all(4, names)

const all = <T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

describe('tool gateways', () => {
  beforeAll(start)
  afterAll(end)

  test('a session stays where it was opened, whichever gateway its requests reach', async () => {
    const sessions = await all(8, open)
    for (let round = 0; round < 3; round += 1)
      expect((await Promise.all(sessions.map(list))).map(({ status }) => status)).toEqual(
        Array(8).fill(200),
      )
  })

  test('a request without the signature of a gateway is refused', async () => {
    const [one] = plane.toolGateways
    const direct = (headers: Record<string, string> = {}): Promise<Answer> =>
      post({ method: 'ping' }, headers, one?.origin)
    expect(await direct({ 'x-dev-userid': 'admin' })).toMatchObject({
      status: 401,
      message: { error: { data: { code: 'unauthenticated' } } },
    })
    expect(await direct({ 'x-mcpgw-hop': 'a.b.c.d' })).toMatchObject({ status: 401 })
    expect(await direct({ 'x-mcpgw-hop': '' })).toMatchObject({ status: 401 })
  })

  test('tool gateways sign the caller as gateways do, and have the tool’s credential', async () => {
    await register('proven', {
      callerIdentity: 'signed',
      credential: { header: 'X-Key', value: 'of-the-tool' },
    })
    let told: { proof?: string; key?: string } = {}
    await expect
      .poll(async () => {
        const { message } = await modern('tools/call', { name: 'proven', arguments: {} })
        told = (message.result?.['structuredContent'] ?? {}) as typeof told
        return told.key
      })
      .toBe('of-the-tool')
    const issuer = decodeJwt(told.proof ?? '').iss ?? ''
    expect(plane.gateways.map(({ origin }) => origin)).toContain(issuer)
    const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer))
    const { payload } = await jwtVerify(told.proof ?? '', keys, {
      issuer,
      audience: `${issuer}/tools/proven`,
    })
    expect(payload.sub).toBe('dev')
  })

  test('a tool in a virtual server is called by tool gateways, for its caller', async () => {
    await register('member', { requiredRoles: ['reader'] })
    const members = [{ tool: 'member', alias: 'm' }]
    const server = { members, requiredRoles: ['reader'] }
    const { status } = await plane.api('PUT', '/servers/work', server)
    expect(status).toBe(201)
    const [gateway] = plane.gateways
    const caller = { 'x-dev-userid': 'bob', 'x-dev-roles': 'reader' }
    const called = (): Promise<Answer> =>
      modern('tools/call', { name: 'm_member', arguments: {} }, caller, {
        origin: gateway?.origin ?? '',
        path: '/servers/work/mcp',
      })
    await vi.waitFor(async () =>
      expect((await called()).message.result?.['structuredContent']).toMatchObject({
        caller: 'bob',
      }),
    )
  })

  test('adapters that join /mcp are there although tool gateways serve the tools', async () => {
    const adapter = { name: 'joins', imageName: 'mcp-example', imageVersion: '1', aggregate: true }
    expect((await plane.api('POST', '/adapters', adapter)).status).toBe(201)
    const origin = plane.gateways[0]?.origin ?? ''
    const names = async (): Promise<string[]> => {
      const { message } = await modern('tools/list', {}, {}, { origin })
      const tools = message.result?.['tools'] as { name: string }[] | undefined
      return (tools ?? []).map(({ name }) => name)
    }
    await vi.waitFor(
      async () => expect(await names()).toEqual(expect.arrayContaining(['greet', 'joins_add'])),
      { timeout: 30_000 },
    )
    const called = await modern('tools/call', { name: 'greet', arguments: {} }, {}, { origin })
    expect(called.message.result?.['structuredContent']).toMatchObject({ caller: 'dev' })
    expect((await plane.api('DELETE', '/adapters/joins')).status).toBe(204)
  })

  test('tool gateways have the present value of a credential by reference', async () => {
    const key = async (): Promise<unknown> =>
      (
        (await modern('tools/call', { name: 'keyed', arguments: {} })).message.result?.[
          'structuredContent'
        ] as { key?: unknown } | undefined
      )?.key
    expect((await plane.api('POST', '/secrets', { name: 'tool-key', value: 'one' })).status).toBe(
      201,
    )
    await register('keyed', { credential: { header: 'X-Key', secretRef: { name: 'tool-key' } } })
    await expect.poll(async () => [await key(), await key()]).toEqual(['one', 'one'])
    expect((await plane.api('PATCH', '/secrets/tool-key', { value: 'two' })).status).toBe(200)
    await expect.poll(async () => [await key(), await key()]).toEqual(['two', 'two'])
  })

  test('tool gateways alone learn which tools exist', async () => {
    const [gateway] = plane.gateways
    expect((await fetch(`${gateway?.origin}/internal/tools`)).status).toBe(404)
    expect(
      (await fetch(`${gateway?.origin}/internal/tools`, { headers: { 'x-mcpgw-hop': 'a.b.c.d' } }))
        .status,
    ).toBe(401)
  })
})

describe('tool gateways, each time others,', () => {
  beforeEach(start)
  afterEach(end)

  test('a killed tool gateway costs its sessions (404), and nothing else fails', async () => {
    const sessions = await all(8, open)
    const [one] = plane.toolGateways
    await one?.end('SIGKILL')
    const after = (await Promise.all(sessions.map(list))).map(({ status }) => status)
    expect(new Set(after)).toEqual(new Set([200, 404]))
    const calls = await all(20, () => modern('tools/call', { name: 'greet', arguments: {} }))
    expect(
      calls.filter(({ message }) => message.result?.['structuredContent'] === undefined),
    ).toEqual([])
    await one?.startAgain()
    expect((await Promise.all((await all(4, open)).map(list))).map(({ status }) => status)).toEqual(
      [200, 200, 200, 200],
    )
  })

  test('a call on a killed tool gateway may have run, and never runs twice', async () => {
    let calls = 0
    const count = (): void => void (calls += 1)
    service.on('request', count)
    held = new Promise((resolve) => (release = resolve))
    await register('slow', { endpoint: `${endpoint}/held` })
    await expect.poll(everywhere).toEqual(Array(4).fill(['greet', 'slow']))
    const slow = all(4, () => modern('tools/call', { name: 'slow', arguments: {} }))
    await expect.poll(() => calls).toBe(4)
    await plane.toolGateways[0]?.end('SIGKILL')
    release()
    const answers = await slow
    service.off('request', count)
    expect(calls).toBe(4)
    const failed = answers.filter(({ message }) => message.error?.data?.code === 'upstream_failed')
    expect(failed.length).toBeGreaterThan(0)
    expect(answers.filter(({ message }) => message.result !== undefined)).toHaveLength(
      4 - failed.length,
    )
  })

  test('a call on a killed tool gateway goes to another one if it may run twice', async () => {
    let calls = 0
    const count = (): void => void (calls += 1)
    service.on('request', count)
    held = new Promise((resolve) => (release = resolve))
    const annotations = { readOnlyHint: true }
    await register('reads', {
      endpoint: `${endpoint}/held`,
      toolDefinition: { tool: { name: 'reads', annotations } },
    })
    const server = { members: [{ tool: 'reads', alias: 'r' }] }
    expect((await plane.api('PUT', '/servers/work', server)).status).toBe(201)
    await expect.poll(everywhere).toEqual(Array(4).fill(['greet', 'reads']))
    const place = { origin: plane.gateways[0]?.origin ?? '', path: '/servers/work/mcp' }
    const reads = all(4, () => modern('tools/call', { name: 'r_reads', arguments: {} }, {}, place))
    await expect.poll(() => calls).toBe(4)
    await plane.toolGateways[0]?.end('SIGKILL')
    release()
    const results = (await reads).map(({ message }) => message.result)
    service.off('request', count)
    expect(calls).toBeGreaterThan(4)
    expect(results).toEqual(
      Array(4).fill(expect.objectContaining({ structuredContent: expect.anything() })),
    )
  })

  test('no tool gateway at all is a clear error, until they are back', async () => {
    const members = [{ tool: 'greet', alias: 'g' }]
    expect((await plane.api('PUT', '/servers/work', { members })).status).toBe(201)
    const place = { origin: plane.gateways[0]?.origin ?? '', path: '/servers/work/mcp' }
    const member = async (): Promise<unknown> =>
      (await modern('tools/call', { name: 'g_greet', arguments: {} }, {}, place)).message.result
    await expect.poll(member).toMatchObject({ structuredContent: { caller: 'dev' } })

    for (const each of plane.toolGateways) await each.end('SIGKILL')
    expect(await modern('tools/list')).toMatchObject({
      status: 503,
      message: { error: { data: { code: 'no_ready_replica' } } },
    })
    // A gateway with the runtime calls no tool itself.
    expect(await member()).toMatchObject({
      isError: true,
      _meta: { 'mcp-gateway/error': { code: 'no_ready_replica' } },
    })
    await plane.toolGateways[1]?.startAgain()
    await expect.poll(names).toEqual(['greet'])
    await expect.poll(member).toMatchObject({ structuredContent: { caller: 'dev' } })
  })

  test('tool gateways work while their gateway is away, and then hear the changes', async () => {
    const [first, second] = plane.gateways
    await first?.end('SIGKILL')
    const { status } = await post({ method: 'ping' }, {}, second?.origin)
    expect(status).toBe(400)
    const session = await post(
      {
        method: 'initialize',
        params: {
          protocolVersion: '2025-11-25',
          capabilities: {},
          clientInfo: { name: 't', version: '1' },
        },
      },
      {},
      second?.origin,
    )
    const listed = await post(
      { method: 'tools/list' },
      { 'mcp-session-id': session.session ?? '' },
      second?.origin,
    )
    expect(listed.message.result?.['tools']).toMatchObject([{ name: 'greet' }])
    await first?.startAgain()
    await register('later')
    expect((await plane.api('DELETE', '/tools/greet')).status).toBe(204)
    await expect.poll(names).toEqual(['later'])
  })

  test('tool gateways are ready once they know all tools', async () => {
    const [one] = plane.toolGateways
    await expect.poll(async () => (await fetch(`${one?.origin}/readyz`)).status).toBe(200)
    await one?.end('SIGTERM')
    for (const each of plane.gateways) await each.end('SIGKILL')
    await one?.startAgain()
    expect((await fetch(`${one?.origin}/readyz`)).status).toBe(503)
    expect((await fetch(`${one?.origin}/healthz`)).status).toBe(200)
  })
})

describe('a tool gateway', () => {
  test('a tool gateway needs the key, a name, and a gateway to start', async () => {
    const start = GatewayProcess.start({ config: { role: 'tool-gateway' } })
    await expect(start).rejects.toThrow(
      new RegExp(
        String.raw`sessions\.keys: must have the key[\s\S]*cluster\.name: must be set[\s\S]*` +
          String.raw`tools\.followed: must name`,
      ),
    )
  })

  test('a gateway without a key does not use a tool gateway', async () => {
    const start = GatewayProcess.start({
      config: { tools: { gateways: { one: 'http://127.0.0.1:9' } } },
    })
    await expect(start).rejects.toThrow(/sessions\.keys: must have the key/)
  })
})
