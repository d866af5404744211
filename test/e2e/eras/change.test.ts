import { createServer, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FixtureProcess, GatewayProcess } from '@mcp-gateway/testkit'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** A remote server that learns the other era, or forgets it, while its adapter stays the same. */
let gateway: GatewayProcess
let fixtures: Record<'legacy' | 'modern', FixtureProcess>
let speaks: 'legacy' | 'modern' = 'legacy'
let remote: Server
beforeAll(async () => {
  gateway = await GatewayProcess.start()
  fixtures = {
    legacy: await FixtureProcess.conformance('legacy'),
    modern: await FixtureProcess.conformance('modern'),
  }
  remote = createServer((request, response) => {
    const { host: _host, ...headers } = request.headers
    const passed = httpRequest(
      fixtures[speaks].url,
      { method: request.method, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.rawHeaders)
        answer.pipe(response)
      },
    )
    passed.on('error', () => response.destroy())
    response.on('close', () => passed.destroy())
    request.pipe(passed)
  })
  await new Promise<void>((resolve) => remote.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  remote.closeAllConnections()
  remote.close()
  for (const fixture of Object.values(fixtures)) await fixture[Symbol.asyncDispose]()
})

async function list(): Promise<number> {
  const client = new Client(
    { name: 't', version: '1' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } } },
  )
  await client.connect(
    new StreamableHTTPClientTransport(new URL(`${gateway.origin}/adapters/remote/mcp`)),
  )
  try {
    return (await client.listTools()).tools.length
  } finally {
    await client.close()
  }
}

test('a modern client is served soon after its server changes its era either way', async () => {
  const environmentVariables = {
    MCP_PROXY_URL: `http://127.0.0.1:${(remote.address() as AddressInfo).port}/mcp`,
  }
  await gateway.api('POST', '/adapters', {
    name: 'remote',
    imageName: 'mcp-proxy',
    imageVersion: '1',
    environmentVariables,
  })
  expect(await list()).toBeGreaterThan(10)
  for (const era of ['modern', 'legacy', 'modern'] as const) {
    speaks = era
    await expect
      .poll(() => list().catch(() => 0), { timeout: 30_000, interval: 300 })
      .toBeGreaterThan(10)
  }
})
