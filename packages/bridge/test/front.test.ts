import type { Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { createFront, type Handler } from '../src/front.ts'

const handler: Handler = {
  handle: (request, response) => void response.end(`handled ${request.url}`),
  [Symbol.asyncDispose]: async () => undefined,
}

const open: Server[] = []
afterEach(async () => {
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

async function start(allowedHosts: ReadonlySet<string> | undefined): Promise<number> {
  const server = createFront(handler, { allowedHosts })
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Sends these bytes and reads until the other side closes. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'))
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text))
    socket.on('error', reject)
    socket.on('end', () => resolve(answer))
  })
}

const get = (
  port: number,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<string> => {
  const lines = Object.entries({ ...headers, connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  return exchange(port, `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
}
const statusOf = (answer: string): number => Number(answer.split(' ')[1])

const names = new Set(['localhost', '127.0.0.1', '[::1]', 'bridge.example'])

describe('the front of the bridge', () => {
  test.each([
    'localhost',
    'LOCALHOST:8000',
    '127.0.0.1',
    '127.0.0.1:1',
    '[::1]',
    '[::1]:8000',
    'bridge.example:443',
  ])('the host %s is served', async (host) => {
    const port = await start(names)
    expect(await get(port, '/mcp?x=1', { host })).toMatch(/^HTTP\/1\.1 200 [^]*handled \/mcp\?x=1$/)
    expect(statusOf(await get(port, '/mcp', { host, origin: `http://${host}` }))).toBe(200)
    expect(statusOf(await get(port, '/mcp', { host, origin: `https://${host}` }))).toBe(200)
  })

  test.each([
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example:80',
    'localhost.',
    '127.0.0.1:80@evil.example',
    'localhost:80:80',
    'localhost:x',
    '[::1]evil.example',
    '[::1',
    '::1',
    '',
    'null',
  ])('the host %j, and an origin that names it, are 403', async (host) => {
    const port = await start(names)
    for (const path of ['/mcp', '/healthz', '/']) {
      expect(statusOf(await get(port, path, { host }))).toBe(403)
      expect(
        statusOf(
          await get(port, path, {
            host: 'localhost',
            origin: host === 'null' ? host : `http://${host}`,
          }),
        ),
      ).toBe(403)
    }
  })

  test.each(['/mcp', '/mcp/', '/mcp/?x=1'])('the path %s is served', async (path) => {
    expect(await get(await start(names), path, { host: 'localhost' })).toContain(`handled ${path}`)
  })

  test('a request without a host is refused', async () => {
    const port = await start(names)
    expect(statusOf(await exchange(port, 'GET /mcp HTTP/1.0\r\n\r\n'))).toBe(403)
    expect(statusOf(await exchange(port, 'GET /mcp HTTP/1.1\r\nconnection: close\r\n\r\n'))).toBe(
      400,
    )
  })

  test('any host is served where none is named', async () => {
    expect(
      statusOf(
        await get(await start(undefined), '/mcp', { host: 'anything', origin: 'http://elsewhere' }),
      ),
    ).toBe(200)
  })

  test.each([
    '/',
    '/mcp//',
    '/mcp2',
    '//mcp',
    '/MCP',
    '/a/../mcp',
    '/mcp%3f',
    '*',
    'http://localhost/mcp',
  ])('the path %s is 404', async (path) => {
    const answer = await get(await start(names), path, { host: 'localhost' })
    expect(statusOf(answer)).toBe(404)
    expect(answer).toMatch(/"error":\{"code":-32601/)
  })

  test('the health check answers probes', async () => {
    expect(await get(await start(names), '/healthz', { host: '127.0.0.1' })).toMatch(
      /^HTTP\/1\.1 200 [^]*\{"status":"ok"\}$/,
    )
  })

  test.each([
    ['what is no HTTP', 'HELLO\r\n\r\n', 400],
    ['a header without a colon', 'GET /mcp HTTP/1.1\r\nhost: localhost\r\nbad\r\n\r\n', 400],
    [
      'a length that is none',
      'POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n',
      400,
    ],
    [
      'two lengths',
      'POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab',
      400,
    ],
    [
      'a length beside chunks',
      'POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n' +
        'transfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    // A longer header would leave unread bytes. Closing then resets the connection before the
    // client has read the answer.
    [
      'headers of 30 kB',
      `GET /mcp HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(30_000)}\r\n\r\n`,
      431,
    ],
  ])('a request with %s is refused, and the connection closed', async (_what, bytes, status) => {
    expect(statusOf(await exchange(await start(names), bytes))).toBe(status)
  })

  test('an idle connection gives its place to a new one, and a slow request is cut', async () => {
    const server = createFront(handler, { allowedHosts: undefined, mostConnections: 2 })
    open.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const idle = connect(port, '127.0.0.1')
    const closed = new Promise((resolve) => idle.on('close', resolve))
    const answered = new Promise((resolve) => idle.once('data', resolve))
    idle.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n')
    await answered

    expect(statusOf(await get(port, '/healthz', { host: 'a' }))).toBe(200)
    await closed
    const slow = connect(port, '127.0.0.1', () => slow.write('GET /healthz HT'))
    await new Promise((resolve) => server.once('connection', resolve))
    expect(statusOf(await get(port, '/healthz', { host: 'a' }))).toBe(503)
    slow.destroy()
    expect(server.headersTimeout).toBe(15_000)
  })
})

test('a client that takes nothing of an answer of the bridge loses its connection', async () => {
  const large: Handler = {
    handle: (_request, response) => void response.end(Buffer.alloc(32 * 1024 * 1024)),
    [Symbol.asyncDispose]: async () => undefined,
  }
  const server = createFront(large, { allowedHosts: undefined, unreadTimeoutMs: 300 })
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const closed = new Promise<void>((resolve) =>
    server.on('connection', (socket) => socket.once('close', () => resolve())),
  )
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  client.on('error', () => undefined)
  client.write('GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n')

  await closed
  client.destroy()
})
