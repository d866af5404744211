import fc from 'fast-check'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { TestGateway, valuesOf } from '../fixtures/gateway.ts'

let gateway: TestGateway
let adapter: string
let tags = 0
const newTag = (): string => `b${(tags += 1)}`

beforeAll(async () => {
  gateway = await TestGateway.open()
  adapter = await gateway.register()
})
afterAll(() => gateway[Symbol.asyncDispose]())

describe('bodies', () => {
  test.each([
    [
      'big integers and odd numbers',
      '{"jsonrpc":"2.0","id":12345678901234567890123,"params":{"a":1.0,"b":1e400,"c":-0}}',
    ],
    [
      'key order, doubled keys of arguments and space',
      ' { "z":1,\t"params":{"arguments":{"a":2,\n"a" : 3}}, "10":0,"9":0 }\r\n',
    ],
    [
      'members that nobody knows',
      '{"jsonrpc":"2.0","id":null,"method":"x/y","_meta":{"io.example/é":"\\ud800"},"future":[[]]}',
    ],
    ['escapes and letters', '{"t":"\\u0041 ü 🙂 \u2028"}'],
  ])('a body passes byte for byte both ways: %s', async (_what, text) => {
    const tag = newTag()
    const body = Buffer.from(text)
    const answer = await gateway.mcp(adapter, `tag=${tag}`, { body })
    expect(gateway.received(tag).body).toEqual(body)
    expect(answer).toMatchObject({ status: 200, body, whole: true })
  })

  test('random bodies pass byte for byte both ways, however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ stringUnit: 'binary' }), fc.boolean(), async (json, chunked) => {
        const body = Buffer.from(`{"id":1,"params":{"arguments":${json}}}`)
        const answer = await gateway.mcp(adapter, 'do=echo', {
          body,
          headers: chunked ? { 'transfer-encoding': 'chunked' } : {},
        })
        expect(answer.body).toEqual(body)
      }),
      { numRuns: 50 },
    )
  })

  test('bodies of 4 MB pass both ways', async () => {
    const body = Buffer.alloc(4 * 1024 * 1024, '1234567890')
    const answer = await gateway.mcp(adapter, 'do=echo', { body })
    expect(answer.body.equals(body)).toBe(true)
  })

  test('the gateway adds no body to a DELETE or GET that has none', async () => {
    for (const method of ['DELETE', 'GET']) {
      const tag = newTag()
      expect((await gateway.mcp(adapter, `tag=${tag}`, { method })).status).toBe(200)
      expect(gateway.received(tag)).toMatchObject({ method, body: Buffer.alloc(0) })
    }
  })

  test('queries reach the server as they are', async () => {
    const tag = newTag()
    await gateway.mcp(adapter, `tag=${tag}&a=%2F..%2f&b=a+b%20c&&=&x=%C3%A9?&y`)
    expect(gateway.received(tag).url).toBe(`/mcp?tag=${tag}&a=%2F..%2f&b=a+b%20c&&=&x=%C3%A9?&y`)
  })
})

describe('event streams', () => {
  const stream =
    'event: message\nid: 1\ndata: {"jsonrpc":"2.0","id":1,"result":{"t":"ü🙂"}}\n\n' +
    ': ping\r\n\r\ndata: a\ndata: b\r\r'

  test('an event stream arrives as it is, wherever the server cuts it', async () => {
    const bytes = Buffer.from(stream)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 8 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
        const parts = at
          .slice(1)
          .map((end, index) => bytes.subarray(at[index], end).toString('base64'))
        const answer = await gateway.mcp(adapter, 'do=parts&every=1', {
          body: JSON.stringify({ parts }),
        })
        expect(answer.body).toEqual(bytes)
      }),
      { numRuns: 25 },
    )
  })

  test('the gateway forwards each event at once, and headers before the first', async () => {
    const tag = newTag()
    const silent = await gateway.start(`/adapters/${adapter}/mcp?do=told&tag=${tag}`, {
      headers: { accept: 'text/event-stream' },
    })
    expect(silent.headers['content-type']).toBe('text/event-stream')
    const go = (said: object | string): Promise<unknown> =>
      gateway.mcp(adapter, `do=go&of=${tag}`, { body: JSON.stringify(said) })
    const arrivals = silent.setEncoding('utf8')[Symbol.asyncIterator]()
    // The server sends the next event only after this one has arrived.
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      await go(event)
      expect(await arrivals.next()).toEqual({ value: event, done: false })
    }
    await go({})
    expect(await arrivals.next()).toMatchObject({ done: true })
    expect(silent.complete).toBe(true)
  })
})

describe('a slow reader', () => {
  test('a slow reader slows the server down, costs no memory, and gets all', async () => {
    const megabytes = 300
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-pour-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const command = [
      process.execPath,
      join(import.meta.dirname, '../fixtures/scripted-server.js'),
      join(folder, 'events'),
    ]
    // A process of its own has its own memory.
    await using alone = await GatewayProcess.start({
      // Its server writes to a folder of this test.
      config: { runtime: { images: { scripted: { command } }, sandbox: 'none' } },
    })
    await alone.api('POST', '/adapters', {
      name: 'pours',
      imageName: 'scripted',
      imageVersion: '1',
    })
    await alone.untilStatus('pours', ({ readyReplicas }) => readyReplicas === 1)
    const pour = async (size: number): Promise<Response> => {
      const response = await fetch(`${alone.origin}/adapters/pours/mcp?do=pour&megabytes=${size}`, {
        method: 'POST',
        body: '{}',
      })
      expect(response.status).toBe(200)
      return response
    }
    const megabytesOf = (): number =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${alone.pid}/status`, 'utf8'))?.[1]) / 1024
    // After the first answer its buffers and compiled code exist.
    await (await pour(50)).arrayBuffer()
    const before = megabytesOf()
    const reader = (await pour(megabytes)).body?.getReader()
    let read = (await reader?.read())?.value?.length ?? 0
    let most = 0
    for (let look = 0; look < 10; look += 1) {
      await new Promise((resolve) => setTimeout(resolve, 150))
      most = Math.max(most, megabytesOf())
    }
    const poured = Number(
      /.*"poured":(\d+)/s.exec(readFileSync(join(folder, 'events'), 'utf8'))?.[1],
    )
    // The sockets on the way hold this much.
    expect(poured).toBeLessThan(30 * 1024 * 1024)
    expect(most - before).toBeLessThan(20)

    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true }
      if (done) break
      read += value?.length ?? 0
    }
    expect(read).toBe(megabytes * 1024 * 1024)
  })
})

describe('headers', () => {
  test('headers of the hop and of the client’s identity end here (C19, C24)', async () => {
    const tag = newTag()
    const caller = { 'X-Dev-UserId': 'zo\u00c3\u00ab, "x"', 'X-Dev-Roles': 'mcp.admin, a b' }
    // Development identity refuses requests of proxies. An API key acts for its maker behind
    // proxies too.
    const made = await gateway.send('/api-keys', {
      headers: { ...caller, 'content-type': 'application/json' },
      // Node also writes the header as UTF-8 if the body is text.
      body: Buffer.from(JSON.stringify({ name: 'zoë, "x"', roles: ['mcp.admin', 'a b'] })),
    })
    const { key } = JSON.parse(made.body.toString()) as { key: string }
    using raw = gateway.connect()
    const given = [
      'Accept: application/json, text/event-stream',
      'MCP-Protocol-Version: 2025-11-25',
      'Mcp-Param-Region: eu',
      'Last-Event-ID: 7',
      'traceparent: 00-1-2-01',
      'X-Tenant: one',
      'x-tenant: two',
      'Connection: close, X-Hop, Keep-Alive',
      'Keep-Alive: timeout=5',
      'X-Hop: 1',
      'X-Unheard-Of: 1',
      'X-Forwarded-User: admin',
      'Remote-User: admin',
      'X-Ms-Client-Principal: admin',
      'Via: 1.1 proxy',
      'TE: trailers',
      'Upgrade: h2c',
      'Proxy-Authorization: Basic x',
      `Authorization: Bearer ${key}`,
      'Cookie: a=b',
      'Origin: http://localhost:6274',
      'Forwarded: for=1.2.3.4',
      'X-Forwarded-For: 1.2.3.4',
      'X-Real-IP: 1.2.3.4',
      'X-Mcp-UserId: admin',
      'X_Mcp_UserId: admin',
      'X-Mcpgw-Caller: admin',
      'X-Mcp-Roles: mcp.admin',
      `X-Dev-UserId: ${caller['X-Dev-UserId']}`,
      `X-Dev-Roles: ${caller['X-Dev-Roles']}`,
    ]
    await raw.exchange(
      `POST /adapters/${adapter}/mcp?tag=${tag} HTTP/1.1\r\nHost: localhost\r\n` +
        `${given.join('\r\n')}\r\ncontent-length: 2\r\n\r\n{}`,
    )
    expect(raw.text).toMatch(/^HTTP\/1\.1 200 /)

    const { rawHeaders } = gateway.received(tag)
    const got = rawHeaders.flatMap((name, index) =>
      index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}`] : [],
    )
    expect(
      got.filter((line) => !/^(host|connection|content-length|x-request-id):/i.test(line)),
    ).toEqual([
      ...given.slice(0, 7),
      'forwarded: for=127.0.0.1;proto=http;host="localhost"',
      'x-mcp-userid: zo%C3%AB%2C%20"x"',
      'x-mcp-username: zo%C3%AB%2C%20"x"',
      'x-mcp-roles: mcp.admin,a%20b',
      expect.stringMatching(/^x-mcpgw-caller: [\w-]{22}$/),
    ])
    expect(valuesOf(rawHeaders, 'host')[0]).toMatch(/^127\.0\.0\.1:\d+$/)
    expect(valuesOf(rawHeaders, 'content-length')).toEqual(['2'])
  })

  test('response headers pass, but not those of connection and origin (C20)', async () => {
    const given = {
      'Content-Type': 'application/json',
      'MCP-Protocol-Version': '2025-11-25',
      'X-Accel-Buffering': 'no',
      'Retry-After': '7',
      Vary: ['Accept', 'Origin'],
      Link: '</a>; rel=preload',
      Refresh: '0; url=https://evil.example',
      'X-Accel-Redirect': '/secret',
      'X-Sendfile': '/etc/passwd',
      'X-Unheard-Of': '1',
      'Cache-Control': 'public, max-age=600',
      Connection: 'close, X-Hop',
      'X-Hop': '1',
      'Proxy-Authenticate': 'Basic',
      'Set-Cookie': 'a=b',
      'WWW-Authenticate': 'Bearer',
      'Strict-Transport-Security': 'max-age=1',
    }
    const { rawHeaders } = await gateway.mcp(
      adapter,
      `do=headers&headers=${encodeURIComponent(JSON.stringify(given))}`,
    )
    const got = rawHeaders.flatMap((name, index) =>
      index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}`] : [],
    )
    const ofConnection =
      /^(date|x-request-id|transfer-encoding|connection: keep-alive|keep-alive: timeout=75)/i
    expect(got.filter((line) => !ofConnection.test(line))).toEqual([
      'Content-Type: application/json',
      'MCP-Protocol-Version: 2025-11-25',
      'X-Accel-Buffering: no',
      'Retry-After: 7',
      'Vary: Accept',
      'Vary: Origin',
      'Cache-Control: no-store',
    ])
  })

  test('the client, the server and the log see the same request id', async () => {
    const tag = newTag()
    const answer = await gateway.mcp(adapter, `tag=${tag}`, {
      headers: { 'x-request-id': 'given-1' },
    })
    expect(answer.headers['x-request-id']).toBe('given-1')
    expect(valuesOf(gateway.received(tag).rawHeaders, 'x-request-id')).toEqual(['given-1'])
    await expect
      .poll(() => gateway.log.find(({ requestId }) => requestId === 'given-1'))
      .toMatchObject({ status: 200, adapter })
  })

  test('the gateway follows redirects to another path and hides all others', async () => {
    const head = (location: string, status = 307): string => {
      const bytes = Buffer.from(
        `HTTP/1.1 ${status} X\r\nlocation: ${location}\r\nconnection: close\r\n` +
          'content-length: 0\r\n\r\n',
      )
      return JSON.stringify(bytes.toString('base64'))
    }
    for (const raw of [head('http://127.0.0.1:1/'), head('/mcp/', 302)]) {
      const elsewhere = await gateway.mcp(adapter, 'do=raw', { body: raw })
      expect([elsewhere.status, elsewhere.headers.location]).toEqual([502, undefined])
      expect(elsewhere.body.toString()).toContain('upstream_redirects')
    }

    const [tag, next] = [newTag(), newTag()]
    const host = (at: string): string =>
      valuesOf(gateway.received(at).rawHeaders, 'host')[0] as string
    await gateway.mcp(adapter, `do=echo&tag=${tag}`)
    const location = `http://${host(tag)}/mcp/?do=echo&tag=${next}`
    const inside = await gateway.mcp(adapter, 'do=raw', { body: head(location) })
    expect([inside.status, inside.body.toString()]).toEqual([200, head(location)])
    expect(host(next)).toBe(host(tag))
  })

  test('a page of a server has no power over the gateway', async () => {
    const page = await gateway.mcp(adapter, 'type=text/html', {
      body: JSON.stringify('<script>fetch("/adapters")</script>'),
    })
    expect(page.headers).toMatchObject({
      'content-type': 'text/html',
      'content-security-policy': "sandbox; default-src 'none'",
    })
  })
})
