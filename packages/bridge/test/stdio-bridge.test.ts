import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programs } from '@mcp-gateway/testkit'
import { afterEach, describe, expect, test } from 'vitest'
import { Bodies } from '../src/bodies.ts'
import { TestBridge, type TestBridgeOptions } from './fixtures/test-bridge.ts'

const open: TestBridge[] = []
afterEach(async () => {
  for (const bridge of open.splice(0)) await bridge[Symbol.asyncDispose]()
})

async function start(
  args: readonly string[] = [],
  changes: Partial<TestBridgeOptions> = {},
): Promise<string> {
  const bridge = await TestBridge.open([programs.echoStdio, ...args], changes)
  open.push(bridge)
  return bridge.url
}

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

function post(
  url: string,
  session: string | undefined,
  body: unknown,
  headers: Record<string, string> = json,
): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { ...headers, ...(session === undefined ? {} : { 'mcp-session-id': session }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}

const initialize = (protocolVersion = '2025-11-25'): object => ({
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion, capabilities: {}, clientInfo: { name: 't', version: '1' } },
})
const call = (name: string, args: object = {}, id: unknown = 1, meta: object = {}): object => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: args, ...meta },
})

async function openSession(url: string): Promise<string> {
  const response = await post(url, undefined, initialize())
  expect(response.status).toBe(200)
  await response.text()
  return response.headers.get('mcp-session-id') ?? ''
}

async function textOf(response: Response): Promise<string> {
  const { result } = (await response.json()) as { result: { content: { text: string }[] } }
  return result.content[0]?.text ?? ''
}

/** Gives the events of a stream that has ended. */
async function events(response: Response): Promise<{ id?: string; data: string }[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block.includes('data:'))
  return blocks.map((block) => ({
    ...(/^id: (.*)$/m.exec(block) === null ? {} : { id: /^id: (.*)$/m.exec(block)?.[1] ?? '' }),
    data: /^data: ?(.*)$/m.exec(block)?.[1] ?? '',
  }))
}

/** Gives the answer, from JSON or from the end of an event stream. */
async function answerOf(response: Response): Promise<unknown> {
  const text = await response.text()
  return JSON.parse(text.startsWith('{') ? text : (/^data: (\{.*)$/m.exec(text)?.[1] ?? ''))
}

/**
 * A server that runs the given JavaScript for a message `m`; the script can `send` messages and
 * write `raw` text. It refuses `server/discover`, because the bridge waits four seconds for silent
 * servers.
 */
function scripted(
  reaction: string,
  changes: Partial<TestBridgeOptions> = {},
  initialize = '',
): Promise<string> {
  const script = `
    const raw = (text) => process.stdout.write(text)
    const send = (message) => raw(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n')
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const m = JSON.parse(line)
      if (m.method === 'initialize' && ${initialize === ''})
        return send({ id: m.id, result: { protocolVersion: '2025-11-25', capabilities: {} } })
      if (m.params?.name === 'pid') return send({ id: m.id, result: {} })
      if (m.method === 'server/discover')
        return send({ id: m.id, error: { code: -32601, message: 'no' } })
      ${reaction}
    })`
  return start([], { command: process.execPath, args: ['-e', script], ...changes })
}

const soon = (): AbortSignal => AbortSignal.timeout(30_000)

describe('sessions', () => {
  test('each session has a child of its own, and keeps it', async () => {
    const url = await start()
    const [a, b] = [await openSession(url), await openSession(url)]
    const pids = await Promise.all(
      [a, b, a, b].map(async (session, id) =>
        textOf(await post(url, session, call('pid', {}, id))),
      ),
    )
    expect(pids[0]).toBe(pids[2])
    expect(pids[1]).toBe(pids[3])
    expect(pids[0]).not.toBe(pids[1])
  })

  test('unknown sessions are 404, missing ones 400, ended ones 404', async () => {
    const url = await start()
    expect((await post(url, 'nonsense', call('pid'))).status).toBe(404)
    expect((await post(url, undefined, call('pid'))).status).toBe(400)
    const session = await openSession(url)
    expect(
      (await fetch(url, { method: 'DELETE', headers: { 'mcp-session-id': session } })).status,
    ).toBe(200)
    const gone = await post(url, session, call('pid'))
    expect(gone.status).toBe(404)
    expect(await gone.json()).toMatchObject({ error: { code: -32001 } })
  })

  test.each(['session', 'shared'] as const)(
    'a DELETE answers open calls with 404 session_not_found (isolation %s)',
    async (isolation) => {
      const url = await start([], { isolation })
      const session = await openSession(url)
      const plain = post(url, session, call('never', {}, 1))
      // The bridge takes an id as soon as its call is open.
      const taken = async (): Promise<number> =>
        (await post(url, session, call('pid', {}, 1))).status
      await expect.poll(taken).toBe(400)
      const batch = await post(url, session, [call('never', {}, 2)])

      const ended = await fetch(url, { method: 'DELETE', headers: { 'mcp-session-id': session } })
      expect(ended.status).toBe(200)
      const error = { code: -32001, data: { code: 'session_not_found' } }
      const answer = await plain
      expect(answer.status).toBe(404)
      expect(await answer.json()).toMatchObject({ id: 1, error })
      const [event = ''] = /\{.*\}/.exec(await batch.text()) ?? []
      expect(JSON.parse(event)).toMatchObject({ id: 2, error })
    },
  )

  test('a new session is 503 while every session has an open request', async () => {
    const begun =
      "send({ method: 'notifications/message', params: { level: 'info', data: 'begun' } })"
    const url = await scripted(`if (m.params?.name === 'hangs') ${begun}`, { maxSessions: 1 })
    // The head of the answer comes with the log message.
    const hanging = await post(url, await openSession(url), call('hangs'))
    expect(hanging.status).toBe(200)

    const refused = await post(url, undefined, initialize())
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(await refused.text()).toContain('MCP_MAX_SESSIONS')
    await hanging.body?.cancel()
  })

  test('the caller with most sessions loses its oldest idle one for those of others', async () => {
    const url = await start([], { maxSessions: 4 })
    const open = async (caller: string): Promise<string> => {
      const headers = { ...json, 'x-mcp-userid': caller }
      const response = await post(url, undefined, initialize(), headers)
      expect(response.status).toBe(200)
      await response.text()
      return response.headers.get('mcp-session-id') ?? ''
    }
    const status = async (session: string): Promise<number> =>
      (await post(url, session, call('pid'))).status
    const greedy = [await open('eve'), await open('eve'), await open('eve'), await open('eve')]
    // The client uses the first session again, so the second is the oldest.
    expect(await status(greedy[0] ?? '')).toBe(200)

    const ann = await open('ann')

    expect(await status(greedy[1] ?? '')).toBe(404)
    for (const session of [greedy[0], greedy[2], greedy[3], ann])
      expect(await status(session ?? '')).toBe(200)
  })

  test('sessions and the children of modern calls share one limit', async () => {
    // A call of `work` stays open until its client leaves.
    const url = await scripted(
      "if (m.params?.name === 'quick') send({ id: m.id, result: { content: [{ type: 'text'," +
        ' text: String(process.pid) }] } })',
      { maxSessions: 3, warmSpares: 0 },
    )
    const modern = (caller: string, name: string, signal?: AbortSignal): Promise<Response> => {
      const meta = {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientCapabilities': {},
      }
      return fetch(url, {
        method: 'POST',
        headers: {
          ...json,
          'mcp-protocol-version': '2026-07-28',
          'mcp-method': 'tools/call',
          'mcp-name': name,
          'x-mcp-userid': caller,
        },
        body: JSON.stringify(call(name, {}, 1, { _meta: meta })),
        signal: signal ?? null,
      })
    }
    const leaving = new AbortController()
    try {
      // Each caller has a child of its own, and each child works on a call.
      for (const caller of ['a', 'b', 'c']) {
        expect((await modern(caller, 'quick')).status).toBe(200)
        void modern(caller, 'work', leaving.signal).catch(() => undefined)
      }
      await expect.poll(async () => (await modern('d', 'quick')).status).toBe(503)
      expect((await post(url, undefined, initialize())).status).toBe(503)
      expect(await (await modern('d', 'quick')).text()).toContain('MCP_MAX_SESSIONS')
    } finally {
      leaving.abort()
    }

    // A child without calls makes room for a new one.
    await expect.poll(async () => (await modern('d', 'quick')).status).toBe(200)
    expect((await post(url, undefined, initialize())).status).toBe(200)
  })
})

describe('messages', () => {
  test('messages pass as the bytes they are: big integers, key order, line breaks', async () => {
    const url = await start()
    const session = await openSession(url)
    const answer = await post(
      url,
      session,
      '{\r\n "params": {"name":"echo","arguments":{"z":1,"a":"\\u00e9"}},\n "id": "zero",\n' +
        ' "method":"tools/call","jsonrpc":"2.0"}',
    )
    expect(await answer.text()).toBe(
      '{"jsonrpc":"2.0","id":"zero","result":{"content":[{"type":"text","text":"{\\"z\\":1,' +
        '\\"a\\":\\"é\\"}"}]}}',
    )
  })

  test.each([[0], [''], ['a"b\\'], [-7]])('the id %j is an id like any other', async (id) => {
    const url = await start()
    const answer = await post(url, await openSession(url), call('echo', {}, id))
    expect(await answer.json()).toMatchObject({ id })
  })

  test('messages of several megabytes cross', async () => {
    const url = await start()
    expect(
      await textOf(await post(url, await openSession(url), call('big', { bytes: 5_000_000 }))),
    ).toHaveLength(5_000_000)
  })

  test('messages before the answer make it an event stream, in order, with ids', async () => {
    const url = await start()
    const answer = await post(
      url,
      await openSession(url),
      call('progress', {}, 1, { _meta: { progressToken: 'tok' } }),
    )
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    const seen = await events(answer)
    expect(
      seen.map(({ data }) =>
        data === ''
          ? 'priming'
          : ((JSON.parse(data) as { params?: { progress: number } }).params?.progress ?? 'answer'),
      ),
    ).toEqual(['priming', 1, 2, 3, 'answer'])
    expect(new Set(seen.map(({ id }) => id)).size).toBe(5)
  })

  test('missed messages are sent again after Last-Event-ID', async () => {
    const url = await start()
    const session = await openSession(url)
    const seen = await events(
      await post(url, session, call('progress', {}, 1, { _meta: { progressToken: 1 } })),
    )
    const resumed = await fetch(url, {
      headers: {
        accept: 'text/event-stream',
        'mcp-session-id': session,
        'last-event-id': seen[2]?.id ?? '',
      },
    })
    expect((await events(resumed)).map(({ id }) => id)).toEqual(seen.slice(3).map(({ id }) => id))
  })

  test('each request of a batch of 2025-03-26 is answered', async () => {
    const url = await start()
    const session = await openSession(url)
    const answer = await post(url, session, [
      call('echo', { n: 1 }, 'a'),
      { jsonrpc: '2.0', method: 'notifications/x' },
      call('echo', { n: 2 }, 'b'),
    ])
    expect(
      (await events(answer)).map(({ data }) => (JSON.parse(data) as { id: string }).id).toSorted(),
    ).toEqual(['a', 'b'])
  })

  test('a batch with an id twice, or with an open one, is refused whole', async () => {
    const url = await start()
    const session = await openSession(url)
    const open = post(url, session, call('never', {}, 'open'))
    open.catch(() => undefined)
    for (const id of ['twice', 'open']) {
      const batch = [call('pid', {}, 'twice'), call('pid', {}, id)]
      const answer = await post(url, session, batch)
      expect([answer.status, await answer.json()]).toMatchObject([
        400,
        { id: null, error: { code: -32600, message: /twice|open/ } },
      ])
    }
  })

  const jsonOnly = { ...json, accept: 'application/json' }

  test('messages of a slow call reach a client that takes JSON alone as JSON', async () => {
    // The bridge turns silent calls of others into streams after five seconds, at its next look at
    // the sessions.
    const reaction = `
      if (m.id === undefined) return
      send({ method: 'notifications/message', params: { level: 'info', data: 'begun' } })
      setTimeout(() => send({ id: m.id, result: { late: true } }), 8000)`
    const url = await scripted(reaction, { handshakeMs: 2000 })
    const answer = await post(url, await openSession(url), call('slow'), jsonOnly)
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(await answer.json()).toMatchObject({ id: 1, result: { late: true } })
  })

  test('messages besides an answer reach such a client on its GET stream', async () => {
    const url = await start()
    const session = await openSession(url)
    const headers = { accept: 'text/event-stream', 'mcp-session-id': session }
    const stream = await fetch(url, { headers, signal: soon() })
    const meta = { _meta: { progressToken: 'tok' } }
    const answer = await post(url, session, call('progress', {}, 1, meta), jsonOnly)

    expect(await answer.json()).toEqual({ jsonrpc: '2.0', id: 1, result: { content: [] } })
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
    let seen = ''
    while (!seen.includes('"progress":3'))
      seen += Buffer.from((await reader.read()).value ?? []).toString()
    expect(seen).toContain('"progress":1')
    await reader.cancel()
  })

  test('answers to a batch reach such a client as one array', async () => {
    const url = await start()
    const session = await openSession(url)
    const batch = [call('echo', { n: 1 }, 'a'), call('echo', { n: 2 }, 'b')]
    const answer = await post(url, session, batch, jsonOnly)
    expect(answer.headers.get('content-type')).toBe('application/json')
    const answers = (await answer.json()) as { id: string }[]
    expect(answers.map(({ id }) => id).toSorted()).toEqual(['a', 'b'])
  })

  test('messages that flood wait for a client that does not read', async () => {
    const url = await start()
    const answer = await post(url, await openSession(url), call('flood', { count: 20_000 }))
    const seen = await events(answer)
    expect(seen.length).toBe(20_002)
  })
})

describe('clients that go away', () => {
  test('a client that leaves in a call does not stop the session', async () => {
    const url = await scripted(`
      if (m.id === 'left') globalThis.left = m
      if (m.id === 'now') {
        const method = 'notifications/progress'
        for (let n = 0; n < 3; n += 1)
          send({ method, params: { progressToken: 'p', progress: n } })
        send({ id: 'left', result: {} })
        setTimeout(() => send({ id: 'now', result: {} }), 100)
      }`)
    const session = await openSession(url)
    const gone = new AbortController()
    const left = fetch(url, {
      method: 'POST',
      signal: gone.signal,
      headers: { ...json, 'mcp-session-id': session },
      body: JSON.stringify(call('x', {}, 'left', { _meta: { progressToken: 'p' } })),
    })
    setTimeout(() => gone.abort(), 200)
    await expect(left).rejects.toThrow()
    const answer = await fetch(url, {
      method: 'POST',
      signal: soon(),
      headers: { ...json, 'mcp-session-id': session },
      body: JSON.stringify(call('x', {}, 'now')),
    })
    expect(await answer.json()).toMatchObject({ id: 'now' })
  })

  test('a cancelled call is answered, and later messages go to the open one', async () => {
    const url = await scripted(`
      if (m.id !== 'ask') return
      send({ id: 's1', method: 'roots/list' })
      send({ id: 'ask', result: {} })`)
    const session = await openSession(url)
    const cancelled = post(url, session, call('never', {}, 'c'))
    await expect.poll(async () => (await post(url, session, call('pid', {}, 'c'))).status).toBe(400)
    await post(url, session, {
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId: 'c' },
    })
    expect(await (await cancelled).json()).toMatchObject({
      id: 'c',
      error: { message: expect.stringContaining('cancelled') },
    })
    const seen = await events(await post(url, session, call('ask', {}, 'ask')))
    expect(
      seen
        .filter(({ data }) => data !== '')
        .map(({ data }) => (JSON.parse(data) as { id: string }).id),
    ).toEqual(['s1', 'ask'])
  })
})

describe('bad input', () => {
  test.each([
    ['{', 400, -32700],
    ['', 400, -32700],
    ['{"jsonrpc":"2.0","id":1}', 400, -32600],
    ['[]', 400, -32600],
    ['7', 400, -32600],
  ])('the body %j is %i', async (body, status, code) => {
    const url = await start()
    const answer = await post(url, await openSession(url), body)
    expect(answer.status).toBe(status)
    expect(await answer.json()).toMatchObject({ error: { code } })
  })

  test('other media types, methods, paths, hosts and sizes are refused', async () => {
    const url = await start()
    const session = await openSession(url)
    expect((await post(url, session, '{}', { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await post(url, session, '{}', { ...json, accept: 'text/html' })).status).toBe(406)
    expect(
      (await fetch(url, { headers: { accept: 'application/json', 'mcp-session-id': session } }))
        .status,
    ).toBe(406)
    expect((await fetch(url, { method: 'PUT' })).status).toBe(405)
    expect((await fetch(`${url}x`)).status).toBe(404)
    expect((await post(url, session, 'x'.repeat(1_100_000))).status).toBe(413)
    expect(
      (await post(url, session, '{}', { ...json, origin: 'http://evil.example' })).status,
    ).toBe(403)
  })

  test('a request id that is open already is refused, and the first is answered', async () => {
    const url = await start()
    const session = await openSession(url)
    void post(url, session, call('never')).catch(() => undefined)
    await expect.poll(async () => (await post(url, session, call('pid'))).status).toBe(400)
  })
})

describe('children that misbehave', () => {
  const modernList = {
    jsonrpc: '2.0',
    id: 9,
    method: 'tools/list',
    params: {
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientCapabilities': {},
      },
    },
  }
  const modernHeaders = {
    ...json,
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/list',
  }

  test.each([
    ['says nothing', 'setInterval(() => undefined, 1000)', 'writes nothing'],
    [
      'reads nothing',
      'process.stdin.pause(); setInterval(() => undefined, 1000)',
      'writes nothing',
    ],
    ['writes nonsense', "setInterval(() => console.log('la {la}'), 50)", 'only text'],
    [
      'writes half a line',
      `process.stdout.write('{"jsonrpc":"2.0","id":'); setInterval(() => undefined, 1000)`,
      'writes nothing',
    ],
    [
      'answers with another id',
      `process.stdin.on('data', () => console.log('{"jsonrpc":"2.0","id":99,"result":{}}'))`,
      'writes messages, but does not answer',
    ],
  ])(
    'a child that %s from its start is reported to clients of both eras and its owner',
    async (_what, program, said) => {
      const broken: string[] = []
      const slow: string[] = []
      const url = await start([], {
        args: ['-e', program],
        handshakeMs: 1000,
        startMs: 2500,
        broken: (reason) => broken.push(reason),
        slow: (reason) => slow.push(reason),
      })
      const [legacy, modern] = await Promise.all([
        post(url, undefined, initialize()),
        post(url, undefined, modernList, modernHeaders),
      ])
      expect([legacy.status, modern.status]).toEqual([504, 504])
      const message = expect.stringContaining(said) as string
      expect(await legacy.json()).toMatchObject({ id: 0, error: { message } })
      expect(await modern.json()).toMatchObject({ id: 9, error: { message } })

      expect(broken).toEqual([])
      await expect.poll(() => broken, { timeout: 10_000 }).toEqual([message])
      expect(slow).toContainEqual(message)
    },
  )

  test('a child that closes its output is ended, and its client learns why', async () => {
    const program = "require('fs').closeSync(1); setInterval(() => 1, 1000)"
    const url = await start([], { args: ['-e', program] })
    const answer = await post(url, undefined, initialize())
    expect(answer.status).toBe(502)
    expect(await answer.text()).toContain('closed its standard output')
  })

  test('a child that closes its input is ended, and its client learns why', async () => {
    const reaction = `
      if (m.params?.name !== 'x') return
      require('node:fs').closeSync(0)
      setInterval(() => 1, 1000)
      setTimeout(() => send({ id: m.id, result: {} }), 200)`
    const url = await scripted(reaction)
    const session = await openSession(url)
    expect((await post(url, session, call('x'))).status).toBe(200)

    const answer = await post(url, session, call('x'))
    expect(answer.status).toBe(502)
    expect(await answer.text()).toContain('closed its standard input')
  })

  test('a child that ignores initialize ends a passthrough’s session with the reason', async () => {
    const broken: string[] = []
    const url = await start([], {
      args: ['-e', 'setInterval(() => undefined, 1000)'],
      eras: 'passthrough',
      startMs: 1000,
      broken: (reason) => broken.push(reason),
    })
    const answer = await post(url, undefined, initialize())
    expect(JSON.stringify(await answerOf(answer))).toContain('does not answer')
    await expect.poll(() => broken).toHaveLength(1)
  })

  /** Only the child that gets the probe of the era works. Later children do not. */
  const onceOnly = (name: string): string => `
    const fs = require('node:fs')
    const first = !fs.existsSync(${JSON.stringify(name)})
    fs.writeFileSync(${JSON.stringify(name)}, '')
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method } = JSON.parse(line)
      if (method === 'tools/call') process.exit()
      if (!first || id === undefined) return
      const error = method === 'server/discover' ? { code: -32601, message: 'no' } : undefined
      const result = { protocolVersion: '2025-11-25', capabilities: { tools: {} } }
      console.log(JSON.stringify({ jsonrpc: '2.0', id, ...(error ? { error } : { result }) }))
    })`

  test.each(['session', 'shared'] as const)(
    'a child that hangs later is reported to clients of both eras (%s isolation)',
    async (isolation) => {
      const folder = mkdtempSync(join(tmpdir(), 'mcp-bridge-once-'))
      const slow: string[] = []
      const url = await start([], {
        args: ['-e', onceOnly(join(folder, 'started'))],
        isolation,
        warmSpares: 0,
        handshakeMs: 2500,
        slow: (reason) => slow.push(reason),
      })
      // The first child answers the probe and this session, and ends during its call.
      const session = await openSession(url)
      expect((await post(url, session, call('x'))).status).toBe(502)

      for (let time = 0; time < 2; time += 1) {
        const answers = await Promise.all([
          post(url, undefined, initialize()).then(answerOf),
          post(url, undefined, modernList, modernHeaders).then(answerOf),
        ])
        const message = expect.stringContaining('although it has worked before') as string
        expect(answers).toMatchObject([{ error: { message } }, { error: { message } }])
      }
      expect(slow.length).toBeGreaterThan(0)
      rmSync(folder, { recursive: true })
    },
  )

  const silentUnlessX = `
    if (m.method === 'notifications/cancelled') globalThis.cancelled = m.params.requestId
    if (m.params?.name === 'x') send({ id: m.id, result: { cancelled: globalThis.cancelled } })`

  test('a silent call is given up and cancelled, and the child serves the next one', async () => {
    const url = await scripted(silentUnlessX, { answerTimeoutMs: 1000 })
    const session = await openSession(url)
    const answer = await answerOf(await post(url, session, call('never', {}, 5)))
    const message = expect.stringContaining('has said nothing of this request for 1 s') as string
    expect(answer).toMatchObject({ id: 5, error: { message } })
    expect(await answerOf(await post(url, session, call('x', {}, 6)))).toMatchObject({
      result: { cancelled: 5 },
    })
  })

  test('a silent modern call is given up', async () => {
    const url = await scripted(silentUnlessX, { answerTimeoutMs: 1000 })
    const answer = await post(url, undefined, modernList, modernHeaders)
    expect(answer.status).toBe(504)
    expect(await answer.text()).toContain('has said nothing of this request for 1 s')
  })

  test('a call that reports progress has more time than its answer', async () => {
    const reaction = `
      if (m.params?.name !== 'long') return
      const { progressToken } = m.params._meta
      let progress = 0
      const timer = setInterval(() => {
        if ((progress += 1) > 8) {
          clearInterval(timer)
          return send({ id: m.id, result: { done: true } })
        }
        send({ method: 'notifications/progress', params: { progressToken, progress } })
      }, 400)`
    const url = await scripted(reaction, { answerTimeoutMs: 1500 })
    const session = await openSession(url)
    const long = call('long', {}, 5, { _meta: { progressToken: 'p' } })
    const [, last] = /^data: (\{"jsonrpc":"2.0","id":5.*)$/m.exec(
      await (await post(url, session, long)).text(),
    ) ?? ['', '{}']
    expect(JSON.parse(last ?? '')).toMatchObject({ result: { done: true } })
  })

  test('a child that ignores server/discover is served once it answers initialize', async () => {
    const program = `
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method, params } = JSON.parse(line)
        const result = method === 'initialize'
          ? { protocolVersion: '2025-11-25', capabilities: {} }
          : { said: params?.name }
        if (id !== undefined && method !== 'server/discover')
          console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })`
    const url = await start([], { args: ['-e', program] })
    const answer = await post(url, await openSession(url), call('x'))
    expect(await answer.json()).toMatchObject({ id: 1, result: { said: 'x' } })
  })

  test('a child works in its own directory, or the bridge says that it is missing', async () => {
    const reaction = 'send({ id: m.id, result: { directory: process.cwd() } })'
    const there = await scripted(reaction, { directory: '/usr' })
    expect(await (await post(there, await openSession(there), call('x'))).json()).toMatchObject({
      result: { directory: '/usr' },
    })

    const nowhere = await scripted(reaction, { directory: '/nowhere' })
    const answer = await post(nowhere, undefined, initialize())
    expect([answer.status, await answer.text()]).toEqual([
      502,
      expect.stringContaining("working directory '/nowhere' (MCP_CWD) does not exist"),
    ])
  })

  test('a child that cannot be started is reported with the reason', async () => {
    const url = await start([], { command: '/no/such/command', args: [] })
    const answer = await post(url, undefined, initialize())
    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({
      id: 0,
      error: { message: expect.stringContaining("'/no/such/command' does not exist") },
    })
  })

  test('a child that exits at once is reported with its last words', async () => {
    const url = await start(['exit'])
    const answer = await post(url, undefined, initialize())
    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({
      error: { message: expect.stringMatching(/code 3.*does not want to live/) },
    })
  })

  test('a child that exits in a call fails that call alone, and its session ends', async () => {
    const url = await start()
    const session = await openSession(url)
    const answer = await post(url, session, call('exit'))
    expect(answer.status).toBe(502)
    expect(await answer.json()).toMatchObject({
      id: 1,
      error: { message: expect.stringMatching(/code 7.*the last words/) },
    })
    expect((await post(url, session, call('pid'))).status).toBe(404)
    expect((await post(url, await openSession(url), call('pid'))).status).toBe(200)
  })

  test('a child that prints garbage is understood all the same', async () => {
    const url = await start(['garbage'])
    expect((await post(url, await openSession(url), call('pid'))).status).toBe(200)
  })

  test.each([
    ['a blank after it', '', ' '],
    ['a tab and a carriage return after it', '', '\\t\\r\\r'],
    ['a byte order mark before it', '\\uFEFF', ''],
    ['blanks before it', ' \\t', ''],
    ['escape sequences around it', '\\x1b[2K\\x1b[1;32m', '\\x1b[0m'],
    ['a window title before it', '\\x1b]0;server\\x07', ''],
  ])('a child that writes a message with %s is answered', async (_what, before, after) => {
    const program = `
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method } = JSON.parse(line)
        const result = { protocolVersion: '2025-06-18', capabilities: {}, via: method,
          serverInfo: { name: 's', version: '1' } }
        if (id !== undefined)
          console.log('${before}' + JSON.stringify({ jsonrpc: '2.0', id, result }) + '${after}')
      })`
    const url = await start([], { args: ['-e', program], eras: 'passthrough' })
    const params = {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'c', version: '1' },
    }

    const answer = await post(url, undefined, {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params,
    })
    expect(await answer.json()).toMatchObject({ id: 1, result: { via: 'initialize' } })
  })

  test.each(['session', 'shared'] as const)(
    'a child that writes words into its answers ends each call (isolation %s)',
    async (isolation) => {
      const reaction = `
        if (m.params?.name === 'words') raw('INFO [x] {1} ')
        const id = JSON.stringify(m.id)
        if (m.params?.name === 'nan')
          return raw('{"jsonrpc":"2.0","id":' + id + ',"result":{"x":NaN}}\\n')
        const error = '{"code":-32700,"message":"Parse error"}'
        if (m.params?.name === 'nobody')
          return raw('{"jsonrpc":"2.0","id":null,"error":' + error + '}\\n')
        send({ id: m.id, result: { name: m.params?.name } })`
      const url = await scripted(reaction, { isolation })
      const session = await openSession(url)

      expect(await (await post(url, session, call('words', {}, 1))).json()).toMatchObject({
        id: 1,
        result: { name: 'words' },
      })
      expect(JSON.stringify(await answerOf(await post(url, session, call('nan', {}, 2))))).toMatch(
        /"id":2,"error":.*no JSON/,
      )
      expect(await answerOf(await post(url, session, call('nobody', {}, 3)))).toMatchObject({
        id: 3,
        error: { code: -32700 },
      })
    },
  )

  test('a child that prints mere look-alikes of messages does not end the bridge', async () => {
    const url = await scripted(String.raw`
      raw('{"\\x": 1}\n{"method": "\\q"}\n{"\\u12": 1, "id": 1}\n{ not a message\n[\n')
      send({ id: m.id, result: {} })`)
    const session = await openSession(url)
    for (const id of [1, 2])
      expect(await (await post(url, session, call('x', {}, id))).json()).toEqual({
        jsonrpc: '2.0',
        id,
        result: {},
      })
  })

  test('a child that exits while its fork holds the outputs fails its calls', async () => {
    const url = await scripted(`
      const stdio = ['ignore', 'inherit', 'inherit']
      require('node:child_process').spawn('sleep', ['60'], { stdio })
      setTimeout(() => process.exit(9), 50)`)
    const session = await openSession(url)
    const answer = await fetch(url, {
      method: 'POST',
      signal: soon(),
      headers: { ...json, 'mcp-session-id': session },
      body: JSON.stringify(call('x')),
    })
    expect(await answer.json()).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining('code 9') },
    })
  })

  test.each([
    [
      'with neither a result nor an error',
      `raw('{"jsonrpc":"2.0","id":' + m.id + '}\\n')`,
      { error: { message: expect.stringContaining('neither') } },
    ],
    [
      'with an error that names no request',
      `raw('{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no"}}\\n')`,
      { error: { message: 'no' } },
    ],
    [
      'with what is no UTF-8',
      `raw(Buffer.from('{"jsonrpc":"2.0","id":' + m.id + ',"result":{"a":"\\xff"}}\\n', 'latin1'))`,
      { result: { a: '\ufffd' } },
    ],
  ])(
    'a child that answers %s is understood as far as possible',
    async (_what, reaction, expected) => {
      const url = await scripted(reaction)
      expect(
        await (await post(url, await openSession(url), call('x', {}, 7))).json(),
      ).toMatchObject({
        id: 7,
        ...expected,
      })
    },
  )

  test('a child that exits in a batch fails each of its requests', async () => {
    const url = await start()
    const answer = await post(url, await openSession(url), [
      call('never', {}, 'a'),
      call('never', {}, 'b'),
      call('exit', {}, 'c'),
    ])
    expect(
      (await events(answer)).map(({ data }) => (JSON.parse(data) as { id: string }).id).toSorted(),
    ).toEqual(['a', 'b', 'c'])
  })

  test('the bridge hears last words without a line break', async () => {
    const url = await scripted(`process.stderr.write('no token', () => process.exit(4))`)
    const answer = await post(url, await openSession(url), call('x'))
    expect(await answer.json()).toMatchObject({
      error: { message: expect.stringMatching(/code 4.*no token/) },
    })
  })

  test('a child that reads numbers as doubles answers two ids that are one double', async () => {
    const url = await start()
    const session = await openSession(url)
    const ids = ['9007199254740992', '9007199254740993', '1e400', '2e400']
    const answers = await Promise.all(
      ids.map(async (id) =>
        (
          await post(
            url,
            session,
            `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"x",` +
              `"arguments":{"of":"${id}"}}}`,
          )
        ).text(),
      ),
    )

    for (const [index, id] of ids.entries()) {
      expect(answers[index]).toContain(`"id":${id}`)
      expect(answers[index]).toContain(String.raw`{\"of\":\"${id}\"}`)
    }
  })

  test('a child that writes ids and tokens in another way is understood', async () => {
    const url = await start()
    const session = await openSession(url)
    const answer = await fetch(url, {
      method: 'POST',
      signal: soon(),
      headers: { ...json, 'mcp-session-id': session },
      body:
        String.raw`{"jsonrpc":"2.0","id":"a\/\u00e9","method":"tools/call",` +
        String.raw`"params":{"name":"progress","_meta":{"progressToken":"t\/1"}}}`,
    })
    expect((await events(answer)).length).toBe(5)
  })

  test.each(['session', 'shared'] as const)(
    'a child that pings gets an answer though no client listens (isolation %s)',
    async (isolation) => {
      const reaction = `
        if (m.result !== undefined && m.id === 'alive?')
          return send({ id: globalThis.call, result: { alive: true } })
        if (m.params?.name !== 'asks') return
        globalThis.call = m.id
        send({ id: 'alive?', method: 'ping' })`
      const url = await scripted(reaction, { isolation })
      // Two calls are open, so the ping belongs to neither.
      const session = await openSession(url)
      const open = new AbortController()
      void fetch(url, {
        method: 'POST',
        headers: { ...json, 'mcp-session-id': session },
        body: JSON.stringify(call('never', {}, 5)),
        signal: open.signal,
      }).catch(() => undefined)
      const taken = async (): Promise<number> =>
        (await post(url, session, call('pid', {}, 5))).status
      await expect.poll(taken).toBe(400)

      const answer = await post(url, session, call('asks', {}, 6))
      expect(await answer.json()).toMatchObject({ id: 6, result: { alive: true } })
      open.abort()
    },
  )

  test('a child that ignores SIGTERM ends with the bridge', async () => {
    const url = await start(['stubborn'])
    const pid = Number(await textOf(await post(url, await openSession(url), call('pid'))))
    await open[0]?.[Symbol.asyncDispose]()
    expect(() => process.kill(pid, 0)).toThrow()
  })
})

describe('a shared child', () => {
  test('a shared child serves all sessions, with equal ids and progress tokens', async () => {
    const url = await start([], { isolation: 'shared' })
    const sessions = await Promise.all([openSession(url), openSession(url), openSession(url)])
    const pids = await Promise.all(
      sessions.map(async (session) => textOf(await post(url, session, call('pid', {}, 'same')))),
    )
    expect(new Set(pids).size).toBe(1)

    const streams = await Promise.all(
      sessions.map(async (session) =>
        events(
          await post(
            url,
            session,
            call('progress', {}, 'same', { _meta: { progressToken: 'tok' } }),
          ),
        ),
      ),
    )
    for (const stream of streams) {
      const messages = stream
        .filter(({ data }) => data !== '')
        .map(({ data }) => JSON.parse(data) as { id?: string; params?: { progressToken: string } })
      expect(messages.map(({ id, params }) => id ?? params?.progressToken)).toEqual([
        'tok',
        'tok',
        'tok',
        'same',
      ])
    }
  })

  test('a shared child hears an answer only from the client that it asked', async () => {
    const url = await scripted(
      `if (m.params?.name === 'ask') {
         globalThis.call = m.id
         send({ id: 'q', method: 'roots/list' })
       }
       if (m.id === 'q') send({ id: globalThis.call, result: { heard: m.result } })`,
      { isolation: 'shared' },
    )
    const [a, b] = [await openSession(url), await openSession(url)]
    // The headers come with the question.
    const answer = await post(url, a, call('ask', {}, 'ask'))
    await post(url, b, { jsonrpc: '2.0', id: 'q', result: 'from b' })
    await post(url, a, { jsonrpc: '2.0', id: 'q', result: 'from a' })
    expect((await events(answer)).at(-1)?.data).toContain('from a')
  })

  test('a shared child that refuses to initialize refuses every waiting client', async () => {
    const url = await scripted(
      `setTimeout(() => send({ id: m.id, error: { code: 1, message: 'no' } }), 200)`,
      { isolation: 'shared' },
      'initializes itself',
    )
    const answers = await Promise.all([
      post(url, undefined, initialize()),
      post(url, undefined, initialize()),
    ])
    for (const answer of answers)
      expect(await answer.json()).toMatchObject({ id: 0, error: { message: 'no' } })
  })

  test('a shared child drops a client that does not read, and serves the others', async () => {
    const url = await start([], { isolation: 'shared' })
    const [slow, other] = [await openSession(url), await openSession(url)]
    const flood = call('flood', { count: 80_000 }, 1, { _meta: { progressToken: 1 } })
    const unread = await post(url, slow, flood)
    expect(await (await post(url, other, call('pid', {}, 'other'))).text()).toContain(
      '"id":"other"',
    )
    await expect(unread.text()).rejects.toThrow()
  })

  test.each([
    ['that has worked before, is not given up', true],
    ['that has never worked, is given up', false],
  ])('a shared child %s when it ends at once several times', async (_what, works) => {
    const folder = mkdtempSync(join(tmpdir(), 'bridge-'))
    // Each start adds a letter to a file. All children but the first end at once. The first ends
    // too unless it works.
    const script = `
      const fs = require('node:fs')
      const starts = process.argv[1] + '/starts'
      fs.appendFileSync(starts, 'x')
      if (process.argv[2] !== 'works' || fs.statSync(starts).size > 1) process.exit(3)
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method, params } = JSON.parse(line)
        if (method === 'tools/call') process.exit(0)
        if (method === 'initialize')
          console.log(JSON.stringify({ jsonrpc: '2.0', id, result: {
            protocolVersion: params.protocolVersion, capabilities: {},
            serverInfo: { name: 's', version: '1' } } }))
      })`
    const reasons: string[] = []
    const url = await start([], {
      args: ['-e', script, folder, works ? 'works' : 'fails'],
      isolation: 'shared',
      eras: 'passthrough',
      broken: (reason) => reasons.push(reason),
    })
    try {
      if (works) expect((await post(url, await openSession(url), call('exit'))).status).toBe(502)
      await expect
        .poll(() => readFileSync(join(folder, 'starts'), 'utf8').length)
        .toBeGreaterThanOrEqual(5)
      expect(reasons).toEqual(works ? [] : ['The server exited with code 3.'])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('a shared child is started again after its end, for new sessions', async () => {
    const url = await start([], { isolation: 'shared' })
    const [a, b] = [await openSession(url), await openSession(url)]
    expect((await post(url, a, call('exit'))).status).toBe(502)
    expect((await post(url, b, call('pid'))).status).toBe(404)
    expect((await post(url, await openSession(url), call('pid'))).status).toBe(200)
  })
})

describe('a server of both eras that takes only the first era of a connection', () => {
  const script = `
    let era
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method } = JSON.parse(line)
      const serverInfo = { name: 'both', version: '1' }
      const send = (answer) =>
        process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, ...answer }) + '\\n')
      if (method === 'server/discover') {
        era ??= 'modern'
        const supportedVersions = ['2026-07-28']
        return send({ result: { supportedVersions, capabilities: {}, serverInfo } })
      }
      if (method !== 'initialize') return
      era ??= 'legacy'
      const protocolVersion = '2025-11-25'
      if (era === 'legacy')
        return send({ result: { protocolVersion, capabilities: {}, serverInfo } })
      send({ error: { code: -32022, message: 'connection is serving the 2026-07-28 protocol' } })
    })`

  test.each([0, 1])(
    'legacy clients initialize such a server, with %i warm spares',
    async (warmSpares) => {
      const url = await start([], { args: ['-e', script], warmSpares })
      for (let count = 0; count < 3; count += 1) {
        const answer = await post(url, undefined, initialize())
        expect([answer.status, await answer.text()]).toEqual([
          200,
          expect.stringContaining('"protocolVersion":"2025-11-25"'),
        ])
      }
    },
  )
})

describe('a server of the modern era that stops reading', () => {
  const script = `
    process.stdin.setEncoding('utf8')
    let text = ''
    process.stdin.on('data', (chunk) => {
      text += chunk
      for (let end; (end = text.indexOf('\\n')) !== -1; text = text.slice(end + 1)) {
        const { id, method, params } = JSON.parse(text.slice(0, end))
        const send = (answer) => console.log(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
        if (method === 'server/discover')
          send({ result: { resultType: 'complete', supportedVersions: ['2026-07-28'],
            capabilities: { tools: {} }, ttlMs: 0, cacheScope: 'private',
            serverInfo: { name: 'modern', version: '1' } } })
        else if (method === 'tools/call' && params.name === 'stop') {
          process.stdin.pause()
          setInterval(() => undefined, 1000)
        }
        else if (id !== undefined)
          send({ error: { code: -32601, message: 'not here' } })
      }
    })`

  test('such a server gets no more legacy requests when 32 MiB wait for it', async () => {
    const options = { args: ['-e', script], bodies: new Bodies(32 * 1024 * 1024) }
    const url = await start([], options)
    const session = await openSession(url)
    const leaving = new AbortController()
    const send = (name: string, id: number, bytes: number): Promise<Response> =>
      fetch(url, {
        method: 'POST',
        headers: { ...json, 'mcp-session-id': session },
        body: JSON.stringify(call(name, { text: 'x'.repeat(bytes) }, id)),
        signal: leaving.signal,
      })
    void send('stop', 1, 10).catch(() => undefined)
    let next = 4
    for (const id of [2, 3]) void send('more', id, 20 * 1024 * 1024).catch(() => undefined)

    await expect
      .poll(async () => {
        const refused = send('small', (next += 1), 10)
        const late = new Promise<undefined>((resolve) => setTimeout(resolve, 500, undefined))
        const answer = await Promise.race([refused, late])
        refused.catch(() => undefined)
        return answer === undefined ? 'no answer' : `${answer.status} ${await answer.text()}`
      })
      .toMatch(/^503 .*does not read/)
    leaving.abort()
  })
})

test.each(['legacy', 'modern'])(
  'bodies of %s requests that wait for a server that never starts are bounded',
  async (era) => {
    const bodies = new Bodies(64 * 1024, 1024 * 1024)
    const url = await start([], { args: ['-e', 'setInterval(() => undefined, 1000)'], bodies })
    const leaving = new AbortController()
    const text = 'x'.repeat(60_000)
    const modern = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const ofModern = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' }
    const send = (): Promise<Response> =>
      fetch(url, {
        method: 'POST',
        headers: era === 'legacy' ? json : { ...json, ...ofModern },
        body: JSON.stringify(
          era === 'legacy'
            ? { ...initialize(), text }
            : { id: 1, jsonrpc: '2.0', method: 'tools/list', params: { text, _meta: modern } },
        ),
        signal: leaving.signal,
      })
    const refused: number[] = []
    for (let count = 0; count < 20; count += 1)
      send().then(
        ({ status }) => refused.push(status),
        () => undefined,
      )

    // Half of the room holds 8 bodies.
    await expect.poll(() => refused).toEqual(Array.from({ length: 12 }, () => 429))

    leaving.abort()
  },
)
