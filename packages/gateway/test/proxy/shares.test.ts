import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '@mcp-gateway/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { RawConnection, readAnswer, TestGateway, type Exchange } from '../fixtures/gateway.ts'
import { initialize, messagesOf, modern, modernRequest } from '../fixtures/mcp-requests.ts'

type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void

let gateway: TestGateway
let server: Server
let origin = ''
const behaviours = new Map<string, Behaviour>()
/** Open answers of the server elsewhere, by path. */
const held = new Map<string, ServerResponse[]>()
/** The connections that a test has left open. */
const open: { destroy(): void }[] = []

beforeAll(async () => {
  gateway = await TestGateway.open({
    edge: { bodyLimitBytes: 256 * 1024 },
    limits: {
      openRequests: 40,
      bodyBytes: 1024 * 1024,
      heldBytes: 4 * 1024 * 1024,
      connectionsPerServer: 8,
      callsPerServer: 4,
      logReaders: 4,
      sessions: 20,
    },
  })
  server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => (body += part))
    request.on('end', () => behaviours.get(request.url ?? '')?.(request, response, body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await gateway[Symbol.asyncDispose]()
  await new Promise((resolve) => server.close(resolve))
})
afterEach(async () => {
  for (const each of open.splice(0)) each.destroy()
  for (const responses of held.values()) for (const response of responses) response.destroy()
  held.clear()
  // The gateway frees shares when it sees that a client has gone.
  await sleep(100)
})

let count = 0
function address(behaviour: Behaviour): { readonly path: string; readonly endpoint: string } {
  const path = `/${(count += 1)}`
  behaviours.set(path, behaviour)
  return { path, endpoint: origin + path }
}

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const by = (caller: string): Record<string, string> => ({ ...json, 'x-dev-userid': caller })
const ping = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'ping' })

/** A server that answers when `held` ends, and whose streams stay open. */
const slow: Behaviour = (request, response) => {
  const path = request.url ?? ''
  if (request.method === 'GET')
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n')
  held.set(path, [...(held.get(path) ?? []), response])
}

async function elsewhere(behaviour: Behaviour, more: object = {}): Promise<[string, string]> {
  const { path, endpoint } = address(behaviour)
  return [await gateway.register({ ...remote, ...shared, endpoint, ...more }, false), path]
}
const remote = { imageName: undefined, imageVersion: undefined }
/** Every caller of these tests may use it. */
const shared = { requiredRoles: ['mcp.dev'] }

async function start(path: string, caller: string, method = 'POST', body?: string) {
  const answer = await gateway.start(path, {
    method,
    headers: by(caller),
    ...(body === undefined ? {} : { body }),
  })
  open.push(answer)
  return answer
}

/** Begins a request and does not await its answer. */
function leave(path: string, caller: string, body = ping): Promise<Exchange> {
  const leaving = new AbortController()
  open.push({ destroy: () => leaving.abort() })
  const answered = gateway
    .start(path, { headers: by(caller), body }, leaving.signal)
    .then(readAnswer)
  answered.catch(() => undefined)
  return answered
}

/** Gives the code of a REST or MCP error. */
function codeOf({ status, body }: Exchange): string {
  const text = body.toString()
  if (status < 400) return String(status)
  const { code, error } = JSON.parse(text) as { code?: string; error?: { data: { code: string } } }
  return `${status} ${code ?? error?.data.code}`
}

describe('connections to a server elsewhere', () => {
  test('one caller gets half of a server’s connections, and another gets in', async () => {
    const [name, path] = await elsewhere(slow)
    const at = `/adapters/${name}/mcp`
    for (let index = 0; index < 4; index += 1) void leave(at, 'eve')
    await expect.poll(() => held.get(path)?.length).toBe(4)

    const refused = await gateway.send(at, { headers: by('eve'), body: ping })
    expect(codeOf(refused)).toBe('503 too_many_connections')
    expect(refused.headers['retry-after']).toBe('5')

    const answered = leave(at, 'ann')
    await expect.poll(() => held.get(path)?.length).toBe(5)
    held.get(path)?.at(-1)?.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    expect((await answered).status).toBe(200)
  })

  test('a call that needs a connection ends the heaviest caller’s oldest stream', async () => {
    const [name] = await elsewhere(slow)
    const at = `/adapters/${name}/mcp`
    const streams: IncomingMessage[] = []
    for (const caller of ['eve', 'eve', 'eve', 'eve', 'ann', 'ann', 'bob', 'cal'])
      streams.push(await start(at, caller, 'GET'))
    expect(streams.map(({ statusCode }) => statusCode)).toEqual(streams.map(() => 200))
    const ended = readAnswer(streams[0] as IncomingMessage)

    expect((await start(at, 'dan', 'GET')).statusCode).toBe(200)

    expect((await ended).whole).toBe(true)
    expect(streams.slice(1).every(({ destroyed }) => !destroyed)).toBe(true)
  })
})

async function registerTool(endpoint: string, more: object = {}, at = gateway): Promise<string> {
  const name = `t${randomUUID().slice(0, 8)}`
  const body = { ...shared, name, endpoint, toolDefinition: { tool: { name, ...more } } }
  const registered = await at.send('/tools', { headers: json, body: JSON.stringify(body) })
  expect(registered.status).toBe(201)
  return name
}

/** Gives the failure of a call; undefined if it succeeds. */
async function failedCall(tool: string, caller: string, at = gateway) {
  const headers = { 'x-dev-userid': caller }
  const { message } = await modern(at, 'tools/call', { name: tool }, { headers })
  const { content, _meta: meta } = message.result as {
    content: readonly { text: string }[]
    _meta?: { 'mcp-gateway/error'?: { code: string; retryable: boolean } }
  }
  const error = meta?.['mcp-gateway/error']
  return error && { ...error, text: content[0]?.text }
}

describe('a tool elsewhere', () => {
  test('a client learns that its call got no connection in time and was not sent', async () => {
    await using hurried = await TestGateway.open({
      limits: { callsPerServer: 2 },
      tools: { callTimeoutSeconds: 3 },
    })
    const { path, endpoint } = address(slow)
    const tool = await registerTool(endpoint, {}, hurried)
    const call = (caller: string) => failedCall(tool, caller, hurried)
    const calls = ['eve', 'eve', 'eve'].map((caller) => call(caller))
    await expect.poll(() => held.get(path)?.length).toBe(1)
    await sleep(1500)
    void call('ann')
    await expect.poll(() => held.get(path)?.length).toBe(2)
    void call('bob')
    await sleep(200)

    // Bob's call comes after Eve's second call, so her third one still waits.
    for (let ended = 0; ended < 2; ended += 1) {
      const [response] = held.get(path)?.splice(ended === 0 ? 0 : 1, 1) ?? []
      response?.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      await expect.poll(() => held.get(path)?.length).toBe(2)
    }

    const failures = (await Promise.all(calls)).filter((failure) => failure !== undefined)
    expect(failures).toMatchObject([{ code: 'timeout', retryable: true }])
    expect(failures[0]?.text).toContain('The call was not sent')
  })

  test.each([
    ['may have run if a repetition does harm', {}, false],
    ['may be repeated if that does no harm', { idempotentHint: true }, true],
  ])(
    'a call whose answer exceeds its caller’s memory %s',
    async (_what, annotations, retryable) => {
      const { endpoint } = address((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ text: 'x'.repeat(3 * 1024 * 1024) }))
      })
      const tool = await registerTool(endpoint, { annotations })

      const failure = await failedCall(tool, 'eve')

      expect(failure).toMatchObject({ code: 'answer_dropped', retryable })
      expect(failure?.text).toContain("The tool's answer takes more memory than is left for it")
    },
  )

  test('calls beyond a caller’s share run one by one, and those of others at once', async () => {
    const { path, endpoint } = address(slow)
    const tool = await registerTool(endpoint)
    const call = (caller: string): Promise<unknown> =>
      modern(gateway, 'tools/call', { name: tool }, { headers: { 'x-dev-userid': caller } })
    const done: string[] = []
    for (const caller of ['eve', 'eve', 'eve', 'eve'])
      void call(caller).then(() => done.push(caller))
    await expect.poll(() => held.get(path)?.length).toBe(2)

    const answered = call('dev').then(() => done.push('dev'))
    await expect.poll(() => held.get(path)?.length).toBe(3)
    held.get(path)?.pop()?.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    await answered
    expect(done).toEqual(['dev'])

    const finish = (): void => {
      for (const response of held.get(path)?.splice(0) ?? [])
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    }
    await expect.poll(() => (finish(), done.length)).toBe(5)
  })
})

describe('open requests', () => {
  test('one caller holds half of all open requests, and another gets in', async () => {
    const name = await gateway.register(shared)
    const at = `/adapters/${name}/mcp?do=late&ms=60000`
    const tag = randomUUID()
    for (let index = 0; index < 20; index += 1) void leave(`${at}&tag=${tag}`, 'eve')
    await expect
      .poll(() => gateway.events(tag).filter(({ method }) => method !== undefined).length)
      .toBe(20)

    const headers = by('eve')
    const status = '/adapters?limit=1'
    const refused = await gateway.mcp(name, 'do=status&status=200', { headers, body: ping })
    expect(codeOf(refused)).toBe('429 share_used_up')
    expect(refused.headers['retry-after']).toBe('1')
    expect(codeOf(await gateway.send(status, { method: 'GET', headers }))).toBe('429 share_used_up')

    const ann = by('ann')
    const passed = await gateway.mcp(name, 'do=status&status=200', { headers: ann, body: ping })
    expect(passed.status).toBe(200)
    expect((await gateway.send(status, { method: 'GET', headers: ann })).status).toBe(200)
  })

  test('pipelined requests give their places back when their connection closes', async () => {
    const name = await gateway.register(shared)
    const tag = randomUUID()
    const seen = (): number =>
      gateway.events(tag).filter(({ method }) => method !== undefined).length
    const before = gateway.log.length
    const list = modernRequest('tools/list', {})
    const post = (path: string, given: object, body: string): string =>
      [
        `POST ${path} HTTP/1.1`,
        ...Object.entries({ host: 'localhost', ...given }).map((pair) => pair.join(': ')),
        `x-dev-userid: eve\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      ].join('\r\n')

    for (let round = 1; round <= 3; round += 1) {
      const raw = gateway.connect()
      open.push({ destroy: () => raw.socket.destroy() })
      const hangs = post(`/adapters/${name}/mcp?do=late&ms=60000&tag=${tag}`, json, ping)
      raw.socket.write(hangs + post('/mcp', list.headers, list.body).repeat(15))
      await expect.poll(seen).toBe(round)
      raw.socket.destroy()
      await sleep(100)
    }

    expect(gateway.log.slice(before).filter(({ status }) => status === 429)).toEqual([])
  })

  test('a call whose answer has begun does not end for the calls of others', async () => {
    const [name] = await elsewhere((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': begun\n\n')
    })
    const at = `/adapters/${name}/mcp`
    const calls: IncomingMessage[] = []
    for (const caller of ['eve', 'eve', 'eve', 'eve'])
      calls.push(await start(at, caller, 'POST', ping))
    const lasting = await gateway.register(shared)
    const tag = randomUUID()
    for (const caller of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 'a8', 'a9'])
      for (let index = 0; index < 3; index += 1)
        void leave(`/adapters/${lasting}/mcp?do=late&ms=60000&tag=${tag}`, caller)
    for (let index = 0; index < 9; index += 1)
      void leave(`/adapters/${lasting}/mcp?do=late&ms=60000&tag=${tag}`, `b${index}`)
    await expect
      .poll(() => gateway.events(tag).filter(({ method }) => method !== undefined).length)
      .toBeGreaterThan(30)

    await gateway.send('/adapters?limit=1', { method: 'GET', headers: by('zoe') })
    expect(calls.every(({ destroyed, complete }) => !destroyed && !complete)).toBe(true)
  })

  test('the oldest stream of the heaviest caller ends when others need the room', async () => {
    const name = await gateway.register(shared)
    const at = `/adapters/${name}/mcp?do=stream`
    const streams: IncomingMessage[] = []
    for (let index = 0; index < 20; index += 1) streams.push(await start(at, 'eve', 'GET'))
    for (let index = 0; index < 10; index += 1) streams.push(await start(at, 'ann', 'GET'))
    const answer = readAnswer(streams[0] as IncomingMessage)

    expect((await start(at, 'ann', 'GET')).statusCode).toBe(200)

    // An event stream ends in order.
    expect((await answer).whole).toBe(true)
    expect(streams.slice(1).every(({ destroyed }) => !destroyed)).toBe(true)
  })
})

describe('unfinished bodies', () => {
  const quarter = 256 * 1024
  const head = (path: string, caller: string, framing: string): string =>
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\nx-dev-userid: ${caller}\r\n` +
    `content-type: application/json\r\n${framing}\r\n\r\n`
  const begin = (text: string): RawConnection => {
    const raw = gateway.connect()
    open.push({ destroy: () => raw[Symbol.dispose]() })
    raw.socket.write(text)
    return raw
  }
  const path = '/adapters/none/mcp'

  test.each([
    ['MCP requests that declare a length', 'mcp', `content-length: ${quarter}`, ''],
    [
      'MCP requests in chunks',
      'mcp',
      'transfer-encoding: chunked',
      `${quarter.toString(16)}\r\n${'x'.repeat(quarter)}`,
    ],
    ['changes that declare a length', '/adapters', `content-length: ${quarter}`, ''],
    ['changes in chunks', '/adapters', 'transfer-encoding: chunked', ''],
  ])(
    'unfinished bodies of one caller take half of the bytes: %s',
    async (_what, where, framing, first) => {
      const at = where === 'mcp' ? `/adapters/${await gateway.register(shared)}/mcp` : where
      const begun = [
        begin(head(at, 'eve', framing) + first),
        begin(head(at, 'eve', framing) + first),
      ]
      await sleep(200)
      expect(begun.map(({ text }) => text)).toEqual(['', ''])

      const third = begin(head(at, 'eve', framing) + first)
      await expect.poll(() => third.text).toMatch(/^HTTP\/1\.1 429 [^]*"share_used_up"/)

      const ann = begin(head(at, 'ann', 'content-length: 2') + '{}')
      await expect.poll(() => ann.text).toMatch(/^HTTP\/1\.1 (200|400|404) /)
      expect(begun.map(({ text }) => text)).toEqual(['', ''])
    },
  )

  test('unfinished bodies of the heaviest caller make room for one that holds less', async () => {
    const at = `/adapters/${await gateway.register(shared)}/mcp`
    const framing = `content-length: ${quarter}`
    const eve = begin(head(at, 'eve', framing))
    await sleep(50)
    begin(head(at, 'eve', framing))
    begin(head(at, 'ann', framing))
    begin(head(at, 'bob', framing))
    await sleep(200)
    expect(eve.text).toBe('')

    const cal = begin(head(at, 'cal', 'content-length: 8192') + '{}'.padEnd(8192))

    await expect.poll(() => cal.text).toMatch(/^HTTP\/1\.1 200 /)
    await expect.poll(() => eve.text).toMatch(/^HTTP\/1\.1 429 [^]*"share_used_up"/)
  })

  test('callers without the right to send take no room of bodies', async () => {
    const framing = `content-length: ${quarter}`
    for (let index = 0; index < 5; index += 1) {
      const raw = begin(head(path, 'eve', framing))
      await expect.poll(() => raw.text).toMatch(/^HTTP\/1\.1 404 /)
    }
  })
})

test('one caller follows half of the logs, and gives way to one that follows none', async () => {
  const talkative = {
    command: [process.execPath, '-e', "console.log('ready'); setInterval(() => undefined, 1000)"],
  }
  await using watched = await TestGateway.open({
    runtime: { images: { talkative } },
    limits: { logReaders: 4 },
  })
  const owners = { requiredRoles: ['user'], ownerRoles: ['user'] }
  const name = await watched.register({ imageName: 'talkative', ...owners }, false)
  const path = `/adapters/${name}/logs?follow=true`
  const follow = async (caller: string): Promise<IncomingMessage> => {
    const headers = { 'x-dev-userid': caller, 'x-dev-roles': 'user' }
    const answer = await watched.start(path, { method: 'GET', headers })
    open.push(answer)
    return answer
  }
  await expect.poll(async () => (await follow('probe')).statusCode).toBe(200)

  for (const each of open.splice(0)) each.destroy()
  await sleep(200)

  const first = await follow('eve')
  const second = await follow('eve')
  expect([first.statusCode, second.statusCode]).toEqual([200, 200])
  expect(codeOf(await readAnswer(await follow('eve')))).toBe('429 share_used_up')

  const others = [await follow('ann'), await follow('bob'), await follow('cal')]

  expect(others.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200])
  expect((await readAnswer(first)).whole).toBe(true)
  expect(second.destroyed).toBe(false)

  for (const each of open.splice(0)) each.destroy()
})

test('one bound holds for a caller’s legacy sessions over all modern servers', async () => {
  const server: Behaviour = (request, response, body) => {
    const { id, method } = JSON.parse(body === '' ? '{}' : body) as {
      id?: unknown
      method?: string
    }
    const answer = (status: number, rest: object): void =>
      void response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(JSON.stringify({ jsonrpc: '2.0', id: id ?? null, ...rest }))
    if (request.headers['mcp-protocol-version'] !== '2026-07-28')
      return answer(400, { error: { code: -32022, message: 'Unsupported protocol version' } })
    const result = {
      resultType: 'complete',
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: {} },
      ttlMs: 0,
      cacheScope: 'private',
      tools: [],
    }
    if (method === 'server/discover' || method === 'tools/list') return answer(200, { result })
    answer(200, { error: { code: -32601, message: 'not here' } })
  }
  const names = [(await elsewhere(server))[0], (await elsewhere(server))[0]]
  const openSession = async (name: string | undefined, caller: string): Promise<string> => {
    const headers = by(caller)
    const opened = await gateway.send(`/adapters/${name}/mcp`, { headers, body: initialize })
    expect(opened.status).toBe(200)
    return String(opened.headers['mcp-session-id'])
  }
  const status = async (name: string | undefined, session: string): Promise<number> => {
    const headers = { ...by('eve'), 'mcp-session-id': session }
    return (await gateway.send(`/adapters/${name}/mcp`, { headers, body: ping })).status
  }
  const first = await openSession(names[0], 'eve')
  const second = await openSession(names[0], 'eve')
  await openSession(names[1], 'ann')
  expect(await status(names[0], first)).toBe(200)

  const third = await openSession(names[1], 'eve')

  expect(await status(names[0], second)).toBe(404)
  expect(await status(names[0], first)).toBe(200)
  expect(await status(names[1], third)).toBe(200)
})

const greeting = 'GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n'

function rawAt(origin: string, localAddress = '127.0.0.1', allowHalfOpen = false): RawConnection {
  const { hostname: host, port } = new URL(origin)
  const raw = new RawConnection(connect({ host, port: Number(port), localAddress, allowHalfOpen }))
  open.push(raw.socket)
  return raw
}

/** Gives the answer to a request on a connection, or the rest of it. */
async function greet(raw: RawConnection, text = greeting): Promise<string> {
  raw.text = ''
  raw.socket.write(text)
  await expect.poll(() => raw.text).toContain('\r\n\r\n')
  return raw.text
}

test('one address holds half of the connections, and another address gets in', async () => {
  await using small = await TestGateway.open({ limits: { connections: 6 } })
  const begun = Array.from({ length: 3 }, () => rawAt(small.origin))
  for (const raw of begun) raw.socket.write(greeting.slice(0, 20))
  await sleep(50)

  const refused = rawAt(small.origin)
  expect(await greet(refused)).toMatch(/^HTTP\/1\.1 503 [^]*"code":"no_room"/)
  await expect.poll(() => refused.closed).toBe(true)
  expect(refused.text.match(/HTTP\/1\.1/g)).toHaveLength(1)
  expect(await greet(rawAt(small.origin, '127.0.0.2'))).toMatch(/^HTTP\/1\.1 200 /)

  for (const raw of begun.slice(0, 2)) raw.socket.destroy()
  await sleep(50)
  expect(await greet(rawAt(small.origin))).toMatch(/^HTTP\/1\.1 200 /)
  // Otherwise a stopping gateway would wait for the rest of this request.
  begun[2]?.socket.destroy()
})

test.each([
  ['of clients', undefined],
  ['of probes and peers', '127.0.0.1'],
])(
  'a connection %s that waits for its next request gives its place to a new one',
  async (_, host) => {
    const port = await freePort()
    const cluster = host === undefined ? {} : { cluster: { port, host } }
    await using small = await TestGateway.open({ limits: { connections: 6 }, ...cluster })
    const origin = host === undefined ? small.origin : `http://${host}:${port}`
    const [slow, ...idle] = Array.from({ length: 3 }, () => rawAt(origin))
    slow?.socket.write(greeting.slice(0, 20))
    for (const raw of idle) expect(await greet(raw)).toMatch(/^HTTP\/1\.1 200 /)

    expect(await greet(rawAt(origin))).toMatch(/^HTTP\/1\.1 200 /)

    await expect.poll(() => idle.map(({ closed }) => closed)).toEqual([true, false])
    expect(await greet(slow as RawConnection, greeting.slice(20))).toMatch(/^HTTP\/1\.1 200 /)
  },
)

test('a client that never finishes a request gives its connection back', async () => {
  await using small = await TestGateway.open({
    limits: { connections: 2 },
    edge: { headersTimeoutSeconds: 1 },
  })
  const slow = rawAt(small.origin, '127.0.0.1', true)
  slow.socket.write(greeting.slice(0, 20))
  await expect.poll(() => slow.text).toMatch(/^HTTP\/1\.1 408 /)

  await expect.poll(() => greet(rawAt(small.origin)), { interval: 200 }).toMatch(/^HTTP\/1\.1 200 /)
})

describe('bytes of answers that the gateway holds', () => {
  const toolRules = [{ effect: 'allow', tools: '*' }]
  const piece = 'x'.repeat(256 * 1024)
  /**
   * Sends an event, a line or a body that never ends to callers named `endless`, and a short one to
   * others.
   */
  const endless =
    (type: string, begin = ''): Behaviour =>
    (request, response, body) => {
      const { id = null, params } = JSON.parse(body) as { id?: unknown; params?: { name?: string } }
      if (params?.name !== 'endless')
        return void response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ jsonrpc: '2.0', id, result: { content: [] } }))
      response.writeHead(200, { 'content-type': type }).write(begin)
      let left = 24
      const timer = setInterval(() => {
        if ((left -= 1) < 0) clearInterval(timer)
        else response.write(piece)
      }, 2)
      response.once('close', () => clearInterval(timer))
      held.set(request.url ?? '', [...(held.get(request.url ?? '') ?? []), response])
    }
  const call = (name: string, id: number): string =>
    JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name } })

  test('one caller holds half of the bytes for tool rules, and gets one error', async () => {
    const [name] = await elsewhere(endless('text/event-stream', 'data: '), { toolRules })
    const at = `/adapters/${name}/mcp`
    const answers = await Promise.all([1, 2, 3].map((id) => leave(at, 'eve', call('endless', id))))
    for (const [index, { status, whole, body, headers }] of answers.entries()) {
      expect([status, whole]).toEqual([200, true])
      expect(messagesOf(body.toString(), headers['content-type'])).toEqual([
        {
          jsonrpc: '2.0',
          id: index + 1,
          error: {
            code: -32603,
            message: expect.stringContaining('may have run'),
            data: { code: 'answer_dropped', retryable: false },
          },
        },
      ])
    }
    const other = await gateway.send(at, { headers: by('ann'), body: call('quick', 9) })
    expect(other.status).toBe(200)
  })

  test('a list under tool rules is refused before its answer begins', async () => {
    const list = JSON.stringify({
      jsonrpc: '2.0',
      id: 4,
      method: 'tools/list',
      params: { name: 'endless' },
    })
    const [name] = await elsewhere(endless('application/json', '{"x":"'), { toolRules })
    const answer = await leave(`/adapters/${name}/mcp`, 'eve', list)
    expect(codeOf(answer)).toBe('429 share_used_up')
    expect(answer.body.toString()).toContain('"retryable":true')
  })

  test('a list beside a call in one batch is refused as a call that may have run', async () => {
    const batch = JSON.stringify(
      ['tools/list', 'tools/call'].map((method, id) => ({
        jsonrpc: '2.0',
        id,
        method,
        params: { name: 'endless' },
      })),
    )
    const pour: Behaviour = (request, response) =>
      endless('application/json', '[{"x":"')(request, response, call('endless', 1))
    const [name] = await elsewhere(pour, { toolRules })
    const answer = await leave(`/adapters/${name}/mcp`, 'eve', batch)
    expect(codeOf(answer)).toBe('502 answer_dropped')
    expect(answer.body.toString()).toContain('"retryable":false')
  })

  test('an answer to translate that finds no memory is refused with the code', async () => {
    const never = endless('text/event-stream', 'data: ')
    const legacy: Behaviour = (request, response, body) => {
      if (request.method !== 'POST') return void response.writeHead(405).end()
      const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
      if (id === undefined) return void response.writeHead(202).end()
      if (method === 'tools/call') return never(request, response, body)
      const result =
        method === 'initialize'
          ? {
              protocolVersion: '2025-11-25',
              capabilities: { tools: {} },
              serverInfo: { name: 's', version: '1' },
            }
          : undefined
      response.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          jsonrpc: '2.0',
          id,
          ...(result === undefined ? { error: { code: -32601, message: 'no' } } : { result }),
        }),
      )
    }
    const [name] = await elsewhere(legacy)
    const { headers, body } = modernRequest('tools/call', { name: 'endless' })
    const answer = await gateway.send(`/adapters/${name}/mcp`, {
      headers: { ...headers, 'x-dev-userid': 'eve' },
      body,
    })
    expect(answer.body.toString()).toContain('"code":"answer_dropped","retryable":false')
  })

  test('a tool’s answer that finds no memory is refused with the code', async () => {
    const pour: Behaviour = (request, response) =>
      endless('application/json', '"')(
        request,
        response,
        JSON.stringify({ params: { name: 'endless' } }),
      )
    const { endpoint } = address(pour)
    const tool = `t${randomUUID().slice(0, 8)}`
    const body = JSON.stringify({
      ...shared,
      name: tool,
      endpoint,
      toolDefinition: { tool: { name: tool } },
    })
    expect((await gateway.send('/tools', { headers: json, body })).status).toBe(201)
    const answer = await modern(gateway, 'tools/call', { name: tool }, {})
    expect(JSON.stringify(answer.message)).toContain('"code":"answer_dropped","retryable":false')
  })
})
