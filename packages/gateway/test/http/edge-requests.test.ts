import { once } from 'node:events'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway, type Exchange } from '../fixtures/gateway.ts'

let gateway: TestGateway
let adapter: string
const bodyLimitBytes = 200_000
beforeAll(async () => {
  gateway = await TestGateway.open({
    edge: { bodyLimitBytes, allowedOrigins: ['https://app.example'] },
  })
  adapter = await gateway.register()
})
afterAll(() => gateway[Symbol.asyncDispose]())

let tags = 0
const newTag = (): string => `e${(tags += 1)}`
const head = (tag: string, more = '', method = 'POST', name = adapter): string =>
  `${method} /adapters/${name}/mcp?do=echo&tag=${tag} HTTP/1.1\r\nhost: localhost\r\n${more}`
const exchange = async (
  text: string,
  waitMs?: number,
  on = gateway,
): Promise<{ text: string; closed: boolean }> => {
  using raw = on.connect()
  await raw.exchange(text, waitMs)
  return { text: raw.text, closed: raw.closed }
}

describe('request smuggling', () => {
  const second = 'GET /adapters HTTP/1.1\r\nhost: localhost\r\n\r\n'
  test.each([
    ['a length and chunks', `content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['chunks and a length', `transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n`],
    ['two lengths', 'content-length: 5\r\ncontent-length: 6\r\n\r\n12345'],
    ['two equal lengths', 'content-length: 5\r\ncontent-length: 5\r\n\r\n12345'],
    ['a list of lengths', 'content-length: 5, 5\r\n\r\n12345'],
    ['a signed length', 'content-length: +5\r\n\r\n12345'],
    ['a hexadecimal length', 'content-length: 0x5\r\n\r\n12345'],
    ['a length beyond all numbers', `content-length: ${'9'.repeat(30)}\r\n\r\n`],
    ['a folded header', 'x-a: b\r\n c: d\r\ncontent-length: 0\r\n\r\n'],
    ['a folded transfer-encoding', 'transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n'],
    ['a space before a colon', 'content-length : 5\r\n\r\n12345'],
    [
      'a chunk size that is no number',
      'transfer-encoding: chunked\r\n\r\nzz\r\n12345\r\n0\r\n\r\n',
    ],
    ['a negative chunk size', 'transfer-encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n'],
    [
      'a chunk size beyond all numbers',
      'transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n12345\r\n0\r\n\r\n',
    ],
    ['a chunk longer than its size', 'transfer-encoding: chunked\r\n\r\n3\r\n12345\r\n0\r\n\r\n'],
    [
      'a chunk that ends in a bare line feed',
      'transfer-encoding: chunked\r\n\r\n5\n12345\r\n0\r\n\r\n',
    ],
    ['chunked twice', 'transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n'],
    ['chunked that is not last', 'transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['an unknown transfer-encoding', 'transfer-encoding: xchunked\r\n\r\n0\r\n\r\n'],
    [
      'a transfer-encoding with a vertical tab',
      'transfer-encoding: \u000bchunked\r\n\r\n0\r\n\r\n',
    ],
    ['a NUL in a header', 'x-a: a\0b\r\ncontent-length: 0\r\n\r\n'],
    ['a bare carriage return', 'x-a: a\rcontent-length: 5\r\ncontent-length: 0\r\n\r\n'],
    ['bare line feeds', 'x-a: b\ncontent-length: 0\n\n'],
  ])(
    'request smuggling by %s is 400, closes the connection, and runs neither request',
    async (_what, rest) => {
      const tag = newTag()
      const { text, closed } = await exchange(head(tag, rest) + second)
      expect(text).toMatch(/^HTTP\/1\.1 400 /)
      expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
      expect(text).toMatch(/"code":"invalid_request"/)
      expect(closed).toBe(true)
      expect(gateway.events(tag)).toEqual([])
    },
  )

  test('HTTP/1.0 with chunks, HTTP/2 prefaces and CONNECT smuggle nothing', async () => {
    for (const text of [
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n',
      `POST /adapters/${adapter}/mcp HTTP/9.9\r\nhost: localhost\r\n\r\n`,
    ]) {
      const outcome = await exchange(text)
      expect(outcome.text === '' || /^HTTP\/1\.1 4\d\d /.test(outcome.text)).toBe(true)
      expect(outcome.closed).toBe(true)
    }
  })

  test('pipelined requests get their answers in order', async () => {
    const { text } = await exchange(
      [
        head('p1', 'content-length: 7\r\n\r\n'),
        '{"n":1}',
        head('p2', 'transfer-encoding: chunked\r\n\r\n7\r\n{"n":2}\r\n0\r\n\r\n'),
        head('p3', 'content-length: 7\r\nconnection: close\r\n\r\n'),
        '{"n":3}',
      ].join(''),
    )
    expect(text.match(/\{"n":\d\}/g)).toEqual(['{"n":1}', '{"n":2}', '{"n":3}'])
  })
})

describe('bytes that are no request', () => {
  test('bytes that are no request get one answer a line at most', async () => {
    const pieces = fc.constantFrom(
      `POST /adapters/${adapter}/mcp HTTP/1.1`,
      'GET /ping HTTP/1.1',
      '\r\n',
      '\r\n\r\n',
      'host: localhost',
      'content-length: 3',
      'transfer-encoding: chunked',
      'expect: 100-continue',
      'connection: upgrade',
      'upgrade: websocket',
      '3\r\nabc\r\n',
      '0\r\n\r\n',
      ' ',
      '\0',
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof({ weight: 4, arbitrary: pieces }, fc.string({ unit: 'binary', maxLength: 20 })),
        ),
        async (parts) => {
          const { text } = await exchange(parts.join(''), 30)
          expect(text === '' || /^HTTP\/1\.1 [1-5]\d\d /.test(text)).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
    expect((await gateway.mcp(adapter, 'do=echo', { body: '{}' })).status).toBe(200)
  })

  test('a request for an upgrade gets an ordinary answer', async () => {
    const tag = newTag()
    using raw = gateway.connect()
    raw.socket.write(
      head(tag, 'connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}'),
    )
    await expect.poll(() => raw.text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\{\}$/)
    expect(gateway.received(tag).rawHeaders.map((word) => word.toLowerCase())).not.toContain(
      'upgrade',
    )
  })

  test('bytes in mid-answer end the answer, and the gateway mixes nothing into it', async () => {
    using raw = gateway.connect()
    raw.socket.write(
      `POST /adapters/${adapter}/mcp?do=stream&tag=mixed HTTP/1.1\r\nhost: localhost\r\n` +
        'content-length: 2\r\n\r\n{}',
    )
    await expect.poll(() => raw.text).toContain('data: first')
    raw.socket.write('\u0016\u0003\u0001 what is this\r\n\r\n')
    await expect.poll(() => raw.closed).toBe(true)
    expect(raw.text.match(/HTTP\/1\.1/g)).toHaveLength(1)
    await expect
      .poll(() => gateway.events('mixed').some(({ closed }) => closed === 'cut'))
      .toBe(true)
  })
})

describe('paths', () => {
  const unreached = [
    '/adapters/%2e%2e/mcp',
    '/adapters/{}%2f..%2fx/mcp',
    '/adapters//{}/mcp',
    '//adapters/{}/mcp',
    '/adapters/{}//mcp',
    '/adapters/{}/mcp//',
    '/adapters/{}/mcp/x',
    '/adapters/{}/mcp%2f',
    '/adapters/{}%2fmcp',
    '/adapters/x/../{}/mcp',
    '/adapters/./{}/mcp',
    '/adapters/{}%00/mcp',
    '/adapters/{}/%6dcp',
    '/Adapters/{}/mcp',
    '/adapters/{}/mcp;x',
    '/adapters/{}/mcp%3fdo=echo',
    'http://localhost/adapters/{}//mcp',
    '*',
    `/adapters/${'a'.repeat(10_000)}/mcp`,
    '/adapters/__proto__/mcp',
    '/adapters/constructor/mcp',
  ]
  test.each(unreached.map((path) => [path.slice(0, 40), path] as const))(
    'the path %s reaches no server',
    async (_start, path) => {
      const { text } = await exchange(
        `POST ${path.replace('{}', adapter)} HTTP/1.1\r\nhost: localhost\r\n` +
          'content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}',
      )
      expect(text).toMatch(/^HTTP\/1\.1 (404|405) /)
      expect(text).toMatch(/"code":"(not_found|method_not_allowed)"/)
    },
  )

  test.each(['/adapters/{}/mcp/', '/adapters/{}/mcp/?do=echo'])(
    'the path %s is the same address with a slash, and reaches the server',
    async (path) => {
      const { text } = await exchange(
        `POST ${path.replace('{}', adapter)} HTTP/1.1\r\nhost: localhost\r\n` +
          'content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}',
      )
      expect(text).toMatch(/^HTTP\/1\.1 200 /)
    },
  )

  test('the tool router serves its address with a slash too', async () => {
    const initialize = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 't', version: '1' },
      },
    })
    const { text } = await exchange(
      'POST /mcp/ HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n' +
        `content-length: ${initialize.length}\r\nconnection: close\r\n\r\n${initialize}`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
  })

  test.each(['/adapters/a\0b/mcp', '/adapters/a b/mcp', '/adapters/a\tb/mcp'])(
    'the path %j is 400',
    async (path) => {
      const { text, closed } = await exchange(`POST ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
      expect(text).toMatch(/^HTTP\/1\.1 400 /)
      expect(closed).toBe(true)
    },
  )

  test('unknown adapters and forbidden ones look the same', async () => {
    const stranger = { 'x-dev-userid': 'eve', 'x-dev-roles': 'nobody' }
    const hidden = await gateway.mcp(adapter, '', { headers: stranger })
    const unknown = await gateway.mcp('nothing', '', { headers: stranger })
    expect(hidden.status).toBe(404)
    const text = ({ body, headers }: typeof hidden): string =>
      body.toString().replace(headers['x-request-id'] as string, '')
    expect(text(hidden)).toBe(text(unknown))
  })
})

describe('methods', () => {
  test.each(['HEAD', 'OPTIONS', 'PUT', 'PATCH', 'TRACE', 'PROPFIND'])(
    'the method %s is 405 with Allow',
    async (method) => {
      const tag = newTag()
      const { text } = await exchange(head(tag, 'connection: close\r\n\r\n', method))
      expect(text).toMatch(/^HTTP\/1\.1 405 /)
      expect(text).toMatch(/\r\nallow: POST, GET, DELETE\r\n/i)
      expect(text.endsWith('\r\n\r\n')).toBe(method === 'HEAD')
      expect(gateway.events(tag)).toEqual([])
    },
  )
})

describe('bodies beyond the limit', () => {
  test.each([
    ['by their length', {}],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])(
    'a body beyond the limit is 413 for a client that sends all before it reads: %s',
    async (_what, headers) => {
      const body = Buffer.alloc(bodyLimitBytes * 20, 'x')
      for (const path of [`/adapters/${adapter}/mcp?tag=big`, '/adapters'])
        for (let round = 0; round < 5; round += 1) {
          const answer = await gateway.send(path, {
            headers: { ...headers, 'content-type': 'application/json' },
            body,
          })
          expect(answer.status).toBe(413)
          expect(answer.body.toString()).toContain('"code":"body_too_large"')
        }
      expect(gateway.events('big')).toEqual([])
    },
  )

  test('a body beyond the limit is 413 for a client that writes all before it reads', async () => {
    const size = bodyLimitBytes * 40
    const chunked = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n0\r\n\r\n`
    for (const path of [`/adapters/${adapter}/mcp?tag=big`, '/adapters'])
      for (const rest of [
        `content-length: ${size}\r\n\r\n${'x'.repeat(size)}`,
        `transfer-encoding: chunked\r\n\r\n${chunked}`,
      ]) {
        using raw = gateway.connect()
        raw.socket.pause()
        const written = new Promise<unknown>((resolve) =>
          raw.socket.write(
            `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${rest}`,
            resolve,
          ),
        )
        expect(await written).toBeFalsy()
        raw.socket.resume()
        await expect.poll(() => raw.text).toMatch(/^HTTP\/1\.1 413 [\s\S]*"code":"body_too_large"/)
      }
  })

  test.each([
    ['by their length', {}],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])(
    'a body of exactly the limit passes, and one byte more does not: %s',
    async (_what, headers) => {
      const [fits, more] = [newTag(), newTag()]
      const send = (tag: string, length: number): Promise<Exchange> =>
        gateway.mcp(adapter, `tag=${tag}`, { headers, body: Buffer.alloc(length, '1') })

      expect((await send(fits, bodyLimitBytes)).body.length).toBe(bodyLimitBytes)
      expect((await send(more, bodyLimitBytes + 1)).status).toBe(413)
      expect(gateway.events(more)).toEqual([])
    },
  )

  test('a client that sends the rest of its body keeps its connection', async () => {
    const size = bodyLimitBytes + 1
    const { text } = await exchange(
      [
        head(newTag(), `content-length: ${size}\r\n\r\n`),
        'x'.repeat(size),
        head(newTag(), 'content-length: 2\r\nconnection: close\r\n\r\n'),
        '{}',
      ].join(''),
    )
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 413', 'HTTP/1.1 200'])
  })

  test('an endless body is cut off', async () => {
    using raw = gateway.connect()
    raw.socket.write(head(newTag(), 'transfer-encoding: chunked\r\n\r\n'))
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    let sent = 0
    const closed = new Promise((resolve) => raw.socket.once('close', resolve))
    while (!raw.closed && sent < 200 * 1024 * 1024) {
      sent += chunk.length
      if (!raw.socket.write(chunk))
        await Promise.race([once(raw.socket, 'drain').catch(() => undefined), closed])
    }
    await expect.poll(() => raw.closed).toBe(true)
    expect(sent).toBeLessThan(64 * 1024 * 1024)
  })

  test('a body beyond the limit is 413 in place of 100 Continue', async () => {
    const { text } = await exchange(
      head(newTag(), `expect: 100-continue\r\ncontent-length: ${bodyLimitBytes + 1}\r\n\r\n`),
    )
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
  })
})

describe('Expect', () => {
  test('the gateway itself answers 100-continue, and then the request', async () => {
    const tag = newTag()
    using raw = gateway.connect()
    raw.socket.write(
      head(tag, 'expect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n'),
    )
    await expect.poll(() => raw.text).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    expect(await raw.exchange('{}')).toMatch(
      /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*\{\}$/,
    )
    expect(gateway.received(tag).rawHeaders.map((text) => text.toLowerCase())).not.toContain(
      'expect',
    )
  })

  test('a request that is refused anyway gets no 100', async () => {
    const { text } = await exchange(
      'POST /adapters HTTP/1.1\r\nhost: evil.example\r\nexpect: 100-continue\r\n' +
        'content-length: 2\r\n\r\n',
    )
    expect(text).toMatch(/^HTTP\/1\.1 403 /)
  })

  test('any other Expect is refused, with a request id and a log line', async () => {
    const { text } = await exchange(head(newTag(), 'expect: miracles\r\ncontent-length: 0\r\n\r\n'))
    expect(text).toMatch(/^HTTP\/1\.1 4\d\d [\s\S]*"requestId":"(?!unknown)/)
  })
})

describe('targets that are whole addresses', () => {
  const ask = (target: string, more = ''): Promise<{ text: string }> =>
    exchange(`GET ${target} HTTP/1.1\r\nhost: LocalHost:80\r\nconnection: close\r\n${more}\r\n`)

  test('a whole address means what its path means, on both planes', async () => {
    for (const [target, status] of [
      ['http://localhost:80/adapters?limit=1', 200],
      ['HTTP://LOCALHOST:80/healthz', 200],
      [`http://localhost:80/adapters/${adapter}/mcp?do=status&status=207`, 207],
      ['http://localhost:80', 404],
      ['*', 404],
    ] as const)
      expect((await ask(target)).text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  })

  test.each([
    'http://evil.example/adapters',
    'http://user:hunter2@localhost:80/adapters',
    'http:///adapters',
    'ftp://localhost:80/adapters',
  ])('%s is refused for its host, and the log shows no name and no password', async (target) => {
    const id = `target-${newTag()}`
    const { text } = await ask(target, `x-request-id: ${id}\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 400 [\s\S]*"code":"invalid_request"/)
    const lines = (): unknown[] => gateway.log.filter(({ requestId }) => requestId === id)
    // The parser itself refuses an empty host.
    if (target !== 'http:///adapters')
      await expect.poll(lines).toMatchObject([{ path: '/adapters', status: 400 }])
    expect(JSON.stringify(gateway.log)).not.toContain('hunter2')
  })

  test('a whole address with an undecodable path has one log line', async () => {
    const id = `target-${newTag()}`
    expect((await ask('/adapters/%zz', `x-request-id: ${id}\r\n`)).text).toMatch(/^HTTP\/1\.1 404 /)
    const lines = (): unknown[] => gateway.log.filter(({ requestId }) => requestId === id)
    await expect
      .poll(lines)
      .toMatchObject([{ method: 'GET', path: '/adapters/%zz', status: 404, error: 'not_found' }])
  })
})

describe('slow requests', () => {
  /** A gateway with short limits. Other tests would meet these limits when the machine pauses. */
  let hurried: TestGateway
  let name: string
  beforeAll(async () => {
    hurried = await TestGateway.open({
      edge: { requestTimeoutSeconds: 3, headersTimeoutSeconds: 2 },
    })
    name = await hurried.register()
  })
  afterAll(() => hurried[Symbol.asyncDispose]())
  const exchangeHurried = (text: string): ReturnType<typeof exchange> =>
    exchange(text, undefined, hurried)

  test('slow headers are 408', async () => {
    const { text, closed } = await exchangeHurried(
      `POST /adapters/${name}/mcp HTTP/1.1\r\nhost: localhost\r\n`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/)
    expect(closed).toBe(true)
  })

  test('a slow body is 408 once, no server sees it, and the log has it', async () => {
    const tag = newTag()
    const { text, closed } = await exchangeHurried(
      head(tag, `x-request-id: slow-${tag}\r\ncontent-length: 10\r\n\r\n{"a"`, 'POST', name),
    )
    expect(text).toMatch(/^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/)
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(closed).toBe(true)
    expect(hurried.events(tag)).toEqual([])
    await expect
      .poll(() => hurried.log.filter(({ requestId }) => requestId === `slow-${tag}`))
      .toHaveLength(1)
  })

  test('a slow body of the control plane is 408 once, with one log line', async () => {
    const rest = 'content-type: application/json\r\ncontent-length: 10\r\n\r\n{"a"'
    const { text } = await exchangeHurried(
      `POST /adapters HTTP/1.1\r\nhost: localhost\r\nx-request-id: slow-rest\r\n${rest}`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/)
    const lines = (): unknown[] => hurried.log.filter(({ requestId }) => requestId === 'slow-rest')
    await expect
      .poll(lines)
      .toMatchObject([{ path: '/adapters', status: 499, error: 'client_closed_request' }])
  })

  test('a slow answer is no fault: the limits are for the client', async () => {
    const answer = await hurried.mcp(name, 'do=late&ms=5000', { body: '{}' })
    expect([answer.status, answer.whole]).toEqual([200, true])
  })
})

describe('large requests', () => {
  test('headers beyond the limit are 431 and close the connection', async () => {
    for (const more of [`x-a: ${'a'.repeat(40_000)}\r\n\r\n`, `${'x-a: b\r\n'.repeat(5000)}\r\n`]) {
      const { text, closed } = await exchange(head(newTag(), more))
      expect(text).toMatch(/^HTTP\/1\.1 431 [\s\S]*"code":"headers_too_large"/)
      expect(closed).toBe(true)
    }
  })

  test.each<readonly [string, string, number]>([
    ['is no HTTP', 'hello\r\n\r\n', 400],
    [
      'has headers beyond the limit',
      `GET / HTTP/1.1\r\nHost: localhost\r\nx-a: ${'a'.repeat(40_000)}\r\n\r\n`,
      431,
    ],
  ])('a request that %s has one log line', async (_what, text, status) => {
    await using own = await TestGateway.open()
    using connection = own.connect()
    expect(await connection.exchange(text)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    await expect
      .poll(() => own.log.filter(({ msg }) => msg === 'request'))
      .toMatchObject([{ status }])
  })

  test('more headers than the parser keeps are refused, and not cut off in silence', async () => {
    const tag = newTag()
    const { text } = await exchange(
      head(tag, `${'a:b\r\n'.repeat(2500)}mcp-session-id: made-up\r\ncontent-length: 0\r\n\r\n`),
    )
    expect(text).toMatch(/^HTTP\/1\.1 (404|431) /)
    expect(gateway.events(tag)).toEqual([])
  })
})

describe('CORS', () => {
  test('configured origins alone may read answers, whatever the server says', async () => {
    const headers = JSON.stringify({
      'access-control-allow-origin': '*',
      'access-control-allow-credentials': 'true',
      vary: 'Accept',
    })
    const path = `do=headers&headers=${encodeURIComponent(headers)}`
    const allowed = await gateway.mcp(adapter, path, { headers: { origin: 'https://app.example' } })
    expect(allowed.headers).toMatchObject({ 'access-control-allow-origin': 'https://app.example' })
    expect(allowed.headers['access-control-allow-credentials']).toBeUndefined()
    expect(allowed.headers.vary?.split(/, */)).toEqual(expect.arrayContaining(['Origin', 'Accept']))
    const own = await gateway.mcp(adapter, path, { headers: { origin: gateway.origin } })
    expect(own.headers['access-control-allow-origin']).toBeUndefined()
    expect(
      (await gateway.mcp(adapter, path, { headers: { origin: 'https://evil.example' } })).status,
    ).toBe(403)
    expect(
      (await gateway.mcp('unknown', '', { headers: { origin: 'https://app.example' } })).headers,
    ).toMatchObject({
      'access-control-allow-origin': 'https://app.example',
    })
  })
})
