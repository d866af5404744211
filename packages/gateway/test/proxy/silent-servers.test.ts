import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

/**
 * Seconds that the gateway waits for a handshake. The bridge knows the reason, and waits a shorter
 * time.
 */
const handshake = 4

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open({ proxy: { handshakeTimeoutSeconds: handshake } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

interface Answer {
  readonly status: number
  readonly message: string
  readonly ms: number
}

async function post(
  name: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const since = performance.now()
  const { status, body: bytes } = await gateway.send(`/adapters/${name}/mcp`, {
    headers: { ...json, ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
  })
  const text = bytes.toString()
  const event = /^data: (\{.*)$/m.exec(text)?.[1] ?? text
  const { error } = JSON.parse(event) as { error?: { message: string } }
  return { status, message: error?.message ?? '', ms: performance.now() - since }
}

const legacy = (name: string): Promise<Answer> =>
  post(name, {
    method: 'initialize',
    params: {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    },
  })

const modern = (name: string): Promise<Answer> =>
  post(
    name,
    {
      method: 'tools/list',
      params: {
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    },
    { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' },
  )

async function read(name: string, what: string): Promise<string> {
  const { body } = await gateway.send(`/adapters/${name}/${what}`, { method: 'GET' })
  return body.toString()
}

describe('a stdio server with a fault', () => {
  test.each([
    ['says nothing', 'setInterval(() => undefined, 1000)', 'writes nothing and does not answer'],
    [
      'writes only text',
      "setInterval(() => console.log('la la'), 50)",
      'writes only text that is no message',
    ],
  ])(
    'a stdio server that %s is reported to clients of both eras, in status and log',
    async (_what, program, reason) => {
      const name = await gateway.register({
        imageName: 'mcp-proxy',
        environmentVariables: {
          MCP_COMMAND: process.execPath,
          MCP_ARGS: `-e "${program}"`,
          MCP_HANDSHAKE_SECONDS: '1',
          MCP_START_SECONDS: '5',
        },
      })
      const answers = await Promise.all([legacy(name), modern(name)])
      for (const { status, message, ms } of answers) {
        expect(status).toBe(504)
        expect(message).toContain(reason)
        expect(ms).toBeLessThan(20_000)
      }

      await expect.poll(() => read(name, 'status'), { timeout: 30_000 }).toContain(reason)
      expect(await read(name, 'status')).toMatch(/"replicaStatus":"(Degraded|Progressing)/)
      await expect
        .poll(() => read(name, 'logs').then((log) => log + '\n'), { timeout: 10_000 })
        .toContain('The server does not answer')
    },
    60_000,
  )
})

describe.concurrent('a server over HTTP with a fault', () => {
  const servers: Server[] = []
  afterAll(() => {
    for (const server of servers) {
      server.closeAllConnections()
      server.close()
    }
  })

  async function elsewhere(answer: RequestListener): Promise<string> {
    const server = createServer((request, response) => {
      request.resume()
      request.once('end', () => answer(request, response))
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const name = `elsewhere-${port}`
    const { status } = await gateway.send('/adapters', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, endpoint: `http://127.0.0.1:${port}/mcp` }),
    })
    expect(status).toBe(201)
    return name
  }

  const eventStream = { 'content-type': 'text/event-stream' }

  test.for<[string, RequestListener, number]>([
    ['accepts and never answers', () => undefined, 504],
    [
      'opens a stream and never says anything',
      (_request, response) => void response.writeHead(200, eventStream).write(': hello\n\n'),
      504,
    ],
    [
      'ends its stream without a message',
      (_request, response) => void response.writeHead(200, eventStream).end(),
      502,
    ],
    [
      'answers with a page',
      (_request, response) =>
        void response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Hello</p>'),
      502,
    ],
    ['answers with nothing', (_request, response) => void response.writeHead(200).end(), 502],
    [
      'answers with an empty JSON body',
      (_request, response) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).end(),
      502,
    ],
    [
      'answers with JSON that is no message',
      (_request, response) =>
        void response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}'),
      502,
    ],
  ])(
    'a server over HTTP that %s is reported to clients of both eras and in the status',
    { timeout: 90_000 },
    async ([, answer, wanted], { expect }) => {
      const name = await elsewhere(answer)
      for (const ask of [legacy, modern]) {
        const { status, message, ms } = await ask(name)
        expect(status).toBe(wanted)
        expect(message).toMatch(/^The server /)
        expect(ms).toBeLessThan(30_000)
        expect(await read(name, 'status')).toMatch(/"type":"Answering","status":"False"/)
      }
    },
  )

  test('the status is well again when the server answers again', async ({ expect }) => {
    let answers = false
    const name = await elsewhere((_request, response) => {
      const result = { protocolVersion: '2025-11-25', capabilities: {} }
      if (!answers) return void response.writeHead(200).end()
      response
        .writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'a' })
        .end(JSON.stringify({ jsonrpc: '2.0', id: 1, result }))
    })
    expect((await legacy(name)).status).toBe(502)
    expect(await read(name, 'status')).toContain('Answering')

    answers = true
    expect((await legacy(name)).status).toBe(200)
    expect(await read(name, 'status')).not.toContain('Answering')
  })

  test('the gateway waits for a call that takes longer than a handshake', async ({ expect }) => {
    const name = await elsewhere((request, response) => {
      const initializes = request.headers['mcp-session-id'] === undefined
      const result = { protocolVersion: '2025-11-25', capabilities: {}, content: [] }
      setTimeout(
        () =>
          response
            .writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'a' })
            .end(JSON.stringify({ jsonrpc: '2.0', id: 1, result })),
        initializes ? 0 : (handshake + 2) * 1000,
      )
    })
    const opened = await gateway.send(`/adapters/${name}/mcp`, {
      headers: json,
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} }),
    })
    const session = String(opened.headers['mcp-session-id'])
    const call = { method: 'tools/call', params: { name: 'long', arguments: {} } }
    expect(await post(name, call, { 'mcp-session-id': session })).toMatchObject({ status: 200 })
  })
})
