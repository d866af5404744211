import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FixtureProcess, GatewayProcess, passOn, selfSigned } from '@mcp-gateway/testkit'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/**
 * Servers of both eras at other addresses, behind TLS. The gateway's environment names their
 * authority.
 */
const folder = mkdtempSync(join(tmpdir(), 'mcpgw-elsewhere-'))
const fixtures = new Map<string, FixtureProcess>()
let gateway: GatewayProcess
let remote: Server
let port = 0

beforeAll(async () => {
  writeFileSync(join(folder, 'ca.pem'), selfSigned.cert)
  gateway = await GatewayProcess.start({
    environment: { NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') },
  })
  for (const era of ['legacy', 'modern'] as const)
    fixtures.set(`/${era}/mcp`, await FixtureProcess.conformance(era))
  remote = createServer(selfSigned, (request, response) => {
    const { host: _host, ...headers } = request.headers
    const { hostname, port, pathname } = new URL(fixtures.get(request.url ?? '')?.url ?? '')
    passOn(request, response, { hostname, port, path: pathname, headers })
  })
  // The server listens on all addresses. The certificate names only one.
  await new Promise<void>((resolve) => remote.listen(0, '0.0.0.0', resolve))
  port = (remote.address() as AddressInfo).port
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  remote.closeAllConnections()
  remote.close()
  for (const fixture of fixtures.values()) await fixture[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

async function register(name: string, endpoint: string): Promise<URL> {
  expect(await gateway.api('POST', '/adapters', { name, endpoint })).toMatchObject({
    status: 201,
    body: { endpoint },
  })
  return new URL(`${gateway.origin}/adapters/${name}/mcp`)
}

describe.each(['legacy', 'modern'] as const)('a %s server elsewhere, by https', (era) => {
  test.each([['legacy'], ['modern']] as const)(
    'the server lists, runs, reports progress and asks for a %s client',
    async (mode) => {
      const url = await register(`${era}-for-${mode}`, `https://127.0.0.1:${port}/${era}/mcp`)
      const client = new Client(
        { name: 't', version: '1' },
        {
          capabilities: { elicitation: { form: {} } },
          versionNegotiation: { mode: mode === 'legacy' ? 'legacy' : { pin: '2026-07-28' } },
        },
      )
      client.setRequestHandler('elicitation/create', () => ({
        action: 'accept',
        content: { name: 'Ada', username: 'ada', email: 'ada@example.com' },
      }))
      await client.connect(new StreamableHTTPClientTransport(url))
      expect((await client.listTools()).tools.length).toBeGreaterThan(10)
      expect(
        JSON.stringify(
          await client.callTool({ name: 'test_elicitation', arguments: { message: 'Who?' } }),
        ),
      ).toContain('accept')
      const progress: number[] = []
      await client.callTool(
        { name: 'test_tool_with_progress', arguments: {} },
        { onprogress: (at) => void progress.push(at.progress) },
      )
      expect(progress.length).toBeGreaterThan(1)
      await client.close()
    },
  )
})

test('a server elsewhere whose certificate is for another host is not called', async () => {
  const url = await register('another', `https://127.0.0.2:${port}/legacy/mcp`)
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
  })
  expect([answer.status, await answer.json()]).toEqual([
    502,
    expect.objectContaining({
      error: expect.objectContaining({
        data: expect.objectContaining({ code: 'upstream_untrusted' }) as unknown,
      }) as unknown,
    }),
  ])
})
