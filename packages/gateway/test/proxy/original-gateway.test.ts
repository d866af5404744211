import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { openOriginalGateway, type OriginalGateway } from '@mcp-gateway/testkit'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { initialize, modernRequest } from '../fixtures/mcp-requests.ts'

let gateway: TestGateway
let original: OriginalGateway
beforeAll(async () => {
  original = await openOriginalGateway()
  gateway = await TestGateway.open()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await original[Symbol.asyncDispose]()
})

/** An adapter whose server is the next major of the original. */
async function adapter(fields: object = {}): Promise<string> {
  const name = `o${(count += 1)}`
  const made = await gateway.send('/adapters', {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, endpoint: original.url, ...fields }),
  })
  expect(made.status).toBe(201)
  return name
}
let count = 0

const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const address = (name: string): URL => new URL(`${gateway.origin}/adapters/${name}/mcp`)
const text = (answer: object): unknown =>
  (answer as { content: { text: string }[] }).content.map((block) => block.text)

describe('The next major of the original, as an adapter', () => {
  test.each(['auto', { pin: '2026-07-28' }] as const)(
    'the next major of the original serves the official client of the modern era (%j)',
    async (mode) => {
      const client = new Client(
        { name: 't', version: '1' },
        { versionNegotiation: { mode }, capabilities: {} },
      )
      await client.connect(new StreamableHTTPClientTransport(address(await adapter())))
      expect(client.getProtocolEra()).toBe('modern')
      expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['add', 'change'])
      const sum = await client.callTool({ name: 'add', arguments: { a: 40, b: 2 } })
      expect(text(sum)).toEqual(['42'])
      await client.close()
    },
  )

  test('the next major serves the official legacy client until its session ends', async () => {
    const client = new ClientV1({ name: 't', version: '1' })
    const changed = new Promise<string>((resolve) =>
      client.setNotificationHandler(ToolListChangedNotificationSchema, ({ method }) =>
        resolve(method),
      ),
    )
    const transport = new HttpV1(address(await adapter()))
    // Its optional members have another type than those of the interface.
    await client.connect(transport as Parameters<typeof client.connect>[0])
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['add', 'change'])
    const sum = await client.callTool({ name: 'add', arguments: { a: 40, b: 2 } })
    expect(text(sum)).toEqual(['42'])
    await client.callTool({ name: 'change', arguments: {} })
    expect(await changed).toBe('notifications/tools/list_changed')
    await transport.terminateSession()
    await client.close()
  })

  test('the next major serves legacy GET and DELETE with a session alone', async () => {
    const name = await adapter()
    for (const method of ['GET', 'DELETE']) {
      const { status, headers } = await gateway.send(`/adapters/${name}/mcp`, { method })
      expect([status, headers.allow]).toEqual([405, 'POST'])
    }
    const opened = await gateway.mcp(name, '', { headers: json, body: initialize })
    const session = { ...json, 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const stream = await gateway.start(`/adapters/${name}/mcp`, { method: 'GET', headers: session })
    expect([stream.statusCode, stream.headers['content-type']]).toEqual([200, 'text/event-stream'])
    const ended = await gateway.send(`/adapters/${name}/mcp`, {
      method: 'DELETE',
      headers: session,
    })
    expect(ended.status).toBeLessThan(300)
    stream.resume()
    const later = await gateway.mcp(name, '', { headers: session, body: initialize })
    expect(later.status).toBe(404)
  })

  test('the gateway itself refuses legacy clients under eras: passthrough', async () => {
    const name = await adapter({ eras: 'passthrough' })
    const legacy = { ...json, 'mcp-protocol-version': '2025-06-18', 'mcp-method': 'initialize' }
    const refused = await gateway.mcp(name, '', { headers: legacy, body: initialize })
    expect([refused.status, JSON.parse(refused.body.toString())]).toMatchObject([
      400,
      { error: { code: -32022, data: { supported: ['2026-07-28'] } } },
    ])
    const modern = await gateway.mcp(name, '', modernRequest('tools/list', {}))
    expect([modern.status, modern.body.toString()]).toEqual([200, expect.stringContaining('add')])
  })
})

describe('a client that was written for the next major of the original', () => {
  const stale = { 'mcp-session-id': 'other:user:session', 'last-event-id': 'not-resumable' }
  const query = 'session_id=not:a:session&application=value'

  test('such a client needs no handshake, and may send an old session id', async () => {
    const servers = [
      await adapter(),
      await gateway.register({ environmentVariables: { DO: 'legacy' } }),
      await gateway.register({ environmentVariables: { DO: 'modern' } }),
    ]
    for (const server of servers) {
      const list = modernRequest('tools/list', {})
      const call = modernRequest('tools/call', { name: 'change', arguments: {} })
      for (const { headers, body } of server === servers[2] ? [call] : [list, call]) {
        const sent = { headers: { ...headers, ...stale }, body }
        const answer = await gateway.mcp(server, query, sent)
        expect([server, answer.status, answer.body.toString()]).toEqual([
          server,
          200,
          expect.stringContaining('"resultType":"complete"'),
        ])
        expect(answer.headers).not.toHaveProperty('mcp-session-id')
      }
    }
    const list = modernRequest('tools/list', {})
    const router = await gateway.send(`/mcp?${query}`, {
      headers: { ...list.headers, ...stale },
      body: list.body,
    })
    expect(router.status).toBe(200)
  })

  test('such a client gets the original’s errors for methods, headers and versions', async () => {
    const name = await adapter()
    for (const path of [`/adapters/${name}/mcp`, '/mcp']) {
      const unknown = await gateway.send(path, modernRequest('unknown/method', {}))
      expect([path, unknown.status, codeOf(unknown.body)]).toEqual([path, 404, -32601])
      const { headers, body } = modernRequest('tools/list', {})
      const mixed = await gateway.send(path, {
        headers,
        body: body.replace('"2026-07-28"', '"2025-11-25"'),
      })
      expect([path, mixed.status, codeOf(mixed.body)]).toEqual([path, 400, -32020])
    }
  })

  test('the gateway refuses such a client in a page of an origin that is not listed', async () => {
    const name = await adapter()
    const { headers, body } = modernRequest('tools/list', {})
    for (const path of [`/adapters/${name}/mcp`, '/mcp']) {
      const from = async (origin: string) =>
        (await gateway.send(path, { headers: { ...headers, origin, host: '127.0.0.1' }, body }))
          .status
      expect(await from('https://not-allowed.example')).toBe(403)
      expect(await from('null')).toBe(403)
    }
  })
})

test('a legacy session continues when its client’s header names the modern version', async () => {
  const name = await gateway.register({ environmentVariables: { DO: 'forgetful' } })
  const opened = await gateway.mcp(name, '', { headers: json, body: initialize })
  const session = {
    ...json,
    'mcp-session-id': String(opened.headers['mcp-session-id']),
    'mcp-protocol-version': '2026-07-28',
  }
  const body = '{"jsonrpc":"2.0","id":2,"method":"tools/list"}'
  const listed = await gateway.mcp(name, '', { headers: session, body })
  expect([listed.status, listed.body.toString()]).toEqual([
    200,
    expect.stringContaining('anything'),
  ])
  const unknown = { ...session, 'mcp-session-id': 'other' }
  expect((await gateway.mcp(name, '', { headers: unknown, body })).status).toBe(404)
})

test('a page of the public address may call behind a proxy that sends another Host', async () => {
  const issuer = { preset: 'generic', issuer: 'https://idp.example', audiences: ['mcp'] }
  await using behind = await TestGateway.open({
    edge: { allowedOrigins: ['https://portal.example'] },
    identity: { mode: 'oidc', issuers: [issuer] },
    ...({ publicOrigin: 'https://gw.example/' } as object),
  })
  const { headers, body } = modernRequest('tools/list', {})
  const from = async (origin: string) =>
    (await behind.send('/mcp', { headers: { ...headers, origin, host: 'localhost' }, body })).status
  // The gateway accepts the page's origin, and then asks for a token.
  expect(await from('https://gw.example')).toBe(401)
  expect(await from('https://portal.example')).toBe(401)
  expect(await from('https://other.example')).toBe(403)
})

function codeOf(body: Buffer): number {
  return (JSON.parse(body.toString()) as { error: { code: number } }).error.code
}
