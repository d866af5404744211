import { spawn, type ChildProcess } from 'node:child_process'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { freePort, officialServer } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { Bodies } from '../src/bodies.ts'
import { createFront } from '../src/front.ts'
import { SseChild } from '../src/children/sse-child.ts'
import { StdioBridge } from '../src/stdio-bridge.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const listen = (server: Server): Promise<number> =>
  new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  )

/** A bridge in front of an HTTP+SSE server. */
async function bridge(url: string): Promise<string> {
  const options = {
    url: new URL(url),
    headers: () => [['x-key', 'k'] as const],
    connectTimeoutMs: 2000,
    streamTimeoutMs: 1000,
    answerTimeoutMs: 60_000,
    maxMessageBytes: 1_000_000,
    log: pino({ level: 'silent' }),
  }
  const handler = new StdioBridge({
    spawn: () => new SseChild(options),
    replica: 'test-0',
    isolation: 'session',
    warmSpares: 0,
    maxSessions: 10,
    sessionIdleMs: 60_000,
    sessionMaxMs: 60_000,
    bodies: new Bodies(1_000_000),
    eventBufferBytes: 1_000_000,
    eras: 'auto',
    legacyLeg: 'passthrough',
    broken: () => undefined,
    slow: () => undefined,
    startMs: 120_000,
    handshakeMs: 50_000,
    answerTimeoutMs: 3_600_000,
  })
  const front = createFront(handler, { allowedHosts: new Set(['127.0.0.1']) })
  closing.push(async () => {
    await handler[Symbol.asyncDispose]()
    front.closeAllConnections()
    front.close()
  })
  return `http://127.0.0.1:${await listen(front)}/mcp`
}

/** Starts server-everything in its version of 2024. */
async function everything(): Promise<string> {
  const port = await freePort()
  const child: ChildProcess = spawn(process.execPath, [officialServer('everything'), 'sse'], {
    env: { ...process.env, PORT: String(port) },
    stdio: 'ignore',
  })
  closing.push(() => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}/sse`
  await expect
    .poll(
      async () => {
        const gone = new AbortController()
        const status = await fetch(url, { signal: gone.signal }).then(
          ({ status }) => status,
          () => 0,
        )
        gone.abort()
        return status
      },
      { timeout: 30_000 },
    )
    .toBe(200)
  return url
}

describe('a server that speaks HTTP+SSE of 2024-11-05', () => {
  test('such a server serves official clients of both eras, its questions included', async () => {
    const url = await bridge(await everything())
    for (const mode of ['legacy', { pin: '2026-07-28' }] as const) {
      const client = new Client(
        { name: 't', version: '1' },
        { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
      )
      client.setRequestHandler('elicitation/create', () => ({
        action: 'accept',
        content: { name: 'Ada', check: true },
      }))
      await client.connect(new StreamableHTTPClientTransport(new URL(url)))
      expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo')
      expect(await client.callTool({ name: 'echo', arguments: { message: 'Zoë' } })).toMatchObject({
        content: [{ text: 'Echo: Zoë' }],
      })
      expect(
        JSON.stringify(
          await client.callTool({ name: 'trigger-elicitation-request', arguments: {} }),
        ),
      ).toContain('Ada')
      await client.close()
    }
  })

  const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    },
  }
  const post = (url: string): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify(initialize),
    })

  test.each<[string, (response: ServerResponse) => void, RegExp]>([
    [
      'names an endpoint of another origin',
      (response) =>
        response
          .writeHead(200, { 'content-type': 'text/event-stream' })
          .write('event: endpoint\ndata: http://169.254.169.254/x\n\n'),
      /another origin/,
    ],
    ['has no event stream', (response) => response.writeHead(404).end(), /HTTP 404/],
    [
      'closes it',
      (response) =>
        response.writeHead(200, { 'content-type': 'text/event-stream' }).end(': bye\n\n'),
      /closed its event stream/,
    ],
    [
      'refuses messages',
      (response) =>
        response
          .writeHead(200, { 'content-type': 'text/event-stream' })
          .write('event: endpoint\ndata: /refused\n\n'),
      /refused a message \(HTTP 503\)/,
    ],
  ])(
    'a server that %s fails the session with the reason, and the next one is tried',
    async (_what, reaction, reason) => {
      let keys = 0
      const server = createServer((request, response) => {
        if (request.headers['x-key'] === 'k') keys += 1
        if (request.method === 'GET') reaction(response)
        else response.writeHead(503).end()
      })
      closing.push(() => {
        server.closeAllConnections()
        server.close()
      })
      const url = await bridge(`http://127.0.0.1:${await listen(server)}/sse`)
      for (let round = 0; round < 2; round += 1)
        expect(await (await post(url)).json()).toMatchObject({
          id: 1,
          error: { message: expect.stringMatching(reason) },
        })
      expect(keys).toBeGreaterThan(1)
    },
  )

  /**
   * An HTTP+SSE server that handles POSTs by the given function; `say` writes a message to its
   * stream.
   */
  async function posted(
    reaction: (
      request: IncomingMessage,
      response: ServerResponse,
      say: (text: string) => void,
      message: { readonly id: unknown; readonly method: string },
    ) => void,
  ): Promise<string> {
    let say: (text: string) => void = () => undefined
    const server = createServer((request, response) => {
      if (request.method === 'GET') {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('event: endpoint\ndata: /messages?s=1\n\n')
        say = (text) => void response.write(`data: ${text}\n\n`)
        return
      }
      let body = ''
      request.on('data', (part: Buffer) => (body += part.toString()))
      request.on('end', () => reaction(request, response, say, JSON.parse(body)))
    })
    closing.push(() => {
      server.closeAllConnections()
      server.close()
    })
    return bridge(`http://127.0.0.1:${await listen(server)}/sse`)
  }
  const answered = (id: unknown): string =>
    JSON.stringify({
      jsonrpc: '2.0',
      id,
      result: { protocolVersion: '2025-11-25', capabilities: {} },
    })

  test.each([307, 308])(
    'a redirected message endpoint (%i) gets its messages at the other path',
    async (status) => {
      const url = await posted((request, response, say, { id, method }) => {
        if (request.url === '/messages?s=1')
          return void response.writeHead(status, { location: '/messages/?s=1' }).end()
        response.writeHead(202).end()
        if (method === 'initialize') say(answered(id))
        else
          say(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":-32601,"message":""}}`)
      })
      expect(await (await post(url)).json()).toEqual(JSON.parse(answered(1)))
    },
  )

  test.each([301, 302, 303, 307])(
    'a message endpoint that redirects elsewhere (%i) fails the session with the reason',
    async (status) => {
      let elsewhere = 0
      const other = createServer((_request, response) => {
        elsewhere += 1
        response.end()
      })
      closing.push(() => other.close())
      const location = `http://127.0.0.1:${await listen(other)}/messages`
      const url = await posted((_request, response) => {
        response.writeHead(status, { location }).end()
      })
      expect(await (await post(url)).json()).toMatchObject({
        id: 1,
        error: { message: expect.stringMatching(/redirects its message endpoint.*MCP_PROXY_URL/) },
      })
      expect(elsewhere).toBe(0)
    },
  )

  test('a POST that is answered only when its tool is done keeps the session', async () => {
    const url = await posted((_request, response, say, { id, method }) => {
      if (method === 'initialize' || id === undefined) {
        response.writeHead(202).end()
        return id === undefined ? undefined : say(answered(id))
      }
      setTimeout(() => {
        say(answered(id))
        response.writeHead(202).end()
      }, 3500)
    })
    const opened = await post(url)
    const session = opened.headers.get('mcp-session-id') ?? ''
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        'mcp-session-id': session,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'x' } }),
    })
    expect(await answer.json()).toEqual(JSON.parse(answered(2)))
  })

  test('a proxy that gives up a POST fails that call, and keeps the session', async () => {
    const url = await posted((_request, response, say, { id, method }) => {
      if (method === 'tools/call' && id === 2) return void response.writeHead(504).end()
      response.writeHead(202).end()
      if (id !== undefined) say(answered(id))
    })
    const session = (await post(url)).headers.get('mcp-session-id') ?? ''
    const called = async (id: number): Promise<unknown> =>
      (
        await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'mcp-session-id': session },
          body: JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'x' } }),
        })
      ).json()
    expect(await called(2)).toMatchObject({
      id: 2,
      error: { message: expect.stringContaining('HTTP 504') },
    })
    expect(await called(3)).toEqual(JSON.parse(answered(3)))
  })

  test('an unreachable server is 502', async () => {
    const answer = await post(await bridge('http://127.0.0.1:9/sse'))
    expect(answer.status).toBe(502)
  })
})
