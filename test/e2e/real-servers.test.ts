import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { GatewayProcess, quoted, skipNote } from '@mcp-gateway/testkit'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { binaries, install } from './real-servers/install.ts'
import {
  realServers,
  sandboxedServers,
  type Place,
  type RealServer,
} from './real-servers/servers.ts'

const missing = await install(
  realServers.filter(({ from, bundled }) => from === 'npm' && bundled !== true),
  realServers.filter(({ from }) => from === 'PyPI'),
)

let page: Server
let place: Place
beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-real-'))
  writeFileSync(join(folder, 'hello.txt'), 'hello from a file')
  writeFileSync(join(folder, 'hello.js'), 'var hello')
  writeFileSync(join(folder, 'eslint.config.mjs'), "export default [{ rules: { 'no-var': 2 } }]")
  execFileSync('git', ['init', '--quiet', folder])
  // The user of a sandbox must read the folder too.
  chmodSync(folder, 0o755)
  page = createServer((_request, response) => response.end('hello from a page'))
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
  const { port } = page.address() as AddressInfo
  place = { folder, page: `http://127.0.0.1:${port}/` }
})
afterAll(() => {
  page.close()
  rmSync(place.folder, { recursive: true, force: true })
})

/** Starts the server as an adapter, and calls its tool by clients of both eras. */
async function use(
  gateway: GatewayProcess,
  prefix: string,
  server: Pick<RealServer, 'start' | 'environment' | 'tool' | 'args' | 'says'>,
): Promise<string> {
  const name = `${prefix}-${randomUUID().slice(0, 8)}`
  const [command = '', ...args] = server.start(place)
  const created = await gateway.api('POST', '/adapters', {
    name,
    imageName: 'mcp-proxy',
    imageVersion: '1',
    environmentVariables: {
      MCP_COMMAND: command,
      MCP_ARGS: quoted(args),
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
  return name
}

describe('a real server', () => {
  let gateway: GatewayProcess
  beforeAll(async () => {
    // A sandbox hides the folders of the programs.
    gateway = await GatewayProcess.start({ config: { runtime: { sandbox: 'none' } } })
  })
  afterAll(() => gateway[Symbol.asyncDispose]())

  describe.concurrent('without a sandbox', () => {
    test.for(realServers)(
      'the server of $from, $package $version, serves clients of both eras',
      async (server, { skip }) => {
        const reason = server.bundled === true ? undefined : missing[server.from]
        skip(reason !== undefined, reason)

        await use(gateway, `real-${realServers.indexOf(server)}`, server)
      },
    )
  })

  test('the list has at least twelve servers', () => {
    expect(new Set(realServers.map((server) => server.package)).size).toBeGreaterThanOrEqual(12)
  })
})

const works = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0
const isolates =
  process.getuid?.() === 0 ||
  works('bwrap', '--ro-bind', '/', '/', '--proc', '/proc', '--unshare-pid', 'true')
const note = skipNote(isolates ? undefined : 'needs root, or a bwrap that works')

describe(`a real server in the strongest sandbox of this machine,${note}`, () => {
  let gateway: GatewayProcess
  beforeAll(async () => {
    const registry = spawnSync('npm', ['config', 'get', 'registry']).stdout.toString().trim()
    gateway = await GatewayProcess.start({
      environment: {
        MCPGW_RUNTIME_SANDBOX: 'auto',
        PATH: [binaries.uv, process.env['PATH']].join(delimiter),
        npm_config_registry: registry,
        UV_PYTHON_DOWNLOADS: 'never',
      },
      config: { runtime: { mounts: [{ path: place.folder }] } },
    })
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
    rmSync(`${gateway.dataDir}-homes`, { recursive: true, force: true })
  })

  describe.concurrent('servers that it starts', () => {
    test.for(sandboxedServers)(
      'the server $package, which $by starts in a sandbox, serves clients of both eras',
      async (server, { skip }) => {
        skip(!isolates, note)
        const reason = missing[server.from]
        skip(reason !== undefined, reason)

        const name = await use(gateway, `boxed-${sandboxedServers.indexOf(server)}`, server)
        const { sandbox } = await gateway.untilStatus(
          name,
          ({ readyReplicas }) => readyReplicas === 1,
        )
        // If other users cannot read the checkout, root has no sandbox.
        skip(sandbox === 'none', 'no sandbox works here')
        expect(sandbox).toMatch(/^(bwrap|uid)$/)
      },
    )
  })
})
