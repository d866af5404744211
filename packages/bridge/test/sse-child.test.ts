import { spawn, type ChildProcess } from 'node:child_process'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { freePort, officialServer } from '@mcp-gateway/testkit'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { createFront } from '../src/front.ts'
import { SseChild } from '../src/sse-child.ts'
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
    headers: () => ({ 'x-key': 'k' }),
    connectTimeoutMs: 2000,
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
    bodyLimitBytes: 1_000_000,
    eventBufferBytes: 1_000_000,
    eras: 'auto',
    legacyLeg: 'passthrough',
    broken: () => undefined,
  })
  const front = createFront(handler, { allowedHosts: new Set(['127.0.0.1']) })
  closing.push(async () => {
    await handler[Symbol.asyncDispose]()
    front.closeAllConnections()
    front.close()
  })
  return `http://127.0.0.1:${await listen(front)}/mcp`
}

/** server-everything as it spoke in 2024. */
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
  test('serves official clients of both eras, its questions included', async () => {
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
    'that %s fails the session with the reason, and the next one is tried anew',
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

  test('that is not there is 502', async () => {
    const answer = await post(await bridge('http://127.0.0.1:9/sse'))
    expect(answer.status).toBe(502)
  })
})
