import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import {
  connect,
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { freePort, selfSigned } from '@mcp-gateway/testkit'
import { afterEach, describe, expect, test } from 'vitest'
import { Bodies } from '../src/bodies.ts'
import { createFront } from '../src/front.ts'
import { RemoteBridge, type RemoteBridgeOptions } from '../src/remote-bridge.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** Listens on loopback until the end of the test. */
async function listen(server: TcpServer, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  closing.push(() => shut(server))
  return (server.address() as AddressInfo).port
}

async function shut(server: TcpServer): Promise<void> {
  ;(server as Partial<Server>).closeAllConnections?.()
  await new Promise((resolve) => server.close(resolve))
}

/** A remote MCP server that reacts as told. */
const remote = (
  react: (request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<number> => listen(createServer((request, response) => void react(request, response)))

/** A remote server that answers each request with these bytes; then it closes, or stays silent. */
function rawRemote(answer: string, then: 'closes' | 'waits' = 'closes'): Promise<number> {
  const sockets = new Set<Socket>()
  closing.push(() => sockets.forEach((socket) => socket.destroy()))
  return listen(
    createTcpServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.once('data', () =>
        then === 'closes' ? socket.end(answer, 'latin1') : socket.write(answer, 'latin1'),
      )
    }),
  )
}

interface Bridge {
  readonly url: string
  readonly port: number
  readonly log: () => string
}

async function start(
  to: number | string,
  changes: Partial<RemoteBridgeOptions> = {},
): Promise<Bridge> {
  let log = ''
  const sink = new Writable({
    write(chunk, _encoding, done) {
      log += String(chunk)
      done()
    },
  })
  const bridge = new RemoteBridge({
    url: new URL(typeof to === 'string' ? to : `http://127.0.0.1:${to}/mcp`),
    headers: [],
    answerTimeoutMs: 10_000,
    connectTimeoutMs: 2000,
    bodies: new Bodies(1024 * 1024),
    log: pino({ level: 'trace' }, sink),
    ...changes,
  })
  closing.push(() => bridge[Symbol.asyncDispose]())
  const port = await listen(createFront(bridge, { allowedHosts: new Set(['127.0.0.1']) }))
  return { url: `http://127.0.0.1:${port}/mcp`, port, log: () => log }
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  readonly whole: boolean
}

interface Sending {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | Buffer
}

/** Sends a request and reads the answer until it ends or breaks off. */
function send(url: string, { method = 'POST', headers = {}, body }: Sending = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => undefined)
      response.on('close', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          rawHeaders: response.rawHeaders,
          body: Buffer.concat(chunks),
          whole: response.complete,
        }),
      )
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** Opens a stream and reads it only on demand. */
function stream(url: string, sending: Sending = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      url,
      { method: sending.method ?? 'GET', headers: sending.headers ?? {}, agent: false },
      (response) => {
        response.on('error', () => undefined)
        closing.push(() => request.destroy())
        resolve(response)
      },
    )
    request.on('error', reject)
    request.end(sending.body)
  })
}

function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => resolve(Buffer.concat(chunks)))
  })
}

/** Answers with what came in. */
const mirror = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const body = await bodyOf(request)
  response.end(
    JSON.stringify({
      method: request.method,
      url: request.url,
      rawHeaders: request.rawHeaders,
      body: body.toString('base64'),
    }),
  )
}

interface Mirrored {
  readonly method: string
  readonly url: string
  readonly rawHeaders: string[]
  readonly body: string
}
const mirrored = ({ body }: Answer): Mirrored => JSON.parse(body.toString()) as Mirrored

/** Values of a header in a raw list. */
const values = (rawHeaders: readonly string[], name: string): string[] =>
  rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const call = '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"x"}}'
const messageOf = ({ body }: Answer): string =>
  (JSON.parse(body.toString()) as { error: { message: string } }).error.message

describe('bytes and headers', () => {
  test('bodies are the same bytes in both directions, whatever they are', async () => {
    const body = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7919) & 255))
    const { url } = await start(
      await remote(async (request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end(await bodyOf(request))
      }),
    )
    expect((await send(url, { headers: json, body })).body.equals(body)).toBe(true)
  })

  test('path and query are those of the configured address, the method the client’s', async () => {
    const port = await remote(mirror)
    const { url } = await start(`http://127.0.0.1:${port}/a/%2e%2e/b//mcp?tenant=%C3%A9&x=1#part`)
    for (const method of ['POST', 'GET', 'DELETE']) {
      expect(mirrored(await send(`${url}?session_id=1`, { method }))).toMatchObject({
        method,
        url: '/b//mcp?tenant=%C3%A9&x=1',
      })
    }
    expect(values(mirrored(await send(url)).rawHeaders, 'host')).toEqual([`127.0.0.1:${port}`])
  })

  test('session ids, versions, resumption and tracing pass as they are', async () => {
    const { url } = await start(await remote(mirror))
    const headers = {
      'Mcp-Session-Id': '!odd~id#{}',
      'MCP-Protocol-Version': '2025-11-25',
      'Mcp-Param-City': 'Zürich',
      'Last-Event-ID': 'e_1',
      Traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      ...json,
    }
    // Node writes headers as Latin-1 only when the body is no string.
    const { rawHeaders } = mirrored(await send(url, { headers, body: Buffer.from(call) }))
    for (const [name, value] of Object.entries(headers)) {
      expect(values(rawHeaders, name.toLowerCase())).toEqual([value])
      expect(rawHeaders).toContain(name)
    }
  })

  test('credentials, cookies and identity of the client end at the bridge', async () => {
    const { url } = await start(await remote(mirror))
    const kept = {
      authorization: 'Bearer client',
      cookie: 'a=b',
      'x-mcp-userid': 'alice',
      'x-dev-userid': 'alice',
      'x-forwarded-for': '10.0.0.1',
      origin: 'http://127.0.0.1',
      'proxy-authorization': 'Basic x',
      te: 'trailers',
      'keep-alive': 'timeout=1',
      expect: '100-continue',
    }
    const { rawHeaders } = mirrored(await send(url, { headers: { ...kept, ...json }, body: call }))
    for (const name of Object.keys(kept)) expect(values(rawHeaders, name)).toEqual([])
    expect(values(rawHeaders, 'content-length')).toEqual([String(call.length)])
  })

  test('status, session id and unknown headers of the remote server come back', async () => {
    const port = await remote((_request, response) => {
      response
        .writeHead(200, [
          'Mcp-Session-Id',
          'S_1',
          'X-Odd',
          'a',
          'x-odd',
          'b',
          'Retry-After',
          '7',
          'X-Latin',
          'caf\u00e9',
        ])
        .end(Buffer.from('{}'))
    })
    const { url } = await start(port)
    const { status, rawHeaders } = await send(url, { headers: json, body: call })
    expect(status).toBe(200)
    expect(values(rawHeaders, 'x-odd')).toEqual(['a', 'b'])
    expect(rawHeaders).toContain('Mcp-Session-Id')
    expect(values(rawHeaders, 'mcp-session-id')).toEqual(['S_1'])
    expect(values(rawHeaders, 'retry-after')).toEqual(['7'])
    expect(values(rawHeaders, 'x-latin')).toEqual(['caf\u00e9'])
  })

  test('cookies, hop-by-hop headers and words about the origin end at the bridge', async () => {
    const ended = {
      'keep-alive': 'timeout=99',
      'x-hop': '1',
      'proxy-authenticate': 'Basic',
      upgrade: 'h2c',
      'set-cookie': 'a=b',
      'www-authenticate': 'Bearer resource_metadata="https://elsewhere"',
      'access-control-allow-origin': '*',
      'alt-svc': 'h3=":443"',
      'strict-transport-security': 'max-age=1',
      'clear-site-data': '"*"',
    }
    const raw = Object.entries(ended).map(([name, value]) => `${name}: ${value}\r\n`)
    const { url } = await start(
      await rawRemote(
        'HTTP/1.1 200 OK\r\nconnection: X-Hop, close\r\nx-kept: 1\r\n' +
          `${raw.join('')}content-length: 2\r\n\r\nok`,
      ),
    )
    const { status, rawHeaders, body } = await send(url, { headers: json, body: call })
    expect([status, body.toString()]).toEqual([200, 'ok'])
    expect(values(rawHeaders, 'x-kept')).toEqual(['1'])
    for (const [name, value] of Object.entries(ended))
      expect(values(rawHeaders, name)).not.toContain(value)
  })

  test('errors of the remote server pass with status and body', async () => {
    const { url } = await start(
      await remote(
        (request, response) =>
          void response.writeHead(Number(request.headers['mcp-param-status'])).end('its own words'),
      ),
    )
    for (const status of [400, 403, 404, 405, 429, 500, 503]) {
      const answer = await send(url, {
        headers: { ...json, 'mcp-param-status': String(status) },
        body: call,
      })
      expect([answer.status, answer.body.toString()]).toEqual([status, 'its own words'])
    }
  })

  test('the bridge answers methods that MCP does not have', async () => {
    const { url } = await start(await remote(mirror))
    const { status, headers } = await send(url, { method: 'PUT', body: 'x' })
    expect([status, headers.allow]).toEqual([405, 'POST, GET, DELETE'])
  })

  test('a body beyond the limit is 413, and never reaches the remote server', async () => {
    let reached = 0
    const { url } = await start(
      await remote((_request, response) => {
        reached += 1
        response.end()
      }),
      { bodies: new Bodies(1000) },
    )
    expect(
      (
        await send(url, {
          headers: { ...json, 'content-length': '1001' },
          body: Buffer.alloc(1001),
        })
      ).status,
    ).toBe(413)
    expect(
      (
        await send(url, {
          headers: { ...json, 'transfer-encoding': 'chunked' },
          body: Buffer.alloc(1001),
        })
      ).status,
    ).toBe(413)
    expect((await send(url, { headers: json, body: Buffer.alloc(1000) })).status).toBe(200)
    expect(reached).toBe(1)
  })
})

describe('MCP_PROXY_HEADERS', () => {
  test('literal values are added, and outrank what the client sends by that name', async () => {
    const { url } = await start(await remote(mirror), {
      headers: [
        { name: 'Authorization', value: { text: 'Bearer ours' } },
        { name: 'accept', value: { text: 'application/json' } },
        { name: 'X-Latin', value: { text: 'caf\u00e9' } },
      ],
    })
    const { rawHeaders } = mirrored(
      await send(url, { headers: { ...json, authorization: 'Bearer client' }, body: call }),
    )
    expect(values(rawHeaders, 'authorization')).toEqual(['Bearer ours'])
    expect(values(rawHeaders, 'accept')).toEqual(['application/json'])
    expect(values(rawHeaders, 'x-latin')).toEqual(['caf\u00e9'])
  })

  describe('from files', () => {
    const folder = (): string => {
      const path = mkdtempSync(join(tmpdir(), 'mcpgw-remote-'))
      closing.push(() => rmSync(path, { recursive: true, force: true }))
      return path
    }
    const authorization = async (url: string): Promise<string[]> =>
      values(mirrored(await send(url, { headers: json, body: call })).rawHeaders, 'authorization')

    test('a rotated file counts from the next request on, however it is rotated', async () => {
      const file = join(folder(), 'token')
      writeFileSync(file, 'Bearer 0\n')
      const { url } = await start(await remote(mirror), {
        headers: [{ name: 'Authorization', value: { file } }],
      })
      expect(await authorization(url)).toEqual(['Bearer 0'])
      for (let turn = 1; turn <= 20; turn += 1) {
        writeFileSync(turn % 2 === 0 ? file : `${file}.new`, `Bearer ${turn}\n`)
        if (turn % 2 === 1) renameSync(`${file}.new`, file)
        expect(await authorization(url)).toEqual([`Bearer ${turn}`])
      }
    })

    test.each([
      ['is missing', undefined],
      ['holds a line break within', 'Bearer one\nBearer two'],
      ['holds what no header may', 'Bearer \u0001secret'],
    ])(
      'a file that %s is 502 with the request’s id, and works once mended',
      async (_what, content) => {
        const file = join(folder(), 'token')
        if (content !== undefined) writeFileSync(file, content)
        const { url, log } = await start(await remote(mirror), {
          headers: [{ name: 'Authorization', value: { file } }],
        })
        const answer = await send(url, { headers: json, body: call })
        expect(answer.status).toBe(502)
        expect(answer.body.toString()).toMatch(
          /"id":9007199254740993,.*credentials for the remote server cannot be read/,
        )
        expect(log()).toContain(file)
        expect(log() + answer.body.toString()).not.toMatch(/Bearer/)
        writeFileSync(file, 'Bearer mended')
        expect(await authorization(url)).toEqual(['Bearer mended'])
      },
    )
  })

  test('the log has no value and no query of the address, whatever fails', async () => {
    const headers = [{ name: 'Authorization', value: { text: 'Bearer hunter2' } }]
    const echo = 'HTTP/1.1 200 OK\r\nBad Header hunter2\r\n\r\n'
    const moved =
      'HTTP/1.1 308 Moved\r\nlocation: http://user:hunter2@there/mcp?key=hunter2\r\n\r\n'
    const ports = [
      await rawRemote(echo),
      await rawRemote(moved),
      await rawRemote('HTTP/1.1 401 No\r\nx: hunter2\r\n\r\n'),
      await freePort(),
    ]
    for (const port of ports) {
      const { url, log } = await start(`http://127.0.0.1:${port}/mcp?key=hunter2`, { headers })
      const answer = await send(url, { headers: json, body: call })
      expect(answer.status).toBe(502)
      expect(log()).toMatch(/"level":40/)
      expect(log() + answer.body.toString()).not.toContain('hunter2')
    }
  })
})

describe('streams', () => {
  test('events arrive one by one, while the stream is open', async () => {
    let push: (text: string) => void = () => undefined
    const { url } = await start(
      await remote((_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.flushHeaders()
        push = (text) => response.write(text)
      }),
    )
    const response = await stream(url, { headers: { accept: 'text/event-stream' } })
    expect([response.statusCode, response.headers['content-type']]).toEqual([
      200,
      'text/event-stream',
    ])
    let seen = ''
    response.setEncoding('utf8').on('data', (text: string) => (seen += text))
    for (const event of ['id: 1\r\ndata: a\r\n\r\n', ': comment\n\n', 'data: 🦊\n\n']) {
      seen = ''
      push(event)
      await expect.poll(() => seen).toBe(event)
    }
  })

  test('a hundred open streams leave room for calls', async () => {
    const { url } = await start(
      await remote((request, response) => {
        if (request.method === 'GET')
          response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
        else response.end('called')
      }),
    )
    await Promise.all(Array.from({ length: 100 }, () => stream(url)))
    expect((await send(url, { headers: json, body: call })).body.toString()).toBe('called')
  })

  test('a client that reads slowly makes the remote server wait', async () => {
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const total = 512
    let poured = 0
    const { url } = await start(
      await remote((_request, response) => {
        const pour = (): void => {
          while (poured < total) {
            poured += 1
            if (!response.write(chunk)) return void response.once('drain', pour)
          }
          response.end()
        }
        pour()
      }),
    )
    const response = await stream(url)
    // It stops far below the 32 MB of the whole, at the size of the socket buffers on the way.
    let before = -1
    await expect
      .poll(() => before === (before = poured), { interval: 300, timeout: 30_000 })
      .toBe(true)
    expect(poured).toBeLessThan(total / 2)
    let length = 0
    response.on('data', (part: Buffer) => (length += part.length))
    await expect.poll(() => length, { timeout: 30_000 }).toBe(total * chunk.length)
  })

  test.each(['before the headers', 'in the middle of the stream'])(
    'a client that leaves %s ends the request at the remote server',
    async (when) => {
      let open = 0
      let closed = 0
      const { port } = await start(
        await remote((_request, response) => {
          open += 1
          response.on('close', () => (closed += 1))
          if (when !== 'before the headers') response.writeHead(200).write('part')
        }),
      )
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      let seen = ''
      socket.setEncoding('latin1').on('data', (text: string) => (seen += text))
      socket.write(
        `POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ${call.length}\r\n\r\n${call}`,
      )
      await expect.poll(() => open).toBe(1)
      if (when !== 'before the headers') await expect.poll(() => seen).toContain('part')
      socket.destroy()
      await expect.poll(() => closed).toBe(1)
    },
  )

  test('a client that leaves in mid-body never reaches the remote server', async () => {
    let open = 0
    const { port, url } = await start(
      await remote((_request, response) => {
        open += 1
        response.end()
      }),
    )
    const socket = connect(port, '127.0.0.1')
    await new Promise<void>((resolve) =>
      socket.write('POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\nhalf', () =>
        resolve(),
      ),
    )
    socket.resetAndDestroy()
    expect((await send(url, { headers: json, body: call })).status).toBe(200)
    expect(open).toBe(1)
  })
})

describe('a remote server that fails', () => {
  test('an unreachable server is 502, with the id of the request as it was written', async () => {
    const { url } = await start(await freePort())
    const answer = await send(url, { headers: json, body: call })
    expect([answer.status, answer.headers['content-type']]).toEqual([502, 'application/json'])
    expect(answer.body.toString()).toContain('"id":9007199254740993')
    expect(messageOf(answer)).toBe('The remote server could not be reached (ECONNREFUSED).')
    for (const method of ['GET', 'DELETE']) expect((await send(url, { method })).status).toBe(502)
  })

  test('a name that does not resolve is 502, and the error says so', async () => {
    const { url } = await start('http://no-such-host.invalid/mcp')
    const answer = await send(url, { headers: json, body: call })
    expect(answer.status).toBe(502)
    expect(messageOf(answer)).toMatch(/could not be reached \((ENOTFOUND|EAI_AGAIN)\)/)
  })

  test.each([
    '',
    '{',
    '{"id":',
    '{"jsonrpc":"2.0","id":1,"method":"\\q"}',
    '{"id":{"a":1}x',
    '[1]',
    '\u0000',
    '{"id":5,"result":{}}',
    '{"method":"n"}',
  ])(
    'the body %j, which is no request, is answered with the id null while it is down',
    async (body) => {
      const { url } = await start(await freePort())
      const answer = await send(url, { headers: json, body })
      expect(answer.status).toBe(502)
      expect(JSON.parse(answer.body.toString())).toMatchObject({
        id: null,
        error: { code: -32603 },
      })
    },
  )

  test('a server that is too slow to begin is 504, and is told to stop', async () => {
    let closed = 0
    const { url } = await start(
      await remote((_request, response) => void response.on('close', () => (closed += 1))),
      {
        answerTimeoutMs: 300,
      },
    )
    const answer = await send(url, { headers: json, body: call })
    expect(answer.status).toBe(504)
    expect(messageOf(answer)).toBe('The remote server did not answer in time.')
    await expect.poll(() => closed).toBe(1)
  })

  test('a slow body after fast headers is not cut off', async () => {
    const { url } = await start(
      await remote((_request, response) => {
        response.writeHead(200).write('a')
        setTimeout(() => response.end('b'), 3000)
      }),
      { answerTimeoutMs: 2000 },
    )
    expect((await send(url, { headers: json, body: call })).body.toString()).toBe('ab')
  })

  test('a server that closes without an answer is 502, and the error says so', async () => {
    const { url } = await start(await rawRemote(''))
    const answer = await send(url, { headers: json, body: call })
    expect(answer.status).toBe(502)
    expect(messageOf(answer)).toMatch(/broke off/)
  })

  test.each([
    ['garbage', 'SSH-2.0-OpenSSH_9.9\r\n'],
    ['a header without a colon', 'HTTP/1.1 200 OK\r\nno colon here\r\n\r\n'],
    [
      'two lengths that differ',
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk',
    ],
    ['headers of a megabyte', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(1024 * 1024)}\r\n\r\n`],
    [
      'a switch to another protocol',
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    ],
    ['a status that does not exist', 'HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n'],
  ])('a server that answers %s is 502, and the bridge lives on', async (_what, bytes) => {
    const { url } = await start(await rawRemote(bytes))
    for (let turn = 0; turn < 2; turn += 1)
      expect((await send(url, { headers: json, body: call })).status).toBe(502)
  })

  test.each([
    ['a body shorter than announced', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\npart', 'part'],
    [
      'chunks without an end',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n',
      'part',
    ],
    [
      'a chunk that is none',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n',
      'part',
    ],
  ])(
    'a client sees that an answer that breaks off (%s) is not whole',
    async (_what, bytes, part) => {
      const { url } = await start(await rawRemote(bytes))
      const answer = await send(url, { headers: json, body: call })
      expect([answer.status, answer.whole]).toEqual([200, false])
      expect(part.startsWith(answer.body.toString())).toBe(true)
    },
  )

  test('a client of HTTP/1.0, which has no chunks, sees a broken answer by a reset', async () => {
    let breakOff: (() => void) | undefined
    const { port } = await start(
      await remote((_request, response) => {
        response.write('part')
        breakOff = () => response.socket?.end()
      }),
    )
    const socket = connect(port, '127.0.0.1')
    const end = new Promise<string>((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
      socket.on('end', () => resolve('orderly'))
    })
    // If a reset comes together with bytes, libuv (and so this client) reports an orderly end.
    socket.on('data', (part) => void (part.toString().endsWith('part') && breakOff?.()))
    socket.write('GET /mcp HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n')
    expect(await end).toBe('ECONNRESET')
  })

  test('a server that is killed during calls and comes back is served again', async () => {
    const first = createServer((request, response) =>
      request.method === 'GET' ? response.writeHead(200).write('open') : undefined,
    )
    const port = await freePort()
    await new Promise<void>((resolve) => first.listen(port, '127.0.0.1', resolve))
    const { url } = await start(port)
    const open = await stream(url)
    open.resume()
    const broken = new Promise((resolve) => open.once('close', () => resolve(open.complete)))
    const arrived = new Promise((resolve) => first.once('request', resolve))
    const calls = Array.from({ length: 5 }, () => send(url, { headers: json, body: call }))
    await arrived
    await shut(first)
    for (const answer of await Promise.all(calls)) expect(answer.status).toBe(502)
    expect(await broken).toBe(false)
    expect((await send(url, { headers: json, body: call })).status).toBe(502)
    await listen(
      createServer((_request, response) => void response.end('back')),
      port,
    )
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => send(url, { headers: json, body: call })),
    )
    expect(answers.map(({ status, body }) => `${status} ${body.toString()}`)).toEqual(
      Array.from({ length: 5 }, () => '200 back'),
    )
  })

  test.each([307, 308])('a redirect (%i) to another path is followed', async (status) => {
    const seen: (string | undefined)[] = []
    const { url } = await start(
      await remote((request, response) => {
        seen.push(request.url, request.headers.authorization, request.headers['accept-encoding'])
        if (request.url === '/mcp/') return void request.pipe(response)
        response.writeHead(status, { location: '/mcp/' }).end('moved')
      }),
      { headers: [{ name: 'Authorization', value: { text: 'Bearer ours' } }] },
    )
    const answer = await send(url, { headers: json, body: call })
    expect([answer.status, answer.body.toString()]).toEqual([200, call])
    expect(seen).toEqual(['/mcp', 'Bearer ours', 'identity', '/mcp/', 'Bearer ours', 'identity'])
  })

  test('a client learns that a server redirects without end', async () => {
    let asked = 0
    const { url } = await start(
      await remote((_request, response) => {
        asked += 1
        response.writeHead(307, { location: `/${asked}` }).end()
      }),
    )
    expect((await send(url, { headers: json, body: call })).status).toBe(502)
    expect(asked).toBe(6)
  })

  test.each([301, 302, 303, 307, 308])(
    'a redirect (%i) elsewhere is not followed, and the error says what to do',
    async (status) => {
      let followed = 0
      const elsewhere = await remote((_request, response) => {
        followed += 1
        response.end('elsewhere')
      })
      const { url, log } = await start(
        await remote(
          (_request, response) =>
            void response
              .writeHead(status, { location: `http://127.0.0.1:${elsewhere}/mcp/` })
              .end('moved'),
        ),
        { headers: [{ name: 'Authorization', value: { text: 'Bearer ours' } }] },
      )
      const answer = await send(url, { headers: json, body: call })
      expect([answer.status, answer.headers.location, followed]).toEqual([502, undefined, 0])
      expect(answer.body.toString()).toContain('"id":9007199254740993')
      expect(messageOf(answer)).toContain(
        `redirects (${status}) to another address, which is not followed: MCP_PROXY_URL ` +
          'must be its final address',
      )
      expect(log()).toContain(`http://127.0.0.1:${elsewhere}/mcp/`)
    },
  )

  test('a challenge of the server is the bridge’s mistake, and reaches no client', async () => {
    const challenge = {
      'www-authenticate':
        'Bearer resource_metadata="https://elsewhere/.well-known/oauth-protected-resource"',
    }
    const { url } = await start(
      await remote(
        (_request, response) => void response.writeHead(401, challenge).end('who are you'),
      ),
    )
    const answer = await send(url, { headers: json, body: call })
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([502, undefined])
    expect(answer.body.toString()).toContain('"id":9007199254740993')
    expect(messageOf(answer)).toBe(
      'The remote server refuses the credentials of the bridge (401, MCP_PROXY_HEADERS).',
    )
  })
})

describe('https', () => {
  test('a certificate that nobody vouches for is refused before anything is sent', async () => {
    let requests = 0
    const port = await listen(createHttpsServer(selfSigned, () => (requests += 1)))
    const { url } = await start(`https://localhost:${port}/mcp`)
    const answer = await send(url, { headers: json, body: call })
    expect(answer.status).toBe(502)
    expect(messageOf(answer)).toBe(
      'The remote server could not be reached (DEPTH_ZERO_SELF_SIGNED_CERT).',
    )
    expect(requests).toBe(0)
  })

  test('a server that speaks plain HTTP there is 502', async () => {
    const { url } = await start(`https://localhost:${await remote(mirror)}/mcp`)
    const answer = await send(url, { headers: json, body: call })
    expect(answer.status).toBe(502)
    expect(messageOf(answer)).toMatch(/could not be reached \(\w+\)/)
  })
})
