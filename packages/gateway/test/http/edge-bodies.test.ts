import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { skipNote } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

interface Noted {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const program = fileURLToPath(new URL('../fixtures/bodyless-server.py', import.meta.url))
const hasPython = spawnSync('python3', ['--version']).status === 0

let gateway: TestGateway
let python: ChildProcess
let adapter: string
/** Every request that the server has read. */
const noted: Noted[] = []

beforeAll(async () => {
  gateway = await TestGateway.open()
  if (!hasPython) return
  python = spawn('python3', [program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: python.stdout as NodeJS.ReadableStream })
  const [port] = (await once(lines, 'line')) as [string]
  lines.on('line', (line) => noted.push(JSON.parse(line) as Noted))
  adapter = `python-${process.pid}`
  const registered = await gateway.send('/adapters', {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: adapter, endpoint: `http://127.0.0.1:${port}/mcp` }),
  })
  expect(registered.status).toBe(201)
})
afterAll(async () => {
  python?.stdin?.end()
  await gateway[Symbol.asyncDispose]()
})
beforeEach(() => void noted.splice(0))

const smuggled = (path: string): string =>
  [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    'X-Mcp-UserId: admin',
    'X-Mcp-Roles: mcp.admin',
    'Content-Type: application/json',
    'Content-Length: 2',
    '',
    '{}',
  ].join('\r\n')

const chunked = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`

const framings: readonly (readonly [string, (body: string) => string])[] = [
  ['by a length', (body) => `content-length: ${body.length}\r\n\r\n${body}`],
  ['in chunks', (body) => `transfer-encoding: chunked\r\n\r\n${chunked(body)}`],
  [
    'after Expect',
    (body) => `expect: 100-continue\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  ],
]
const methods = ['GET', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE']

const note = skipNote(hasPython ? undefined : 'needs python3')

describe.skipIf(!hasPython)(`a server that reads no body of a GET${note}`, () => {
  test.each(
    methods.flatMap((method) => framings.map(([how, frame]) => [method, how, frame] as const)),
  )(
    'the gateway answers 400 to a body of %s that comes %s, and closes the connection',
    async (method, _how, frame) => {
      using raw = gateway.connect()
      const path = `/adapters/${adapter}/mcp`
      const next = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}`
      const body = smuggled('/mcp')
      await raw.exchange(`${method} ${path} HTTP/1.1\r\nhost: localhost\r\n${frame(body)}${next}`)
      expect(raw.text).toMatch(/^HTTP\/1\.1 400 /)
      expect(raw.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
      expect(raw.text).toMatch(/\r\nconnection: close\r\n/i)
      if (method !== 'HEAD') expect(raw.text).toContain('"code":"invalid_request"')
      expect(raw.closed).toBe(true)
      // A whole request shows that nothing waits on a connection to the server.
      expect((await gateway.mcp(adapter, '', { method: 'GET' })).status).toBe(200)
      expect(noted.map((request) => request.method)).toEqual(['GET'])
    },
  )

  test('a server gets no framing with a GET that has an empty body', async () => {
    for (const method of ['GET', 'DELETE']) {
      const answer = await gateway.mcp(adapter, '', { method, headers: { 'content-length': '0' } })
      expect(answer.status).toBe(200)
    }
    expect(noted.map((request) => request.method)).toEqual(['GET', 'DELETE'])
    for (const { headers } of noted) {
      expect(headers).not.toHaveProperty('content-length')
      expect(headers).not.toHaveProperty('transfer-encoding')
    }
  })

  test('a server gets a chunked body by its length, without extensions and trailers', async () => {
    using raw = gateway.connect()
    await raw.exchange(
      `POST /adapters/${adapter}/mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n` +
        'trailer: x-mcp-userid\r\ntransfer-encoding: chunked\r\n\r\n' +
        '2;a=b;c\r\n{}\r\n0\r\nx-mcp-userid: admin\r\n\r\n',
    )
    expect(raw.text).toMatch(/^HTTP\/1\.1 200 /)
    expect(noted).toMatchObject([{ method: 'POST', body: '{}' }])
    expect(noted[0]?.headers).toMatchObject({ 'content-length': '2' })
    expect(noted[0]?.headers['x-mcp-userid']).not.toBe('admin')
  })
})

describe('a body of a method that has none', () => {
  test.each(
    [
      '/adapters',
      '/adapters/nothing',
      '/mcp',
      '/healthz',
      '/docs',
      'http://localhost/mcp',
      '/tools',
    ].flatMap((path) => methods.map((method) => [method, path] as const)),
  )(
    'a body of a method that has none is 400 before the plane sees it: %s %s',
    async (method, path) => {
      using raw = gateway.connect()
      await raw.exchange(
        `${method} ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}` +
          'GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n',
      )
      expect(raw.text).toMatch(/^HTTP\/1\.1 400 /)
      expect(raw.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
      expect(raw.closed).toBe(true)
    },
  )

  test('a body of a preflight of another site is 400 too', async () => {
    await using open = await TestGateway.open({ edge: { allowedOrigins: ['https://app.example'] } })
    using raw = open.connect()
    await raw.exchange(
      'OPTIONS /adapters HTTP/1.1\r\nhost: localhost\r\norigin: https://app.example\r\n' +
        'access-control-request-method: POST\r\ncontent-length: 2\r\n\r\n{}',
    )
    expect(raw.text).toMatch(/^HTTP\/1\.1 400 /)
  })

  test('the refusal says what is wrong and what to do', async () => {
    const { status, body } = await gateway.send('/adapters/x', {
      method: 'DELETE',
      headers: { 'content-length': '2' },
      body: '{}',
    })
    expect(status).toBe(400)
    expect(JSON.parse(body.toString())).toMatchObject({
      code: 'invalid_request',
      detail: 'A DELETE request has no body, but this one has. Send it without a body.',
    })
  })
})

describe('a request after one that ends its connection', () => {
  const create = (name: string): string => {
    const body = JSON.stringify({ name, imageName: 'scripted', imageVersion: '1' })
    return (
      'POST /adapters HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' +
      `content-length: ${body.length}\r\n\r\n${body}`
    )
  }
  test.each([
    ['was refused', 'GET /adapters HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}'],
    [
      'says Connection: close',
      'GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
    ],
    ['is HTTP/1.0', 'GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n'],
    ['is an HTTP/1.0 body without a length', 'POST /mcp HTTP/1.0\r\nhost: localhost\r\n\r\n'],
    [
      'has a Host that is refused and an expectation',
      'POST /mcp HTTP/1.1\r\nhost: evil.example\r\nexpect: 100-continue\r\n' +
        'content-length: 2\r\n\r\n{}',
    ],
  ])('a request does not run after one that %s', async (_what, first) => {
    using raw = gateway.connect()
    const name = `late-${Math.random().toString(36).slice(2)}`
    await raw.exchange(first + create(name))
    expect(raw.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(raw.closed).toBe(true)
    expect((await gateway.send(`/adapters/${name}`, { method: 'GET' })).status).toBe(404)
  })

  test('a request does not run after chunks in HTTP/1.0', async () => {
    using raw = gateway.connect()
    const name = `late-${Math.random().toString(36).slice(2)}`
    await raw.exchange(
      'POST /mcp HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n' +
        `transfer-encoding: chunked\r\n\r\n${chunked('{}')}${create(name)}`,
    )
    expect(raw.text).toMatch(/^HTTP\/1\.1 400 /)
    expect(raw.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect((await gateway.send(`/adapters/${name}`, { method: 'GET' })).status).toBe(404)
  })
})
