import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TestBridge } from './fixtures/test-bridge.ts'

/**
 * A server for all clients. It tells on request which messages it got, and keeps calls of `hold`
 * open. Those of `ask` wait for an answer to a question.
 */
const program = `
  const lines = require('node:readline').createInterface({ input: process.stdin })
  const got = []
  const tasks = {}
  const send = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }))
  lines.on('line', (line) => {
    const message = JSON.parse(line)
    const { id, method, params = {} } = message
    got.push(message)
    const answer = (result) => send({ id, result })
    if (id === undefined || method === undefined) return
    if (method === 'initialize')
      return answer({ protocolVersion: params.protocolVersion,
        capabilities: { tools: {}, resources: { subscribe: true }, logging: {},
          tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } },
        serverInfo: { name: 's', version: '1' } })
    const { [params.taskId]: task } = tasks
    if (method === 'tasks/list') return answer({ tasks: Object.values(tasks) })
    if (method === 'tasks/result') return answer(task.result)
    if (method.startsWith('tasks/')) return answer(task)
    if (method !== 'tools/call') return answer({})
    if (params.task !== undefined) {
      const taskId = 'task-' + Object.keys(tasks).length
      tasks[taskId] = { taskId, status: 'completed', result: { secret: params.arguments } }
      answer({ task: { taskId, status: 'completed' } })
      return send({ method: 'notifications/tasks/status', params: { taskId } })
    }
    const text = (value) => answer({ content: [{ type: 'text', text: JSON.stringify(value) }] })
    if (params.name === 'got') return text(got)
    if (params.name === 'log')
      send({ method: 'notifications/message', params: { level: 'info', data: params.arguments } })
    if (params.name === 'update')
      send({ method: 'notifications/resources/updated', params: { uri: params.arguments.uri } })
    if (params.name === 'changed') send({ method: 'notifications/tools/list_changed' })
    if (params.name === 'ask') send({ id: params.arguments.id, method: 'roots/list' })
    if (params.name === 'ask of a task')
      send({ id: 'about a task', method: 'tasks/get', params: { taskId: 'x' } })
    if (['hold', 'ask', 'ask of a task'].includes(params.name)) return
    text('done')
  })
`

let bridge: TestBridge
let url: string
beforeEach(async () => {
  bridge = await TestBridge.open(['-e', program], {
    isolation: 'shared',
    eras: 'passthrough',
    maxLineBytes: 1024 * 1024,
  })
  url = bridge.url
})
afterEach(() => bridge[Symbol.asyncDispose]())

interface Message {
  readonly id?: unknown
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: { readonly content: readonly { readonly text: string }[] }
  readonly error?: { readonly message: string; readonly data?: { readonly code: string } }
}

/** One client with a session, and a GET stream on demand. */
class TestClient {
  readonly heard: Message[] = []
  readonly #leave = new AbortController()
  #session = ''

  readonly #headers: Readonly<Record<string, string>>

  constructor(headers: Readonly<Record<string, string>> = {}) {
    this.#headers = headers
  }

  static async open(
    listens = true,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<TestClient> {
    const client = new TestClient(headers)
    const params = {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }
    const opened = await client.post({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
    client.#session = opened.headers.get('mcp-session-id') ?? ''
    await opened.text()
    if (listens) void client.#listen()
    return client
  }

  post(message: object | string): Promise<Response> {
    return fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...this.#headers,
        ...(this.#session === '' ? {} : { 'mcp-session-id': this.#session }),
      },
      body: typeof message === 'string' ? message : JSON.stringify(message),
      signal: this.#leave.signal,
    })
  }

  /** Gives all messages of the answer. */
  async request(message: object | string): Promise<Message[]> {
    const text = await (await this.post(message)).text()
    if (!text.startsWith('{')) return dataOf(text)
    return [JSON.parse(text) as Message]
  }

  async call(name: string, args: object = {}, id: unknown = 1): Promise<string> {
    const params = { name, arguments: args }
    const messages = await this.request({ jsonrpc: '2.0', id, method: 'tools/call', params })
    return messages.at(-1)?.result?.content[0]?.text ?? JSON.stringify(messages)
  }

  /** Ends the session. */
  async end(): Promise<void> {
    await fetch(url, { method: 'DELETE', headers: { 'mcp-session-id': this.#session } })
  }

  /** The messages that the server has got. */
  async serverGot(): Promise<Message[]> {
    return JSON.parse(await this.call('got', {}, 'looking')) as Message[]
  }

  async #listen(): Promise<void> {
    const response = await fetch(url, {
      headers: { accept: 'text/event-stream', 'mcp-session-id': this.#session },
      signal: this.#leave.signal,
    })
    try {
      for await (const chunk of response.body ?? [])
        this.heard.push(...dataOf(Buffer.from(chunk as Uint8Array).toString()))
    } catch {
      // The stream breaks when the test is over.
    }
  }

  leave(): void {
    this.#leave.abort()
  }
}

function dataOf(text: string): Message[] {
  return [...text.matchAll(/^data: (\{.*)$/gm)].map((each) => JSON.parse(each[1] ?? '') as Message)
}

async function twoClients(): Promise<{ alice: TestClient; mallory: TestClient }> {
  return { alice: await TestClient.open(), mallory: await TestClient.open() }
}

/** A call that stays open, and the id by which the server knows it. */
async function heldCall(client: TestClient, id: unknown): Promise<{ serverId: unknown }> {
  const held = client.post({
    jsonrpc: '2.0',
    id,
    method: 'tools/call',
    params: { name: 'hold', _meta: { progressToken: id } },
  })
  held.catch(() => undefined)
  let serverId: unknown
  await expect
    .poll(async () => {
      serverId = (await client.serverGot()).find(({ params }) => params?.['name'] === 'hold')?.id
      return serverId
    })
    .toBeDefined()
  return { serverId }
}

const cancellations = (messages: readonly Message[]): unknown[] =>
  messages
    .filter(({ method }) => method === 'notifications/cancelled')
    .map(({ params }) => params?.['requestId'])

test('a client of a shared server does not cancel the call of another, by any id', async () => {
  const { alice, mallory } = await twoClients()
  const { serverId } = await heldCall(alice, 'mine')
  for (const requestId of ['mine', serverId, ...Array.from({ length: 20 }, (_, id) => id)])
    await mallory.request({
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId },
    })

  expect(cancellations(await mallory.serverGot())).toEqual([])

  const cancelled = {
    jsonrpc: '2.0',
    method: 'notifications/cancelled',
    params: { requestId: 'mine' },
  }
  await alice.request(cancelled)
  expect(cancellations(await alice.serverGot())).toEqual([serverId])
})

test.each(['cancelled', 'left'])(
  'a question of a shared server for a call that was %s reaches no other client',
  async (how) => {
    const { alice, mallory } = await twoClients()
    await heldCall(mallory, 'mine')
    if (how === 'left') await mallory.end()
    else
      await mallory.request({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: 'mine' },
      })

    const asks = alice.post({
      jsonrpc: '2.0',
      id: 'open',
      method: 'tools/call',
      params: { name: 'ask', arguments: { id: 'whose' } },
    })
    asks.catch(() => undefined)
    const answers = async (): Promise<unknown> =>
      (await alice.serverGot()).find(({ id, method }) => id === 'whose' && method === undefined)
        ?.error
    await expect.poll(answers).toMatchObject({ message: expect.stringContaining('Several') })
    expect(alice.heard.filter(({ id }) => id === 'whose')).toEqual([])
  },
)

test('a shared server knows requests by ids that no client can guess', async () => {
  const { alice } = await twoClients()
  const { serverId } = await heldCall(alice, 1)

  expect(serverId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
})

test.each([
  ['two request ids', (id: string) => `"params":{"requestId":"own","requestId":${id}}`],
  ['two params', (id: string) => `"params":{"requestId":"own"},"params":{"requestId":${id}}`],
  [
    'a request id in other letters',
    (id: string) => `"params":{"requestId":"own","RequestId":${id}}`,
  ],
])(
  'a cancellation with %s is refused, and the shared server does not see it',
  async (_, params) => {
    const { alice, mallory } = await twoClients()
    const { serverId } = await heldCall(alice, 'mine')
    const body =
      '{"jsonrpc":"2.0","method":"notifications/cancelled",' +
      `${params(JSON.stringify(serverId))}}`
    const response = await mallory.post(body)

    expect(response.status).toBe(400)
    expect(((await response.json()) as Message).error?.data?.code).toBe('ambiguous_message')
    expect(cancellations(await mallory.serverGot())).toEqual([])
  },
)

test('a log message of a shared server reaches the caller of the only call alone', async () => {
  const { alice, mallory } = await twoClients()
  const messages = await alice.request({
    jsonrpc: '2.0',
    id: 5,
    method: 'tools/call',
    params: { name: 'log', arguments: { secret: 'of alice' } },
  })
  expect(JSON.stringify(messages)).toContain('of alice')

  // Lists concern all clients. Once the client hears of one, the log message would have arrived
  // too.
  await mallory.call('changed')
  await expect
    .poll(() => alice.heard.map(({ method }) => method))
    .toContain('notifications/tools/list_changed')
  await expect
    .poll(() => mallory.heard.map(({ method }) => method))
    .toContain('notifications/tools/list_changed')
  expect(JSON.stringify(mallory.heard)).not.toContain('of alice')
})

test('a log message of a shared server reaches nobody while several callers call', async () => {
  const { alice, mallory } = await twoClients()
  await heldCall(mallory, 'held')
  const messages = await alice.request({
    jsonrpc: '2.0',
    id: 5,
    method: 'tools/call',
    params: { name: 'log', arguments: { secret: 'of alice' } },
  })
  await alice.call('changed')
  await expect.poll(() => mallory.heard.length).toBeGreaterThan(0)

  expect(JSON.stringify([messages.slice(0, -1), mallory.heard])).not.toContain('of alice')
})

test('an update of a resource of a shared server reaches its subscribers alone', async () => {
  const { alice, mallory } = await twoClients()
  const subscribe = (client: TestClient, method: string): Promise<Message[]> =>
    client.request({ jsonrpc: '2.0', id: 9, method, params: { uri: 'file:///a' } })
  await subscribe(alice, 'resources/subscribe')
  await mallory.call('update', { uri: 'file:///a' })
  await expect
    .poll(() => alice.heard.map(({ method }) => method))
    .toContain('notifications/resources/updated')
  expect(mallory.heard).toEqual([])

  await subscribe(mallory, 'resources/subscribe')
  await subscribe(mallory, 'resources/unsubscribe')
  const got = await alice.serverGot()
  expect(got.map(({ method }) => method)).not.toContain('resources/unsubscribe')

  await subscribe(alice, 'resources/unsubscribe')
  const later = await alice.serverGot()
  expect(later.map(({ method }) => method)).toContain('resources/unsubscribe')
})

test('a client of a shared server cannot subscribe to URIs without end', async () => {
  const { alice, mallory } = await twoClients()
  const subscribe = async (client: TestClient, uri: string): Promise<string | undefined> => {
    const params = { uri }
    const request = { jsonrpc: '2.0', id: 9, method: 'resources/subscribe', params }
    return (await client.request(request)).at(-1)?.error?.message
  }

  expect(await subscribe(mallory, `file:///${'x'.repeat(100 * 1024)}`)).toBeUndefined()
  expect(await subscribe(mallory, `file:///${'y'.repeat(100 * 1024)}`)).toMatch(
    /longer than 131072 characters together, which is the limit/,
  )
  expect(await subscribe(alice, `file:///${'y'.repeat(100 * 1024)}`)).toBeUndefined()
})

test.each(['q', 7])(
  'a shared server gets an error for the question %j that it asked a client that has gone',
  async (id) => {
    const { alice, mallory } = await twoClients()
    const asked = await alice.post({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'ask', arguments: { id } },
    })
    // The headers come with the question.
    expect(asked.status).toBe(200)
    await alice.end()

    const got = await mallory.serverGot()
    expect(got.filter((message) => message.id === id)).toMatchObject([
      { error: { code: -32603, message: 'The client has gone.' } },
    ])
  },
)

describe('a task of a shared server', () => {
  /** Gives the answer, which comes last. The messages about the task come before. */
  const answerOf = async (client: TestClient, message: object): Promise<Message> => {
    const heard = await client.request({ jsonrpc: '2.0', ...message })
    client.heard.push(...heard)
    return heard.at(-1) as Message
  }
  const task = async (client: TestClient, text: string): Promise<string> => {
    const params = { name: 'any', arguments: { text }, task: {} }
    const made = await answerOf(client, { id: 1, method: 'tools/call', params })
    return /"taskId":"([^"]+)"/.exec(JSON.stringify(made))?.[1] ?? ''
  }

  test.each(['tasks/get', 'tasks/result', 'tasks/cancel'])(
    'a task exists for its caller, and not for another who names it in %s',
    async (method) => {
      const { alice, mallory } = await twoClients()
      const taskId = await task(alice, 'of alice')
      const request = { id: 2, method, params: { taskId } }

      expect(await answerOf(alice, request)).toHaveProperty('result')
      const foreign = await answerOf(mallory, request)
      expect(foreign).toMatchObject({ id: 2, error: { code: -32602 } })
      const unknown = { ...request, params: { taskId: 'task-99' } }
      expect(await answerOf(mallory, unknown)).toEqual(foreign)

      const got = await mallory.serverGot()
      expect(got.filter((message) => message.method === method)).toHaveLength(1)
    },
  )

  test.each(['Tasks/Result', ' tasks/cancel', 'tasks/update', 'notifications/tasks/status'])(
    'a task does not exist for another who names it in %j, with an id or without',
    async (method) => {
      const { alice, mallory } = await twoClients()
      const request = { method, params: { taskId: await task(alice, 'of alice') } }
      expect(await answerOf(mallory, { id: 2, ...request })).toMatchObject({
        error: { code: -32602 },
      })
      expect((await mallory.post({ jsonrpc: '2.0', ...request })).status).toBe(202)

      const got = await mallory.serverGot()
      expect(got.filter((message) => message.method === method)).toEqual([])
    },
  )

  test('a question about a task of an unknown client gets an error', async () => {
    const { alice, mallory } = await twoClients()
    const params = { name: 'ask of a task', arguments: {} }
    const asked = mallory.post({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    asked.catch(() => undefined)

    const answers = async (): Promise<Message[]> =>
      (await alice.serverGot()).filter(({ id }) => id === 'about a task')
    await expect.poll(answers).toMatchObject([{ error: { code: -32603 } }])
  })

  test('a task is listed for its caller alone, who alone hears of it', async () => {
    const { alice, mallory } = await twoClients()
    const ofAlice = await task(alice, 'of alice')
    const ofMallory = await task(mallory, 'of mallory')

    for (const [client, taskId] of [
      [alice, ofAlice],
      [mallory, ofMallory],
    ] as const) {
      const list = await answerOf(client, { id: 3, method: 'tasks/list' })
      expect(list).toMatchObject({ result: { tasks: [{ taskId }] } })
      const status: unknown = expect.objectContaining({
        method: 'notifications/tasks/status',
        params: { taskId },
      })
      await expect.poll(() => client.heard).toContainEqual(status)
      const other = client === alice ? mallory : alice
      expect(other.heard).not.toContainEqual(status)
    }
  })

  test('a task exists for its caller in another session when a gateway names it', async () => {
    const headers = { 'x-mcpgw-caller': 'alice' }
    const before = await TestClient.open(false, headers)
    const taskId = await task(before, 'of alice')
    const request = { id: 2, method: 'tasks/result', params: { taskId } }

    const again = await TestClient.open(false, headers)
    expect(await answerOf(again, request)).toMatchObject({
      result: { secret: { text: 'of alice' } },
    })
    const other = await TestClient.open(false, { 'x-mcpgw-caller': 'mallory' })
    expect(await answerOf(other, request)).toMatchObject({ error: { code: -32602 } })
  })
})

/** The body of the answer to an `initialize` with these params. */
async function answerToInitialize(
  { url }: TestBridge,
  params: object,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...more,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'initialize', params }),
  })
  return answer.text()
}

test('a refused initialize of one client is no answer to others', async () => {
  const picky = `
    const send = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }))
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method, params } = JSON.parse(line)
      if (method !== 'initialize') return
      const { protocolVersion } = params
      const result = { protocolVersion, capabilities: {}, serverInfo: { name: 's', version: '1' } }
      const error = { code: -32602, message: 'no version' }
      setTimeout(send, 200, protocolVersion === 'refused' ? { id, error } : { id, result })
    })
  `
  await using own = await TestBridge.open(['-e', picky], {
    isolation: 'shared',
    eras: 'passthrough',
  })
  const initialize = (params: object): Promise<string> => answerToInitialize(own, params)
  const good = {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'c', version: '1' },
  }

  const refused = initialize({ ...good, protocolVersion: 'refused' })
  const waiting = [initialize(good), initialize(good)]
  expect(await refused).toContain('no version')
  for (const each of await Promise.all(waiting)) expect(each).toContain('"result"')
  expect(await initialize(good)).toContain('"result"')
  expect(await initialize({ ...good, protocolVersion: 'refused' })).not.toContain('no version')
})

test('an initialize without its members never reaches a shared server', async () => {
  const dropping = `
    const send = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }))
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method, params: { protocolVersion } } = JSON.parse(line)
      if (method !== 'initialize' || protocolVersion === undefined) return
      const serverInfo = { name: 's', version: '1' }
      send({ id, result: { protocolVersion, capabilities: {}, serverInfo } })
    })
  `
  await using own = await TestBridge.open(['-e', dropping], {
    isolation: 'shared',
    eras: 'passthrough',
  })
  const initialize = (params: object): Promise<string> => answerToInitialize(own, params)
  const clientInfo = { name: 'c', version: '1' }
  expect(await initialize({})).toContain('needs a protocolVersion')
  expect(
    await initialize({ protocolVersion: '2025-06-18', capabilities: [], clientInfo }),
  ).toContain('-32602')
  expect(
    await initialize({ protocolVersion: '2025-06-18', capabilities: {}, clientInfo }),
  ).toContain('"result"')
})

describe('a shared child that does not answer an initialize', () => {
  /**
   * The server counts its starts in a file, and drops an `initialize` whose client has the given
   * name.
   */
  const dropping = `
    require('node:fs').appendFileSync(process.argv[1], 'x')
    const send = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }))
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method, params } = JSON.parse(line)
      if (method !== 'initialize' || /drop/.test(params.clientInfo.name)) return
      const { protocolVersion } = params
      const serverInfo = { name: 's', version: '1' }
      send({ id, result: { protocolVersion, capabilities: {}, serverInfo } })
    })
  `
  const folder = mkdtempSync(join(tmpdir(), 'mcp-bridge-silent-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  /** Opens sessions in turn. Gives their answers and the number of the child's starts. */
  async function openAll(
    clients: readonly (readonly [caller: string, name: string])[],
  ): Promise<{ readonly answers: readonly string[]; readonly starts: number }> {
    const file = join(folder, randomUUID())
    await using own = await TestBridge.open(['-e', dropping, file], {
      isolation: 'shared',
      eras: 'passthrough',
      startMs: 1000,
      handshakeMs: 1000,
      warmSpares: 0,
      maxSessions: 20,
    })
    const answers: Promise<string>[] = []
    for (const [caller, name] of clients) {
      const clientInfo = { name, version: '1' }
      const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo }
      answers.push(answerToInitialize(own, params, { 'x-mcpgw-caller': caller }))
      await sleep(20)
    }
    const all = await Promise.all(answers)
    return {
      answers: all.map((each) => (each.includes('"result"') ? 'opened' : 'silent')),
      starts: readFileSync(file, 'utf8').length,
    }
  }

  test('ends only the session that asked, and those of its caller, and serves other callers', async () => {
    const { answers, starts } = await openAll([
      ['mallory', 'drop'],
      ['mallory', 'drop'],
      ['alice', 'good'],
      ['bob', 'good'],
    ])
    expect(answers.filter((each) => each === 'opened').length).toBeGreaterThanOrEqual(2)
    expect([answers[0], ...answers.slice(2), starts]).toEqual(['silent', 'opened', 'opened', 1])
  })

  test('ends for all when it is silent to two callers', async () => {
    const { answers } = await openAll([
      ['alice', 'drop'],
      ['bob', 'drop'],
      ['carol', 'good'],
    ])
    expect(answers).toEqual(['silent', 'silent', 'silent'])
  })

  test('a silent child is replaced at once when no other caller waits', async () => {
    const file = join(folder, randomUUID())
    await using own = await TestBridge.open(['-e', dropping, file], {
      isolation: 'shared',
      eras: 'passthrough',
      startMs: 1000,
      handshakeMs: 1000,
      warmSpares: 0,
    })
    const open = (name: string): Promise<string> =>
      answerToInitialize(own, {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name, version: '1' },
      })
    expect(await open('drop')).toContain('"error"')
    expect(await open('good')).toContain('"result"')
    expect(readFileSync(file, 'utf8')).toBe('xx')
  })
})
