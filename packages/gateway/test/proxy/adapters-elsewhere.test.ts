import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { gzipSync } from 'node:zlib'
import { processesWith, selfSigned } from '@mcp-gateway/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import {
  readAnswer,
  TestGateway,
  valuesOf,
  type Exchange,
  type Sending,
} from '../fixtures/gateway.ts'
import { initialize, modernRequest } from '../fixtures/mcp-requests.ts'

type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void

let gateway: TestGateway
let server: Server
let origin = ''
/** Requests to servers elsewhere, by path. */
const seen: {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}[] = []
const behaviours = new Map<string, Behaviour>()

const serve: Behaviour = (request, response) => {
  const { method = '', url = '', headers } = request
  let body = ''
  request.setEncoding('utf8').on('data', (part: string) => (body += part))
  request.on('end', () => {
    seen.push({ method, url, headers, body })
    const behaviour = behaviours.get(url.split('?')[0] ?? '')
    if (behaviour === undefined) response.writeHead(404).end()
    else behaviour(request, response, body)
  })
}

async function listening(opened: Server): Promise<number> {
  await new Promise<void>((resolve) => opened.listen(0, '127.0.0.1', resolve))
  return (opened.address() as AddressInfo).port
}

beforeAll(async () => {
  gateway = await TestGateway.open({ proxy: { streamRecheckSeconds: 0.1 } })
  server = createServer((request, response) => serve(request, response, ''))
  origin = `http://127.0.0.1:${await listening(server)}`
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})
afterEach(() => void seen.splice(0))

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const ping = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'ping' })

let count = 0
/** Gives an address of its own to a server with this behaviour. */
function address(behaviour: Behaviour, query = ''): string {
  const path = `/deep/${(count += 1)}`
  behaviours.set(path, behaviour)
  return origin + path + query
}

const answers =
  (text: string, headers: Record<string, string | string[]> = {}, status = 200): Behaviour =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)

/** A legacy server with sessions. Its GET stream sends one event and stays open. */
const stateful: Behaviour = (request, response, body) => {
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n')
    return
  }
  if (request.method === 'DELETE') return void response.writeHead(204).end()
  const { id, method } = JSON.parse(body) as { id?: number; method: string }
  const result =
    method === 'initialize'
      ? { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 's', version: '1' } }
      : {}
  const session = method === 'initialize' ? { 'mcp-session-id': 'of/the_server' } : {}
  response
    .writeHead(200, { 'content-type': 'application/json', ...session })
    .end(JSON.stringify({ jsonrpc: '2.0', id, result }))
}

/** The same server behind a proxy that compresses unless the request asks for `identity`. */
const gzipping =
  (behaviour: Behaviour): Behaviour =>
  (request, response, body) => {
    if (request.headers['accept-encoding'] === 'identity') return behaviour(request, response, body)
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    response.writeHead(200, headers).end(gzipSync('{}'))
  }

/** A server of the modern era alone. */
const modern: Behaviour = (request, response, body) => {
  const { id, method } = JSON.parse(body === '' ? '{}' : body) as { id?: unknown; method?: string }
  const answer = (status: number, rest: object): void =>
    void response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id: id ?? null, ...rest }))
  if (request.headers['mcp-protocol-version'] !== '2026-07-28')
    return answer(400, {
      error: {
        code: -32022,
        message: 'Unsupported protocol version',
        data: { supported: ['2026-07-28'] },
      },
    })
  const common = {
    resultType: 'complete',
    _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'modern', version: '1' } },
  }
  if (method === 'server/discover')
    return answer(200, {
      result: {
        ...common,
        supportedVersions: ['2026-07-28'],
        capabilities: { tools: {} },
        ttlMs: 0,
        cacheScope: 'private',
      },
    })
  answer(200, { result: { ...common, content: [{ type: 'text', text: 'done' }] } })
}

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

async function call(method: string, path: string, body?: object, at = gateway): Promise<Answer> {
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
  const answer = await at.send(path, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': type }, body: JSON.stringify(body) }),
  })
  const text = answer.body.toString()
  return {
    status: answer.status,
    body: (text.startsWith('{') ? JSON.parse(text) : { text }) as Answer['body'],
  }
}

async function register(endpoint: string, more: object = {}, at = gateway): Promise<string> {
  const name = `elsewhere-${(count += 1)}`
  expect(await call('POST', '/adapters', { name, endpoint, ...more }, at)).toMatchObject({
    status: 201,
  })
  return name
}

const mcp = (name: string, sending: Sending = {}, query = '', at = gateway): Promise<Exchange> =>
  at.send(`/adapters/${name}/mcp${query}`, {
    body: ping,
    ...sending,
    headers: { ...json, ...sending.headers },
  })

const open = async (name: string): Promise<{ 'mcp-session-id': string }> => {
  const opened = await mcp(name, { body: initialize })
  expect([opened.status, opened.headers['mcp-session-id']]).toEqual([200, expect.any(String)])
  return { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
}

/** Gives the status and code of a refused request. */
async function refusal(answered: Promise<Exchange>): Promise<unknown[]> {
  const { status, body } = await answered
  const { error } = JSON.parse(body.toString()) as {
    error: { message: string; data: { code: string } }
  }
  return [status, error.data.code]
}

describe('an adapter by endpoint (B27)', () => {
  test('an endpoint gets its credential and the identity, and nothing of the caller', async () => {
    const name = await register(address(answers('{"at":"server"}')), {
      credential: { header: 'Authorization', value: 'Bearer of-the-adapter' },
    })
    const own = {
      authorization: 'Basic eDp5',
      cookie: 'a=b',
      'x-mcp-userid': 'somebody',
      'x-api-key': 'kept',
    }
    const answer = await mcp(name, { headers: own }, '?a=1')
    expect([answer.status, answer.body.toString()]).toEqual([200, '{"at":"server"}'])
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: expect.stringMatching(/^\/deep\/\d+\?a=1$/),
      body: ping,
    })
    expect(seen[0]?.headers).toMatchObject({
      host: new URL(origin).host,
      authorization: 'Bearer of-the-adapter',
      'x-mcp-userid': 'dev',
      'x-api-key': 'kept',
    })
    expect(seen[0]?.headers).not.toHaveProperty('cookie')
  })

  test('callerIdentity decides whether the endpoint gets no identity or a signed one', async () => {
    await mcp(await register(address(answers('{}')), { callerIdentity: 'none' }))
    await mcp(await register(address(answers('{}')), { callerIdentity: 'signed' }))
    expect(seen.map(({ headers }) => [headers['x-mcp-userid'], headers['x-mcp-identity']])).toEqual(
      [
        [undefined, undefined],
        ['dev', expect.stringMatching(/^eyJ/)],
      ],
    )
  })

  test('the endpoint keeps the query of its owner, and callers add nothing to it', async () => {
    const name = await register(address(answers('{}'), '?read_only=true'))
    await mcp(name, {}, '?read_only=false')
    expect(seen[0]?.url).toMatch(/^\/deep\/\d+\?read_only=true$/)
  })

  test('no challenge, cookie, CORS header or 401 of an endpoint reaches callers', async () => {
    const headers = {
      'set-cookie': 'a=b',
      'www-authenticate': 'Bearer',
      'access-control-allow-origin': '*',
      'strict-transport-security': 'x',
    }
    const forbidden = await mcp(await register(address(answers('{}', headers, 403))))
    expect(forbidden.status).toBe(403)
    for (const header of Object.keys(headers)) expect(forbidden.headers).not.toHaveProperty(header)
    expect(await refusal(mcp(await register(address(answers('{}', headers, 401)))))).toEqual([
      502,
      'upstream_unauthorized',
    ])
  })

  test('sessions of an endpoint have sealed ids, by POST, GET and DELETE', async () => {
    const name = await register(address(stateful))
    const session = await open(name)
    expect(session['mcp-session-id']).not.toContain('of/the_server')
    expect((await mcp(name, { headers: session })).status).toBe(200)
    const stream = await gateway.start(`/adapters/${name}/mcp`, {
      method: 'GET',
      headers: { ...json, ...session },
    })
    const first = await new Promise<string>((resolve) =>
      stream.once('data', (part) => resolve(String(part))),
    )
    stream.destroy()
    expect(first).toBe('data: first\n\n')
    expect(
      (await gateway.send(`/adapters/${name}/mcp`, { method: 'DELETE', headers: session })).status,
    ).toBe(204)
    expect(seen.map(({ method, headers }) => [method, headers['mcp-session-id']])).toEqual([
      ['POST', undefined],
      ['POST', 'of/the_server'],
      ['GET', 'of/the_server'],
      ['DELETE', 'of/the_server'],
    ])
    expect(await refusal(mcp(name, { headers: { 'mcp-session-id': 'of/the_server' } }))).toEqual([
      404,
      'session_not_found',
    ])
  })

  test('tool rules hold for an endpoint as for any adapter', async () => {
    const name = await register(address(stateful), {
      toolRules: [{ effect: 'allow', tools: 'echo' }],
    })
    const calls = (tool: string): Promise<Exchange> =>
      mcp(name, {
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 3,
          method: 'tools/call',
          params: { name: tool, arguments: {} },
        }),
      })
    expect((await calls('echo')).body.toString()).toContain('"result"')
    expect((await calls('rm')).body.toString()).toContain('Unknown tool: rm')
    expect(seen.filter(({ body }) => body.includes('"rm"'))).toEqual([])
  })

  test('an adapter by endpoint is External, and refuses calls about its workload', async () => {
    const endpoint = address(stateful)
    const name = await register(endpoint)
    expect((await call('GET', `/adapters/${name}`)).body).toMatchObject({
      endpoint,
      replicaCount: 0,
    })
    expect((await call('GET', `/adapters/${name}`)).body).not.toHaveProperty('imageName')
    expect((await call('GET', `/adapters/${name}/status`)).body).toMatchObject({
      replicaStatus: 'External',
      readyReplicas: null,
      replicas: [],
    })
    for (const [method, what] of [
      ['GET', 'logs'],
      ['POST', 'restart'],
    ] as const)
      expect(await call(method, `/adapters/${name}/${what}`)).toMatchObject({
        status: 409,
        body: { code: 'runs_elsewhere' },
      })
    const read = (await call('GET', `/adapters/${name}`)).body
    expect((await call('PUT', `/adapters/${name}`, read)).body).toMatchObject({
      endpoint,
      createdAt: read['createdAt'],
    })
  })

  test('answers warn of fields without effect, and of a secret in the address', async () => {
    const name = `elsewhere-${(count += 1)}`
    const more = { environmentVariables: { A: '1' }, replicaCount: 3, useWorkloadIdentity: true }
    const { body } = await call('POST', '/adapters', {
      name,
      endpoint: `${origin}/a?serviceApiKey=0123abcd&page=1`,
      ...more,
    })
    const told = (body['warnings'] as { pointer: string; code: string }[]).map(
      ({ pointer, code }) => `${pointer} ${code}`,
    )
    expect(told.toSorted()).toEqual([
      '/endpoint secret_in_endpoint',
      '/environmentVariables no_effect',
      '/replicaCount no_effect',
      '/useWorkloadIdentity no_effect',
    ])
  })
})

/** Development identity does not believe a forwarding gateway, so the adapter shows an API key. */
async function gatewayCredential(at = gateway): Promise<{ header: string; value: string }> {
  const { body } = await call('POST', '/api-keys', { name: 'of an adapter' }, at)
  return { header: 'Authorization', value: `Bearer ${(body as { key: string }).key}` }
}

describe('a server elsewhere', () => {
  test('a redirect elsewhere is not followed, and its address reaches no client', async () => {
    const caught = address(answers('{}')).replace('127.0.0.1', 'localhost')
    for (const status of [301, 302, 303, 307, 308]) {
      const name = await register(address(answers('', { location: caught }, status)))
      const answer = await mcp(name, { headers: { 'x-api-key': 'of-the-client' } })
      expect(answer.headers).not.toHaveProperty('location')
      expect(await refusal(Promise.resolve(answer))).toEqual([502, 'upstream_redirects'])
    }
    expect(seen.map(({ url }) => url)).not.toContain(new URL(caught).pathname)
  })

  test.each([307, 308])(
    'a redirect (%i) to another path of its origin is followed for clients of both eras',
    async (status) => {
      const there = address(stateful)
      const { pathname } = new URL(there)
      const name = await register(
        address((_request, response) => response.writeHead(status, { location: pathname }).end()),
        { credential: { header: 'Authorization', value: 'Bearer of-the-adapter' } },
      )
      const session = await open(name)
      expect(JSON.parse((await mcp(name, { headers: session })).body.toString())).toEqual({
        jsonrpc: '2.0',
        id: 2,
        result: {},
      })
      const told = await mcp(name, modernRequest('tools/list', {}))
      expect(JSON.parse(told.body.toString())).toMatchObject({
        id: 7,
        result: { resultType: 'complete' },
      })
      const there2 = seen.filter(({ url }) => url === pathname)
      expect(there2.length).toBeGreaterThan(3)
      expect(there2.every(({ headers }) => headers.authorization !== undefined)).toBe(true)
    },
  )

  test('clients learn that a server redirects elsewhere, and its owner learns where', async () => {
    const location = 'https://user:secret@new.example/mcp/?token=secret'
    const name = await register(address(answers('', { location }, 307)), {
      requiredRoles: ['user'],
    })
    const legacy = { body: initialize, headers: {} }
    for (const sending of [legacy, modernRequest('tools/list', {})]) {
      const own = await mcp(name, sending)
      const theirs = await mcp(name, {
        ...sending,
        headers: { ...sending.headers, 'x-dev-userid': 'user', 'x-dev-roles': 'user' },
      })
      expect(own.body.toString()).toContain('https://new.example/mcp/ (HTTP 307)')
      expect(own.body.toString()).not.toContain('secret')
      expect(theirs.body.toString()).toContain('redirects to another address (HTTP 307)')
    }
  })

  test('tool rules and translation work with a server that honours Accept-Encoding', async () => {
    const plain = gzipping(stateful)
    for (const more of [{}, { toolRules: [{ effect: 'allow', tools: '*' }] }]) {
      const name = await register(address(plain), more)
      const told = await mcp(name, modernRequest('tools/list', {}))
      expect(JSON.parse(told.body.toString())).toMatchObject({
        id: 7,
        result: { resultType: 'complete' },
      })
    }
  })

  test('a server that compresses against Accept-Encoding is reported to its clients', async () => {
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    const name = await register(
      address((request, response, body) =>
        body.includes('tools/list')
          ? void response.writeHead(200, headers).end(gzipSync('{}'))
          : stateful(request, response, body),
      ),
    )
    const told = await mcp(name, modernRequest('tools/list', {}))
    expect(told.body.toString()).toContain('compresses its answers (gzip)')
  })

  test('an adapter that points at the gateway itself causes no endless loop', async () => {
    const credential = await gatewayCredential()
    const one = await register(`${gateway.origin}/adapters/other-turn/mcp`, { credential })
    expect(
      (
        await call('POST', '/adapters', {
          name: 'other-turn',
          endpoint: `${gateway.origin}/adapters/${one}/mcp`,
          credential,
        })
      ).status,
    ).toBe(201)
    for (const sending of [{ body: ping }, { body: initialize }, modernRequest('tools/list', {})]) {
      const before = gateway.requests(one).length
      expect(await refusal(mcp(one, sending))).toEqual([508, 'loop_detected'])
      expect(gateway.requests(one).length - before).toBeLessThan(5)
    }
  })

  test('adapters of two gateways that point at each other cause no endless loop', async () => {
    await using other = await TestGateway.open()
    const credential = await gatewayCredential()
    const there = 'loops-there'
    const here = await register(`${other.origin}/adapters/${there}/mcp`, {
      credential: await gatewayCredential(other),
    })
    const endpoint = `${gateway.origin}/adapters/${here}/mcp`
    const back = { name: there, endpoint, credential }
    expect((await call('POST', '/adapters', back, other)).status).toBe(201)

    for (const sending of [{ body: ping }, modernRequest('tools/list', {})]) {
      const before = gateway.requests(here).length
      expect(await refusal(mcp(here, sending))).toEqual([508, 'loop_detected'])
      // Each gateway asks for the era of its server, and once more if a second has passed.
      const requests = gateway.requests(here).slice(before)
      expect(requests.length).toBeLessThan(10)
      // No gateway has waited for the other until its patience was over.
      expect(requests.map(({ status }) => status)).toEqual(requests.map(() => 508))
    }
  })

  test.each<[string, Readonly<Record<string, string>>]>([
    ['as many names as its headers may hold', { 'cdn-loop': 'cdn.example, '.repeat(1600) }],
    ['a name that the server refuses', { 'cdn-loop': 'refused' }],
    ['a name of the kind that gateways have', { 'cdn-loop': 'mcp-gateway-0123456789ab' }],
    [
      'an identity that is too long for the server',
      { 'x-dev-roles': 'mcp.dev,' + 'r'.repeat(20_000) },
    ],
  ])('a caller with %s decides for nobody else which era a server speaks', async (_, headers) => {
    const name = await register(
      address((request, response, body) => {
        const { 'cdn-loop': loop = '' } = request.headers
        if (loop.includes('refused')) response.writeHead(400).end()
        else if (loop.includes('0123456789ab')) response.writeHead(508).end()
        else modern(request, response, body)
      }),
      { callerIdentity: 'signed' },
    )
    const { value: authorization } = await gatewayCredential()
    const more = 'cdn-loop' in headers ? { authorization, ...headers } : headers
    const first = modernRequest('tools/call', { name: 'add', arguments: {} })
    await mcp(name, { ...first, headers: { ...first.headers, ...more } })
    const told = await mcp(name, modernRequest('tools/call', { name: 'add', arguments: {} }))
    expect([told.status, told.body.toString()]).toEqual([200, expect.stringContaining('done')])
    expect(seen.filter(({ body }) => body.includes('"initialize"'))).toEqual([])
  })

  test('a caller whose request seems to turn in a loop keeps nobody from translation', async () => {
    const name = await register(
      address((request, response, body) => {
        const { 'cdn-loop': loop = '' } = request.headers
        if (loop.includes('0123456789ab')) response.writeHead(508).end()
        else stateful(request, response, body)
      }),
    )
    const request = modernRequest('tools/list', {})
    const loop = { 'cdn-loop': 'mcp-gateway-0123456789ab' }
    const both = [
      {
        ...request,
        headers: { ...request.headers, authorization: (await gatewayCredential()).value, ...loop },
      },
      request,
    ]
    const [looping, other] = await Promise.all(both.map((sending) => mcp(name, sending)))
    expect([looping?.status, other?.status]).toEqual([508, 200])
    expect(other?.body.toString()).toContain('"resultType":"complete"')
  })

  test('an adapter that points at another adapter of the gateway serves', async () => {
    const inner = await gateway.register()
    const outer = await register(`${gateway.origin}/adapters/${inner}/mcp`, {
      credential: await gatewayCredential(),
    })
    expect((await mcp(outer, {}, '?do=echo&tag=through')).body.toString()).toBe(ping)
  })

  test('a server gets no request of a client that left during the probe for its era', async () => {
    let asked = (): void => undefined
    const asking = new Promise<void>((resolve) => (asked = resolve))
    let release = (): void => undefined
    const name = await register(
      address((request, response, body) => {
        if (!body.includes('server/discover')) return modern(request, response, body)
        release = () => modern(request, response, body)
        asked()
      }),
    )
    const client = new AbortController()
    const { headers, body } = modernRequest('tools/call', { name: 'pay', arguments: {} })
    const gone = expect(
      gateway.start(`/adapters/${name}/mcp`, { headers, body }, client.signal),
    ).rejects.toThrow()
    await asking
    client.abort()
    await gone
    // Once the gateway answers this, it has seen the end before.
    await gateway.send('/healthz', { method: 'GET' })
    release()
    await expect
      .poll(() => gateway.requests(name))
      .toMatchObject([{ status: 499, error: 'client_closed_request' }])
    expect(seen.map((request) => request.body.includes('"pay"'))).toEqual([false])
  })

  test.each([408, 429, 503])(
    'a failed era probe (HTTP %i) is repeated, and does not make the server a legacy one',
    async (status) => {
      let probes = 0
      const name = await register(
        address((request, response, body) => {
          if (body.includes('era-probe') && (probes += 1) === 1)
            return void response.writeHead(status).end()
          modern(request, response, body)
        }),
      )
      for (const asked of [1, 2]) {
        const request = modernRequest('tools/call', { name: 'pay', arguments: {} })
        expect((await mcp(name, request)).body.toString()).toContain('done')
        expect(probes).toBe(asked)
      }
    },
  )

  test('the error about an unreachable server gives away nothing of the network', async () => {
    for (const endpoint of ['http://127.0.0.1:9/mcp', 'http://no-such-host.invalid/mcp']) {
      const name = await register(endpoint)
      for (const sending of [{ body: ping }, modernRequest('tools/list', {})]) {
        const answer = await mcp(name, sending)
        expect(await refusal(Promise.resolve(answer))).toEqual([502, 'upstream_unreachable'])
        expect(answer.body.toString()).not.toMatch(
          /127\.0\.0\.1|ECONN|ENOTFOUND|invalid\/|no-such-host/,
        )
      }
    }
  })

  test('a server with an untrusted certificate gets no request', async () => {
    let requests = 0
    const unknown = createHttpsServer(selfSigned, () => (requests += 1))
    const port = await listening(unknown)
    const name = await register(`https://localhost:${port}/mcp`)
    expect(await refusal(mcp(name))).toEqual([502, 'upstream_untrusted'])
    expect(requests).toBe(0)
    unknown.closeAllConnections()
    await new Promise((resolve) => unknown.close(resolve))
  })
})

describe('an address that policy forbids', () => {
  let strict: TestGateway
  beforeAll(async () => {
    strict = await TestGateway.open({
      endpointNetworks: [],
      tools: { endpointNetworks: ['127.0.0.0/8'] },
    } as Record<string, object>)
  })
  afterAll(() => strict[Symbol.asyncDispose]())

  test.each([
    'http://127.0.0.1/mcp',
    'http://localhost:3000/mcp',
    'http://x.localhost./mcp',
    'http://[::1]/mcp',
    'http://169.254.169.254/latest/meta-data',
    'http://0xa9fea9fe/',
    'http://[::ffff:a9fe:a9fe]/',
    'https://10.1.2.3/mcp',
  ])('the gateway refuses to register the forbidden address %s', async (endpoint) => {
    const { status, body } = await call('POST', '/adapters', { name: 'inner', endpoint }, strict)
    expect([status, JSON.stringify(body)]).toEqual([
      400,
      expect.stringMatching(/endpoint_forbidden.*\(endpointNetworks\)/),
    ])
  })

  test('the gateway never calls a forbidden address, whatever name hides it', async () => {
    const name = await register(`http://${hostname()}:${new URL(origin).port}/deep`, {}, strict)
    expect(await refusal(mcp(name, {}, '', strict))).toEqual([502, 'endpoint_forbidden'])
    expect(seen).toEqual([])
  })

  test.each(['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]'])(
    'the gateway stops calling an address that policy forbids later: %s',
    async (host) => {
      const wide = await TestGateway.open()
      const name = await register(`http://${host}:${new URL(origin).port}/deep`, {}, wide)
      await using narrow = await wide.reopen({ endpointNetworks: [] })
      for (const sending of [{ body: ping }, { body: initialize }, modernRequest('tools/list', {})])
        expect(await refusal(mcp(name, sending, '', narrow))).toEqual([502, 'endpoint_forbidden'])
      expect(seen).toEqual([])
    },
  )

  test('policy may allow other addresses for tools than for adapters', async () => {
    const endpoint = 'http://127.0.0.1:9/'
    expect(
      (
        await call(
          'POST',
          '/tools',
          { name: 'mine', endpoint, toolDefinition: { tool: { name: 'mine' } } },
          strict,
        )
      ).status,
    ).toBe(201)
  })
})

describe('mistakes in an endpoint', () => {
  test.each([
    ['neither image nor endpoint', {}, ['/imageName invalid_type', '/imageVersion invalid_type']],
    [
      'image and endpoint',
      { imageName: 'a', imageVersion: '1', endpoint: 'https://example.com/' },
      ['/imageName ambiguous', '/imageVersion ambiguous'],
    ],
    ['no URL', { endpoint: 'example.com/mcp' }, ['/endpoint invalid_format']],
    ['another scheme', { endpoint: 'ws://example.com/mcp' }, ['/endpoint invalid_format']],
    [
      'a password in the address',
      { endpoint: 'https://u:p@example.com/' },
      ['/endpoint endpoint_credentials'],
    ],
    ['a fragment', { endpoint: 'https://example.com/#a' }, ['/endpoint invalid_format']],
  ] as const)('the gateway refuses to register %s', async (_what, fields, mistakes) => {
    const { status, body } = await call('POST', '/adapters', { name: 'never', ...fields })
    const told = (body['errors'] as { pointer: string; code: string }[]).map(
      ({ pointer, code }) => `${pointer} ${code}`,
    )
    expect([status, told]).toEqual([400, mistakes])
  })
})

describe('an adapter that moves', () => {
  const toEndpoint = (endpoint: string) => ({ imageName: null, imageVersion: null, endpoint })
  const toImage = { endpoint: null, imageName: 'scripted', imageVersion: '1' }

  test('a move from an image to an endpoint ends the process and the sessions', async () => {
    const others = processesWith(gateway.dataDir)
    const replicasHere = (): number[] =>
      processesWith(gateway.dataDir).filter((pid) => !others.includes(pid))
    const name = await gateway.register()
    const opened = await gateway.mcp(name, 'do=initialize', { headers: json, body: initialize })
    const before = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    expect(replicasHere()).toHaveLength(1)

    await gateway.patch(name, toEndpoint(address(stateful)))
    expect(await refusal(mcp(name, { headers: before }))).toEqual([404, 'session_not_found'])

    const session = await open(name)
    expect((await mcp(name, { headers: session })).status).toBe(200)
    await expect.poll(replicasHere).toEqual([])

    const stream = await gateway.start(`/adapters/${name}/mcp`, {
      method: 'GET',
      headers: { ...json, ...session },
    })
    const ended = readAnswer(stream)
    await gateway.patch(name, toImage)
    expect(await refusal(mcp(name, { headers: session }))).toEqual([404, 'session_not_found'])
    expect(await ended).toMatchObject({ whole: true, body: Buffer.from('data: first\n\n') })

    await gateway.untilReady(name, 1)
    expect(
      (await gateway.mcp(name, 'do=echo&tag=back', { headers: json, body: ping })).status,
    ).toBe(200)
    expect(valuesOf(gateway.received('back').rawHeaders, 'content-type')).toEqual([
      'application/json',
    ])
    expect((await call('GET', `/adapters/${name}`)).body).toMatchObject({
      imageName: 'scripted',
      replicaCount: 1,
    })
  })

  test('a move to another address ends sessions, translated ones too', async () => {
    for (const behaviour of [stateful, modern]) {
      const name = await register(address(behaviour))
      const session = await open(name)
      expect((await mcp(name, { headers: session })).status).toBe(200)
      await gateway.patch(name, { endpoint: address(behaviour) })
      expect(await refusal(mcp(name, { headers: session }))).toEqual([404, 'session_not_found'])
      expect((await mcp(name, { headers: await open(name) })).status).toBe(200)
    }
  })

  test('an adapter takes no masked secret to another address', async () => {
    const credential = { header: 'X-Key', value: 'secret' }
    const name = await register(address(stateful), { credential })
    expect(
      (await call('PATCH', `/adapters/${name}`, { endpoint: 'http://127.0.0.1:1/mcp' })).body,
    ).toMatchObject({
      errors: [{ pointer: '/credential/value', code: 'masked_value' }],
    })
    expect((await call('PATCH', `/adapters/${name}`, { endpoint: address(stateful) })).status).toBe(
      200,
    )
    const image = await gateway.register({ credential, replicaCount: 0 }, false)
    expect((await call('PATCH', `/adapters/${image}`, toEndpoint(address(stateful)))).status).toBe(
      400,
    )
  })
})
