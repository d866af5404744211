import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { classify, metaKey } from '@mcp-gateway/protocol'
import { Pool } from 'undici'
import { afterEach, describe, expect, test } from 'vitest'
import type { HttpUpstream } from '../src/upstream/http-upstream.ts'
import { Translator } from '../src/translator.ts'

interface Got {
  readonly method: string
  readonly headers: IncomingMessage['headers']
  readonly message: {
    id?: number | string
    method?: string
    params?: Record<string, unknown>
    result?: unknown
    error?: unknown
  }
  /** True if the client hung up before the answer. */
  gone: boolean
  over: boolean
}

type Script = (got: Got, response: ServerResponse) => void

const open: { close(): void }[] = []
afterEach(() => open.splice(0).forEach((each) => each.close()))

async function listen(
  handle: (request: IncomingMessage, body: string, response: ServerResponse) => void,
): Promise<number> {
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => handle(request, Buffer.concat(chunks).toString(), response))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  })
  return (server.address() as AddressInfo).port
}

function json(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  response
    .writeHead(status, { 'content-type': 'application/json', ...headers })
    .end(JSON.stringify({ jsonrpc: '2.0', ...body }))
}

function stream(response: ServerResponse, ...events: string[]): ServerResponse {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const event of events) response.write(event)
  return response
}

function event(message: object, id?: string): string {
  return (
    `${id === undefined ? '' : `id: ${id}\n`}data: ` +
    `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`
  )
}

/** A server that follows a script, and notes its requests in `got`. Gives its port. */
function serve(script: Script, got: Got[]): Promise<number> {
  return listen((request, body, response) => {
    const message = body === '' ? {} : (JSON.parse(body) as Got['message'])
    const each: Got = {
      method: request.method ?? '',
      headers: request.headers,
      message,
      gone: false,
      over: false,
    }
    got.push(each)
    response.on('close', () => {
      each.gone = !response.writableFinished
      each.over = true
    })
    script(each, response)
  })
}

/** A front for clients of both eras. Gives its port. */
function serveTranslated(translator: Translator): Promise<number> {
  return listen((request, body, response) => {
    const id = request.headers['mcp-session-id']
    const session = typeof id === 'string' ? translator.sessions.get(id) : undefined
    if (request.method !== 'POST')
      return session === undefined
        ? undefined
        : translator.sessions.take(session, request, response, Buffer.from(body))

    const classified = classify(body, request.headers)
    if (classified.era === 'modern') return translator.modern('ann', classified, request, response)
    if (session !== undefined) return session.post(Buffer.from(body), response)

    const fresh = randomUUID()
    translator.open(fresh, 'ann', Buffer.from(body), response, { 'mcp-session-id': fresh })
  })
}

/** A server that follows a script, and a translation in front of it. */
async function setUp(
  script: Script,
  options: { answerTimeoutMs?: number; connections?: number; upstream?: () => HttpUpstream } = {},
) {
  const got: Got[] = []
  const upstream = await serve(script, got)
  const server = open.at(-1)
  const pool = new Pool(`http://127.0.0.1:${upstream}`, { connections: options.connections ?? 50 })
  const translator = new Translator({
    upstream: options.upstream ?? (() => ({ pool, path: '/mcp', headers: () => [] })),
    newState: () => randomUUID(),
    clientInfo: { name: 'test', version: '1' },
    answerTimeoutMs: options.answerTimeoutMs ?? 10_000,
    maxSessions: 10,
    sessionIdleMs: 60_000,
    sessionMaxMs: 60_000,
  })
  const port = await serveTranslated(translator)
  open.push({
    close: () => {
      translator.close('The test is over.')
      void pool.destroy()
    },
  })
  const url = `http://127.0.0.1:${port}/mcp`
  const post = (
    body: object,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', ...body }),
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headers,
      },
      signal: signal ?? null,
    })
  const said = (method: string): Got[] => got.filter(({ message }) => message.method === method)
  return { got, said, pool, post, url, stopServer: () => server?.close() }
}

type World = Awaited<ReturnType<typeof setUp>>

/** The messages of an answer, JSON or stream. */
async function messagesOf(response: Response): Promise<Record<string, unknown>[]> {
  const text = await response.text()
  if (!response.headers.get('content-type')?.startsWith('text/event-stream'))
    return [JSON.parse(text) as Record<string, unknown>]
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)) as Record<string, unknown>)
}

/** A server that the gateway cannot ask, with the reason. */
const unreachable: Record<string, [() => HttpUpstream, { code: string; retryable: boolean }]> = {
  'has no replica that is ready': [
    () => {
      throw Object.assign(new Error('Not ready.'), { code: 'no_ready_replica', retry: true })
    },
    { code: 'no_ready_replica', retryable: true },
  ],
  'has a credential that cannot be read': [
    () => ({
      pool: { dispatch: () => true },
      path: '/mcp',
      headers: () => {
        throw Object.assign(new Error('Missing.'), { code: 'secret_unreadable', retry: false })
      },
    }),
    { code: 'secret_unreadable', retryable: false },
  ],
}

function failure(message: unknown, data?: object): object {
  const error = { code: -32603, message, ...(data === undefined ? {} : { data }) }
  return { jsonrpc: '2.0', id: 1, error }
}

const unsent = { code: 'upstream_unreachable', retryable: true }
const broken = { code: 'upstream_failed', retryable: false }

/** Answers without a message, and the part of the error that says so. */
const unreadable: readonly [string, Script, string][] = [
  [
    'is a page',
    (_got, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<p>'),
    '(HTTP 200)',
  ],
  [
    'is no JSON',
    (_got, response) =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end('{"id'),
    '(HTTP 200)',
  ],
]

describe('a modern client of a legacy HTTP server', () => {
  const result = { content: [{ type: 'text', text: 'done' }] }
  const answer = {
    jsonrpc: '2.0',
    id: 1,
    result: {
      ...result,
      resultType: 'complete',
      _meta: { [metaKey.serverInfo]: { name: 'old', version: '1' } },
    },
  }

  /** A server that opens sessions. A script does the rest. */
  function legacy(script: Script): Script {
    let sessions = 0
    return (got, response) => {
      if (got.message.method === 'initialize') {
        const initialized = {
          protocolVersion: '2025-11-25',
          capabilities: { tools: {} },
          serverInfo: { name: 'old', version: '1' },
        }
        return json(
          response,
          200,
          { id: got.message.id as number, result: initialized },
          { 'mcp-session-id': `s-${(sessions += 1)}!~` },
        )
      }
      if (got.method === 'DELETE' || (got.message.method?.startsWith('notifications/') ?? false))
        return void response.writeHead(202).end()
      if (got.method === 'GET' && got.headers['last-event-id'] === undefined)
        return void response.writeHead(405).end()
      script(got, response)
    }
  }

  function ask({ post }: World, method = 'tools/call', signal?: AbortSignal): Promise<Response> {
    const name = method === 'tools/call' ? { name: 'work' } : {}
    const meta = {
      [metaKey.protocolVersion]: '2026-07-28',
      [metaKey.clientCapabilities]: {},
      progressToken: 'p',
    }
    const headers = {
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(method === 'tools/call' ? { 'mcp-name': 'work' } : {}),
    }
    return post({ id: 1, method, params: { ...name, _meta: meta } }, headers, signal)
  }

  test.each(Object.entries(unreachable))(
    'a modern client of a server that %s gets the code of the reason',
    async (_what, [upstream, data]) => {
      const world = await setUp(() => undefined, { upstream })
      for (const method of ['tools/call', 'tools/list'])
        expect(await messagesOf(await ask(world, method))).toMatchObject([
          { id: 1, error: { data } },
        ])
    },
  )

  test('a modern client gets a JSON answer in the session that the server gave', async () => {
    const world = await setUp(
      legacy(({ message }, response) => json(response, 200, { id: message.id as number, result })),
    )
    expect(await messagesOf(await ask(world))).toEqual([answer])
    expect(world.said('tools/call')[0]?.headers).toMatchObject({
      'mcp-session-id': 's-1!~',
      'mcp-protocol-version': '2025-11-25',
    })
    expect(world.said('tools/call')[0]?.headers['mcp-method']).toBeUndefined()
  })

  test('a modern client of endless streams is answered over few connections', async () => {
    const initialized = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: {} }
    const world = await setUp(
      ({ message: { id, method } }, response) => {
        // Streams of notifications have no answer, and stay open too.
        const answers = method === 'initialize' ? initialized : result
        stream(response, ...(id === undefined ? [] : [event({ id, result: answers })]))
        response.flushHeaders()
      },
      { connections: 3 },
    )

    for (let call = 0; call < 5; call += 1)
      expect(await messagesOf(await ask(world))).toMatchObject([{ id: 1, result }])

    const left = () => world.got.filter(({ method, over }) => method === 'POST' && !over)
    await expect.poll(left, { timeout: 5000 }).toEqual([])
  })

  test('a modern client gets a streamed answer, progress first, however it is cut', async () => {
    const world = await setUp(
      legacy(({ message }, response) => {
        const progress = {
          method: 'notifications/progress',
          params: { progressToken: message.id, progress: 0.5 },
        }
        const bytes = Buffer.from(event(progress) + event({ id: message.id, result }))
        stream(response)
        const next = (at: number): void => {
          if (at >= bytes.length) return void response.end()
          response.write(bytes.subarray(at, at + 7))
          setImmediate(next, at + 7)
        }
        next(0)
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([
      {
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 'p', progress: 0.5 },
      },
      answer,
    ])
  })

  test('a modern client does not notice that the server closes its streams early', async () => {
    let call: number | string | undefined
    const world = await setUp(
      legacy(({ message, method, headers }, response) => {
        if (method === 'POST') {
          call = message.id
          stream(response, 'id: a-1\nretry: 20\ndata:\n\n').end()
        } else if (headers['last-event-id'] === 'a-1') stream(response, 'id: a-2\ndata:\n\n').end()
        else stream(response, event({ id: call, result }, 'a-3')).end()
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([answer])
    expect(
      world.got.flatMap(({ method, headers }) =>
        method === 'GET' ? (headers['last-event-id'] ?? []) : [],
      ),
    ).toEqual(['a-1', 'a-2'])
    expect(world.said('tools/call')).toHaveLength(1)
  })

  test('a modern client continues where a stream broke off in mid-event', async () => {
    let call: number | string | undefined
    const world = await setUp(
      legacy(({ message, method }, response) => {
        if (method === 'POST') {
          call = message.id
          stream(response, 'id: a-1\nretry: 20\ndata:\n\n', 'id: a-2\ndata: {"half')
          setTimeout(() => response.destroy(), 30)
        } else stream(response, event({ id: call, result })).end()
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([answer])
  })

  test('a lost session repeats a list in a new one, and no call that may have run', async () => {
    let lost = false
    const world = await setUp(
      legacy(({ message, headers }, response) => {
        if (headers['mcp-session-id'] === 's-1!~' && lost) return void response.writeHead(404).end()
        json(response, 200, { id: message.id as number, result: { tools: [] } })
      }),
    )
    expect(await messagesOf(await ask(world, 'tools/list'))).toMatchObject([
      { result: { tools: [] } },
    ])
    lost = true
    expect(await messagesOf(await ask(world, 'tools/list'))).toMatchObject([
      { result: { tools: [] } },
    ])
    expect(world.said('initialize')).toHaveLength(2)
    expect(world.said('tools/list').map(({ headers }) => headers['mcp-session-id'])).toEqual([
      's-1!~',
      's-1!~',
      's-2!~',
    ])
  })

  test('a modern client learns that no session lasts, and tries end', async () => {
    const world = await setUp(legacy((_got, response) => void response.writeHead(404).end()))
    const response = await ask(world, 'tools/list')
    expect([response.status, await messagesOf(response)]).toEqual([
      502,
      [failure('The session ended at the server.')],
    ])
    expect(world.said('initialize')).toHaveLength(2)
  })

  test.each<[string, Script, string]>([
    ...unreadable,
    [
      'is a stream without one',
      (_got, response) => void stream(response, 'data: nonsense\n\n', ': x\n\n').end(),
      '(HTTP 200)',
    ],
    [
      'is for another request',
      (_got, response) => json(response, 200, { id: 'x', result: {} }),
      '(HTTP 200)',
    ],
    ['is nothing', (_got, response) => void response.writeHead(202).end(), '(HTTP 202)'],
    [
      'is a server error',
      (_got, response) => void response.writeHead(500).end('oops'),
      '(HTTP 500)',
    ],
    [
      'breaks off',
      (_got, response) => void stream(response, 'data: {"half').destroy(),
      'broke off',
    ],
    [
      'is none, and the connection is cut',
      (_got, response) => void response.destroy(),
      'broke off',
    ],
  ])('a modern client gets one error when the answer %s', async (_what, script, said) => {
    const world = await setUp(legacy(script))
    const messages = await messagesOf(await ask(world))
    const data = said === 'broke off' ? broken : undefined
    expect(messages).toEqual([failure(expect.stringContaining(said), data)])
  })

  test('the error about an unreachable server gives no address away', async () => {
    const world = await setUp(
      legacy((_got, response) => json(response, 200, { id: 1, result: {} })),
    )
    expect(await messagesOf(await ask(world))).toHaveLength(1)
    world.stopServer()
    expect(await messagesOf(await ask(world))).toEqual([
      failure('The server could not be reached (ECONNREFUSED).', unsent),
    ])
  })

  test('a modern client gets an error when the server does not answer in time', async () => {
    const world = await setUp(
      legacy(() => undefined),
      { answerTimeoutMs: 1000 },
    )
    // The call and its HTTP request have the same time limit, and either may end first.
    expect(await messagesOf(await ask(world))).toEqual([
      failure(expect.stringMatching(/did not answer in time|has said nothing of this request/)),
    ])
  })

  test('a modern client that leaves cancels its call at the server', async () => {
    const world = await setUp(legacy((_got, response) => void stream(response, ': working\n\n')))
    const leaving = new AbortController()
    const response = ask(world, 'tools/call', leaving.signal)
    await expect.poll(() => world.said('tools/call')).toHaveLength(1)
    leaving.abort()
    await expect(response).rejects.toThrow('aborted')
    await expect.poll(() => world.said('notifications/cancelled')).toHaveLength(1)
    expect(world.said('notifications/cancelled')[0]?.message.params?.['requestId']).toBe(
      world.said('tools/call')[0]?.message.id,
    )
  })

  test('a call that the server refused for a lost session runs in a new one', async () => {
    const world = await setUp(
      legacy(({ message, headers }, response) => {
        if (headers['mcp-session-id'] === 's-1!~') return void response.writeHead(404).end()
        json(response, 200, { id: message.id as number, result })
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([answer])
    expect(world.said('tools/call').map(({ headers }) => headers['mcp-session-id'])).toEqual([
      's-1!~',
      's-2!~',
    ])
  })

  test('a call that had begun when its session was lost is not repeated', async () => {
    const world = await setUp(
      legacy(({ method }, response) => {
        if (method === 'POST') stream(response, 'id: a-1\nretry: 20\ndata:\n\n').end()
        else response.writeHead(404).end()
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([
      failure('The session ended at the server.'),
    ])
    expect(world.said('tools/call')).toHaveLength(1)
  })

  test('a resumed stream without news for a while still brings the answer', async () => {
    let call: number | string | undefined
    let resumed = 0
    const world = await setUp(
      legacy(({ message, method }, response) => {
        if (method === 'POST') {
          call = message.id
          stream(response, 'id: a-1\nretry: 20\ndata:\n\n').end()
        } else if ((resumed += 1) < 4) stream(response, 'retry: 20\n\n').end()
        else stream(response, event({ id: call, result })).end()
      }),
    )
    expect(await messagesOf(await ask(world))).toEqual([answer])
    expect(resumed).toBe(4)
  })

  test.each(['0', '99999999999'])('a server that says retry: %s is not stormed', async (retry) => {
    let resumed = 0
    const world = await setUp(
      legacy(({ method }, response) => {
        if (method === 'GET') resumed += 1
        stream(response, `id: a-1\nretry: ${retry}\ndata:\n\n`).end()
      }),
    )
    const leaving = new AbortController()
    const response = ask(world, 'tools/call', leaving.signal)
    await expect.poll(() => world.said('tools/call')).toHaveLength(1)
    await sleep(500)
    expect(resumed).toBeLessThanOrEqual(6)
    leaving.abort()
    await expect(response).rejects.toThrow('aborted')
  })

  test('a cancelled call leaves no exchange open at the server', async () => {
    const world = await setUp(
      legacy((_got, response) => void stream(response, 'id: a-1\nretry: 100\ndata:\n\n')),
    )
    const leaving = new AbortController()
    const response = ask(world, 'tools/call', leaving.signal)
    await expect.poll(() => world.said('tools/call')).toHaveLength(1)
    leaving.abort()
    await expect(response).rejects.toThrow('aborted')
    await expect.poll(() => world.said('tools/call')[0]).toMatchObject({ over: true, gone: true })
  })

  test('a modern client gets an error when there is no way to the server any more', async () => {
    const world = await setUp(
      legacy(({ message }, response) => json(response, 200, { id: message.id as number, result })),
    )
    await world.pool.destroy()
    expect(await messagesOf(await ask(world))).toEqual([
      failure(expect.stringContaining('UND_ERR_DESTROYED'), unsent),
    ])
  })

  test('a modern client hears nothing of a server that does not initialize', async () => {
    const world = await setUp((_got, response) =>
      json(response, 400, { id: 1, error: { code: -32600, message: 'Go away.' } }),
    )
    expect(await messagesOf(await ask(world))).toEqual([
      failure('The server refused to initialize: Go away.'),
    ])
  })
})

describe('a legacy client of a modern HTTP server', () => {
  const result = { content: [{ type: 'text', text: 'done' }], resultType: 'complete' }
  const answer = { jsonrpc: '2.0', id: 1, result: { content: result.content } }

  /** A server that answers `server/discover`. A script answers calls. */
  function modern(script: Script): Script {
    return (got, response) => {
      const { id, method } = got.message
      if (method === 'server/discover')
        return json(response, 200, {
          id,
          result: {
            supportedVersions: ['2026-07-28'],
            capabilities: { tools: {} },
            resultType: 'complete',
          },
        })
      if (method === 'tools/list') {
        const inputSchema = {
          type: 'object',
          properties: { where: { type: 'string', 'x-mcp-header': 'Where' } },
        }
        return json(response, 200, {
          id,
          result: { tools: [{ name: 'wörk', inputSchema }], resultType: 'complete' },
        })
      }
      script(got, response)
    }
  }

  async function connect(
    script: Script,
    options: { answerTimeoutMs?: number; connections?: number } = {},
  ) {
    const world = await setUp(modern(script), options)
    const opened = await world.post(
      {
        id: 0,
        method: 'initialize',
        params: {
          protocolVersion: '2025-11-25',
          capabilities: { elicitation: {} },
          clientInfo: { name: 'c', version: '1' },
        },
      },
      {},
    )
    const headers = {
      'mcp-session-id': opened.headers.get('mcp-session-id') ?? '',
      'mcp-protocol-version': '2025-11-25',
    }
    expect(await messagesOf(opened)).toMatchObject([
      { result: { protocolVersion: '2025-11-25', capabilities: { tools: {} } } },
    ])
    const call = (signal?: AbortSignal): Promise<Response> =>
      world.post(
        {
          id: 1,
          method: 'tools/call',
          params: { name: 'wörk', arguments: { where: 'hier' }, _meta: { progressToken: 7 } },
        },
        headers,
        signal,
      )
    const end = (): Promise<Response> => fetch(world.url, { method: 'DELETE', headers })
    return { ...world, headers, call, end }
  }

  test.each(Object.entries(unreachable))(
    'a legacy client of a server that %s gets the code at its session’s opening',
    async (_what, [upstream, data]) => {
      const { post } = await setUp(() => undefined, { upstream })
      const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: {} }
      const opened = await post({ id: 0, method: 'initialize', params }, {})
      expect(await messagesOf(opened)).toMatchObject([{ id: 0, error: { data } }])
    },
  )

  test('a legacy client’s call is sent with every header of its version', async () => {
    const { call, said } = await connect(({ message }, response) =>
      json(response, 200, { id: message.id, result }),
    )
    expect(await messagesOf(await call())).toEqual([answer])
    const [sent] = said('tools/call')
    expect(sent?.headers).toMatchObject({
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': '=?base64?d8O2cms=?=',
      'mcp-param-where': 'hier',
    })
    expect(sent?.headers['mcp-session-id']).toBeUndefined()
    expect(sent?.message.params?.['_meta']).toEqual({
      progressToken: 7,
      [metaKey.protocolVersion]: '2026-07-28',
      [metaKey.clientCapabilities]: { elicitation: {} },
      [metaKey.logLevel]: 'info',
      [metaKey.clientInfo]: { name: 'c', version: '1' },
    })
  })

  test('a legacy client of endless streams is answered over few connections', async () => {
    const { call, got } = await connect(
      ({ message }, response) => void stream(response, event({ id: message.id, result })),
      { connections: 2 },
    )

    for (let round = 0; round < 4; round += 1)
      expect(await messagesOf(await call())).toEqual([answer])

    await expect.poll(() => got.filter(({ over }) => !over), { timeout: 5000 }).toEqual([])
  })

  test('a legacy client hears the progress before the answer on a stream', async () => {
    const progress = { method: 'notifications/progress', params: { progressToken: 7, progress: 1 } }
    const { call } = await connect(
      ({ message }, response) =>
        void stream(response, event(progress), event({ id: message.id, result })).end(),
    )
    expect(await messagesOf(await call())).toEqual([{ jsonrpc: '2.0', ...progress }, answer])
  })

  test('a legacy client answers a question of the server on the same call', async () => {
    const { call, post, headers, said } = await connect(({ message }, response) => {
      const inputRequests = {
        who: {
          method: 'elicitation/create',
          params: { mode: 'form', message: 'Who?', requestedSchema: {} },
        },
      }
      const asked = message.params?.['requestState'] === 'state ü'
      json(response, 200, {
        id: message.id,
        result: asked
          ? result
          : { resultType: 'input_required', inputRequests, requestState: 'state ü' },
      })
    })
    const response = await call()
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    const until = async (what: string): Promise<void> => {
      while (!text.includes(what)) {
        const { value, done } = await reader.read()
        if (done) throw new Error(`The stream ended: ${text}`)
        text += Buffer.from(value).toString()
      }
    }
    await until('elicitation/create')
    const id = /"id":"([^"]+)"/.exec(text)?.[1]
    expect(
      (await post({ id, result: { action: 'accept', content: { name: 'Ada' } } }, headers)).status,
    ).toBe(202)

    await until('"text":"done"')
    expect(said('tools/call')[1]?.message.params).toMatchObject({
      requestState: 'state ü',
      inputResponses: { who: { action: 'accept', content: { name: 'Ada' } } },
    })
  })

  test.each<[string, Script, string]>([
    ...unreadable,
    [
      'is a stream without one',
      (_got, response) => void stream(response, 'data: nonsense\n\n').end(),
      '(HTTP 200)',
    ],
    [
      'is a server error',
      (_got, response) => void response.writeHead(503).end('oops'),
      '(HTTP 503)',
    ],
    [
      'has neither result nor error',
      ({ message }, response) => json(response, 200, { id: message.id }),
      'The server gave no answer.',
    ],
    [
      'breaks off',
      (_got, response) => void stream(response, 'id: 1\ndata: {"half').destroy(),
      'broke off',
    ],
  ])('a legacy client gets one error when the answer %s', async (_what, script, said) => {
    const { call, said: sent } = await connect(script)
    const data = said === 'broke off' ? broken : undefined
    expect(await messagesOf(await call())).toEqual([failure(expect.stringContaining(said), data)])
    expect(sent('tools/call')).toHaveLength(1)
  })

  test('a legacy client neither sees nor answers requests of the server’s own', async () => {
    const { call } = await connect(({ message }, response) => {
      const stray = [
        event({ id: 'r', method: 'roots/list' }),
        event({ id: 'other', result: { content: ['stray'] } }),
      ]
      stream(response, ...stray, event({ id: message.id, result })).end()
    })
    expect(await messagesOf(await call())).toEqual([answer])
  })

  test('a legacy client learns why its request was refused before it was read', async () => {
    const { call } = await connect((_got, response) =>
      json(response, 400, { id: null, error: { code: -32600, message: 'No.' } }),
    )
    expect(await messagesOf(await call())).toEqual([
      { jsonrpc: '2.0', id: 1, error: { code: -32600, message: 'No.' } },
    ])
  })

  test('a legacy client gets an error when there is no way to the server any more', async () => {
    const { call, pool } = await connect(({ message }, response) =>
      json(response, 200, { id: message.id, result }),
    )
    await pool.destroy()
    expect(await messagesOf(await call())).toEqual([
      failure(expect.stringContaining('UND_ERR_DESTROYED'), unsent),
    ])
  })

  test('a legacy client gets an error when the server does not answer in time', async () => {
    const { call } = await connect(() => undefined, { answerTimeoutMs: 1000 })
    // The connection and the session both watch the time; either may tell first.
    expect(await messagesOf(await call())).toEqual([
      failure(expect.stringMatching(/did not answer in time|has said nothing of this request/)),
    ])
  })

  test.each(['cancels', 'ends its session'])(
    'the exchange with the server ends when a legacy client %s',
    async (how) => {
      const { call, post, headers, end, said } = await connect(
        (_got, response) => void stream(response, ': working\n\n'),
      )
      const response = call()
      await expect.poll(() => said('tools/call')).toHaveLength(1)
      if (how === 'cancels')
        await post({ method: 'notifications/cancelled', params: { requestId: 1 } }, headers)
      else await end()
      await expect.poll(() => said('tools/call')[0]?.gone).toBe(true)
      await (await response).text()
    },
  )

  test('a legacy client does not cancel by losing its connection', async () => {
    let answerNow: () => void = () => undefined
    const { call, post, headers, said } = await connect(({ message }, response) => {
      answerNow = () => json(response, 200, { id: message.id, result })
    })
    const leaving = new AbortController()
    const response = call(leaving.signal)
    await expect.poll(() => said('tools/call')).toHaveLength(1)
    leaving.abort()
    await expect(response).rejects.toThrow('aborted')
    await (await post({ id: 2, method: 'ping' }, headers)).text()
    expect(said('tools/call')[0]).toMatchObject({ over: false })
    answerNow()
    await expect.poll(() => said('tools/call')[0]).toMatchObject({ over: true, gone: false })
  })
})
