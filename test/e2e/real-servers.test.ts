import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess } from '@mcp-gateway/testkit'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { install } from './real-servers/install.ts'
import { realServers, type Place } from './real-servers/servers.ts'

const missing = await install(
  realServers.filter(({ from, bundled }) => from === 'npm' && bundled !== true),
  realServers.filter(({ from }) => from === 'PyPI'),
)

let gateway: GatewayProcess
let page: Server
let place: Place
beforeAll(async () => {
  // The programs stand in folders that a sandbox hides.
  gateway = await GatewayProcess.start({ config: { runtime: { sandbox: 'none' } } })
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-real-'))
  writeFileSync(join(folder, 'hello.txt'), 'hello from a file')
  writeFileSync(join(folder, 'hello.js'), 'var hello')
  writeFileSync(join(folder, 'eslint.config.mjs'), "export default [{ rules: { 'no-var': 2 } }]")
  execFileSync('git', ['init', '--quiet', folder])
  page = createServer((_request, response) => response.end('hello from a page'))
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
  const { port } = page.address() as AddressInfo
  place = { folder, page: `http://127.0.0.1:${port}/` }
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  page.close()
  rmSync(place.folder, { recursive: true, force: true })
})

const word = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

describe.concurrent('a real server', () => {
  test.for(realServers)(
    'of $from, $package $version, serves clients of both eras',
    async (server, { skip, expect }) => {
      const reason = server.bundled === true ? undefined : missing[server.from]
      skip(reason !== undefined, reason)

      const name = `real-${realServers.indexOf(server)}`
      const [command = '', ...args] = server.start(place)
      const created = await gateway.api('POST', '/adapters', {
        name,
        imageName: 'mcp-proxy',
        imageVersion: '1',
        environmentVariables: {
          MCP_COMMAND: command,
          MCP_ARGS: args.map(word).join(' '),
          ...server.environment?.(place),
        },
      })
      expect(created.status).toBe(201)

      const url = new URL(`${gateway.origin}/adapters/${name}/mcp`)
      for (const mode of ['legacy', { pin: '2026-07-28' }] as const) {
        const info = { name: 'real', version: '1' }
        const client = new Client(info, { versionNegotiation: { mode } })
        await client.connect(new StreamableHTTPClientTransport(url))
        const { tools } = await client.listTools()
        expect(tools.map((tool) => tool.name)).toContain(server.tool)
        const params = { name: server.tool, arguments: server.args(place) }
        const { content } = await client.callTool(params)
        expect(JSON.stringify(content)).toMatch(server.says)
        await client.close()
      }
    },
  )

  test('is one of at least twelve', () => {
    expect(new Set(realServers.map((server) => server.package)).size).toBeGreaterThanOrEqual(12)
  })
})
