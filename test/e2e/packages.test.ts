import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { GatewayProcess, programs } from '@mcp-gateway/testkit'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

/** All files that a package may hold. A new file of a package needs a line here. */
const files: Readonly<Record<string, readonly string[]>> = {
  bridge: ['LICENSE', 'README.md', 'bundle/LICENSES.txt', 'bundle/mcp-bridge.js', 'package.json'],
  gateway: [
    'LICENSE',
    'README.md',
    'bundle/LICENSES.txt',
    'bundle/kubernetes.js',
    'bundle/mcp-bridge.js',
    'bundle/mcp-example.js',
    'bundle/mcp-gateway.js',
    'bundle/openapi-worker.js',
    'bundle/schema-worker.js',
    'bundle/weather-tool.js',
    'package.json',
  ],
}

/** Node.js of this run, and the newer versions that CI has installed. */
const versions = [process.execPath, ...[22, 24].map(installedNode)].filter((node) =>
  existsSync(node),
)

function installedNode(major: number): string {
  return join(root, `.cache/nodes/node_modules/node${major}/bin/node`)
}

interface Packed {
  readonly name: string
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

interface Manifest {
  readonly bin: Readonly<Record<string, string>>
  readonly engines: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
}

describe('The packages of the programs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-packages-'))
  const modules = join(folder, 'node_modules')
  const environment = { HOME: join(folder, 'home'), MCPGW_RUNTIME_SANDBOX: 'auto' }
  let packed: readonly Packed[] = []

  /** A gateway with the usual place of its data: the folder in which the user starts it. */
  const startGateway = async (node: string, ...args: string[]): Promise<GatewayProcess> => {
    const dataDir = mkdtempSync(join(folder, 'data-'))
    const command = [node, programOf('gateway', 'mcp-gateway'), ...args] as const

    return GatewayProcess.start({ command, environment, dataDir })
  }

  beforeAll(async () => {
    const workspaces = Object.keys(files).flatMap((name) => ['-w', `packages/${name}`])
    const { stdout } = await run(
      'npm',
      ['pack', '--silent', '--json', '--pack-destination', folder, ...workspaces],
      { cwd: root, maxBuffer: 2 ** 24 },
    )
    packed = JSON.parse(stdout) as Packed[]

    // A folder above may hold a package.json. The prefix keeps npm here.
    const tarballs = packed.map(({ filename }) => join(folder, filename))
    await run('npm', ['install', '--prefix', folder, ...tarballs], { cwd: folder })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const manifestOf = (name: string): Manifest =>
    JSON.parse(
      readFileSync(join(modules, '@mcp-gateway', name, 'package.json'), 'utf8'),
    ) as Manifest
  const programOf = (name: string, bin: string): string =>
    join(modules, '@mcp-gateway', name, manifestOf(name).bin[bin] ?? '')

  test.each(Object.keys(files))('the package %s ships the allowed files, and no other', (name) => {
    const shipped = packed.find((each) => each.name === `@mcp-gateway/${name}`)?.files ?? []

    expect(shipped.map(({ path }) => path).toSorted()).toEqual(files[name])
  })

  test('npm installs no package of this workspace but the programs', () => {
    expect(Object.keys(manifestOf('gateway').dependencies ?? {})).toEqual(['libsql'])
    expect(manifestOf('bridge').dependencies).toBeUndefined()
    expect(manifestOf('gateway').engines).toEqual({ node: '>=20.19' })
  })

  test.each(versions)('the demo calls a sample from an empty folder (%s)', async (node) => {
    await using gateway = await startGateway(node, '--demo')

    await expect.poll(() => gateway.output).toContain('→ [{"type":"text","text":"42"}]')
  })

  test('the gateway runs a stdio server behind the bridge of its own package', async () => {
    const server = join(folder, 'server.mjs')
    copyFileSync(programs.echoStdio, server)
    await using gateway = await startGateway(process.execPath)

    const { status } = await gateway.api('POST', '/adapters', {
      name: 'echo',
      imageName: 'mcp-proxy',
      imageVersion: '1.0.0',
      environmentVariables: { MCP_COMMAND: process.execPath, MCP_ARGS: server },
    })
    expect(status).toBe(201)
    await gateway.untilStatus('echo', ({ readyReplicas }) => readyReplicas === 1)
    expect(await callEcho(`${gateway.origin}/adapters/echo/mcp`)).toContain('hello')
  })

  test('a tool whose schema has a pattern is checked by a thread of the package', async () => {
    await using gateway = await startGateway(process.execPath)
    const definition = (pattern: string): object => ({
      name: 'weather',
      imageName: 'weather-tool',
      imageVersion: '1.0.0',
      toolDefinition: {
        tool: {
          name: 'weather',
          description: 'Gets the weather.',
          type: 'http',
          inputSchema: { type: 'object', properties: { location: { type: 'string', pattern } } },
        },
        port: 8000,
        path: '/score',
      },
    })

    const refused = await gateway.api('POST', '/tools', definition('('))
    expect(refused.status).toBe(400)
    expect(JSON.stringify(refused.body)).toContain('pattern')
    const created = await gateway.api('POST', '/tools', definition('^[A-Z]'))
    expect(created.status).toBe(201)
  })

  test('the bridge serves a stdio server by itself', async () => {
    const bridge = spawn(
      process.execPath,
      [
        programOf('bridge', 'mcp-bridge'),
        '--port',
        '0',
        '--',
        process.execPath,
        programs.echoStdio,
      ],
      { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const ended = once(bridge, 'exit')
    try {
      const [line] = (await once(bridge.stdout, 'data')) as [Buffer]
      const url = /http:\S+/.exec(line.toString())?.[0] ?? ''
      expect(await callEcho(url)).toContain('hello')
    } finally {
      bridge.kill('SIGTERM')
      await ended
    }
  })

  test.each([
    [
      'PostgreSQL',
      ['store', 'migrate'],
      {
        MCPGW_STORE_URL: 'postgres://nobody@127.0.0.1:1/none',
        MCPGW_STORE_START_TIMEOUT_SECONDS: '1',
        MCPGW_SECRETS_KEYS: Buffer.alloc(32, 'k').toString('base64'),
      },
      /127\.0\.0\.1:1|ECONNREFUSED/,
    ],
    ['Kubernetes', ['keys', 'create', 'keys'], { KUBECONFIG: join(folder, 'none') }, /kubeconfig/i],
  ])('the gateway reads the client of %s when it is used', async (_, args, variables, said) => {
    const failed = await run(process.execPath, [programOf('gateway', 'mcp-gateway'), ...args], {
      cwd: folder,
      env: { ...process.env, ...environment, ...variables },
    }).catch((error: { stderr: string }) => error.stderr)

    expect(failed).toMatch(said)
  })
})

async function callEcho(url: string): Promise<string> {
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  const result = await client.callTool({ name: 'echo', arguments: { message: 'hello' } })
  await client.close()

  return JSON.stringify(result.content)
}
