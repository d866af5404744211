import { quoted } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

/** An entry of a configuration file, as the documentation of servers and clients publishes them. */
interface Entry {
  readonly command?: string | { readonly path: string; readonly args?: readonly string[] }
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly type?: string
  readonly url?: string
  readonly serverUrl?: string
  readonly headers?: Readonly<Record<string, string>>
}

let gateway: TestGateway
beforeAll(async () => {
  gateway = await TestGateway.open()
})
afterAll(() => gateway[Symbol.asyncDispose]())

/** Makes the adapter of an entry, by the table of docs/mcp-json.md. */
function adapterOf(entry: Entry): Record<string, unknown> {
  const { command, cwd, env = {}, headers = {}, type, url = entry.serverUrl } = entry
  if (url !== undefined) {
    const named = Object.entries(headers).map(([header, value]) => ({ header, value }))
    const credential = named.length === 1 ? named[0] : named
    if (type !== 'sse')
      return {
        endpoint: url,
        callerIdentity: 'none',
        ...(named.length === 0 ? {} : { credential }),
      }
    return {
      imageName: 'mcp-proxy',
      imageVersion: '1',
      environmentVariables: {
        MCP_PROXY_URL: url,
        MCP_PROXY_TRANSPORT: 'sse',
        ...(named.length === 0 ? {} : { MCP_PROXY_HEADERS: JSON.stringify(headers) }),
      },
    }
  }
  const program = typeof command === 'object' ? command.path : (command as string)
  const args = (typeof command === 'object' ? command.args : entry.args) ?? []
  return {
    imageName: 'mcp-proxy',
    imageVersion: '1',
    environmentVariables: {
      MCP_COMMAND: program,
      MCP_ARGS: quoted(args),
      ...(cwd === undefined ? {} : { MCP_CWD: cwd }),
      ...env,
    },
  }
}

interface Answer {
  readonly status: number
  readonly warnings: readonly { readonly pointer: string; readonly detail: string }[]
}

let count = 0
async function register(adapter: Record<string, unknown>): Promise<Answer> {
  const { status, body } = await gateway.send('/adapters', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: `entry-${(count += 1)}`, replicaCount: 0, ...adapter }),
  })
  const { warnings = [] } = JSON.parse(body.toString()) as Partial<Answer>
  return { status, warnings }
}

const npx = (...args: string[]): Entry => ({ command: 'npx', args: ['-y', ...args] })

describe('an entry of a published configuration file', () => {
  test.each<[format: string, entry: Entry, warned: Readonly<Record<string, string>>]>([
    ['Claude Desktop', npx('@modelcontextprotocol/server-filesystem', '/Users/me/My Files'), {}],
    [
      'Claude Desktop',
      { ...npx('@modelcontextprotocol/server-github'), env: { GITHUB_TOKEN: '<YOUR_TOKEN>' } },
      {},
    ],
    ['Claude Desktop', { command: 'uvx', args: ['mcp-server-git', '--repository', '.'] }, {}],
    [
      'Claude Code',
      {
        type: 'http',
        url: 'https://api.example.com/mcp',
        headers: { Authorization: 'Bearer ${API_KEY}' },
      },
      { '/credential/value': '${API_KEY}' },
    ],
    [
      'Claude Code',
      { command: '${CLAUDE_PLUGIN_ROOT}/server', args: ['--port', '${PORT:-8080}'] },
      {
        '/environmentVariables/MCP_COMMAND': '${CLAUDE_PLUGIN_ROOT}',
        '/environmentVariables/MCP_ARGS': '${PORT:-8080}',
      },
    ],
    [
      'VS Code',
      {
        type: 'stdio',
        ...npx('@example/server', '${workspaceFolder}'),
        env: { API_KEY: '${input:api-key}' },
      },
      {
        '/environmentVariables/MCP_ARGS': '${workspaceFolder}',
        '/environmentVariables/API_KEY': '${input:api-key}',
      },
    ],
    [
      'VS Code',
      { type: 'http', url: 'https://mcp.example.com/', headers: { API_KEY: '${input:key}' } },
      { '/credential/value': '${input:key}' },
    ],
    ['VS Code', { type: 'sse', url: 'https://mcp.example.com/sse' }, {}],
    [
      'VS Code',
      {
        type: 'sse',
        url: 'https://mcp.example.com/sse',
        headers: { 'X-Key': '${input:k}', b: 'c' },
      },
      { '/environmentVariables/MCP_PROXY_HEADERS': '${input:k}' },
    ],
    ['VS Code', { command: 'node', args: ['main.js'], cwd: '/srv/server' }, {}],
    [
      'Cursor',
      {
        url: 'https://mcp.example.com/mcp',
        headers: { 'X-Api-Key': '${env:KEY}', 'X-Project': 'p' },
      },
      { '/credential/0/value': '${env:KEY}' },
    ],
    [
      'Cursor',
      { ...npx('mcp-server'), env: { API_KEY: '$API_KEY' } },
      {
        '/environmentVariables/API_KEY': '$API_KEY',
      },
    ],
    [
      'Cline',
      {
        type: 'streamableHttp',
        url: 'https://example.com/mcp',
        headers: { DD_API_KEY: 'a', DD_APPLICATION_KEY: 'b' },
      },
      {},
    ],
    [
      'Cline',
      { command: 'cmd', args: ['/c', 'npx', '-y', '%APPDATA%\\server'] },
      {
        '/environmentVariables/MCP_ARGS': '%APPDATA%',
      },
    ],
    [
      'Windsurf',
      { serverUrl: 'https://example.com/${env:TEAM}/mcp' },
      { '/endpoint': '${env:TEAM}' },
    ],
    ['Windsurf', { serverUrl: 'https://example.com/mcp', headers: { api_key: 'k' } }, {}],
    ['Zed', { command: { path: 'uvx', args: ['mcp-server-sqlite', '--db-path', "a 'b'.db"] } }, {}],
    [
      'Zed',
      { command: 'node', args: ['-e', 'console.log("${x}")', ''], env: {} },
      {
        '/environmentVariables/MCP_ARGS': '${x}',
      },
    ],
  ])('an entry of %s registers by the table of the docs: %j', async (_format, entry, warned) => {
    const { status, warnings } = await register(adapterOf(entry))
    expect(status).toBe(201)
    expect(warnings.map(({ pointer }) => pointer)).toEqual(Object.keys(warned))
    for (const [index, placeholder] of Object.values(warned).entries())
      expect(warnings[index]?.detail).toContain(`'${placeholder}' is taken literally`)
  })

  test('an entry with a mere look of a placeholder brings no warning', async () => {
    const environmentVariables = { A: 'pa$sword', B: 'costs $5', C: '100%', D: 'a$$B', E: '{x}' }
    const { warnings } = await register({
      imageName: 'mcp-proxy',
      imageVersion: '1',
      environmentVariables,
    })
    expect(warnings).toEqual([])
  })
})
