import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess, officialServer, quoted } from '@mcp-gateway/testkit'
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-files-'))
writeFileSync(join(folder, 'hello.txt'), 'hello from a file')

interface Call {
  readonly tool: string
  readonly args: Record<string, unknown>
}

/** Official servers, their commands, and calls whose results depend on the call alone. */
const servers: readonly {
  readonly name: 'everything' | 'filesystem' | 'memory' | 'sequential-thinking'
  readonly args: readonly string[]
  readonly calls: readonly Call[]
}[] = [
  {
    name: 'everything',
    args: ['stdio'],
    calls: [
      { tool: 'echo', args: { message: 'Zoë 🦊' } },
      { tool: 'get-sum', args: { a: 2, b: 40 } },
      { tool: 'get-tiny-image', args: {} },
      { tool: 'get-structured-content', args: { location: 'New York' } },
    ],
  },
  {
    name: 'filesystem',
    args: [folder],
    calls: [
      { tool: 'read_text_file', args: { path: join(folder, 'hello.txt') } },
      { tool: 'read_text_file', args: { path: '/etc/passwd' } },
      { tool: 'list_directory', args: { path: folder } },
    ],
  },
  {
    name: 'memory',
    args: [],
    calls: [
      {
        tool: 'create_entities',
        args: { entities: [{ name: 'a', entityType: 't', observations: ['o'] }] },
      },
      { tool: 'read_graph', args: {} },
    ],
  },
  {
    name: 'sequential-thinking',
    args: [],
    calls: [
      {
        tool: 'sequentialthinking',
        args: { thought: 't', nextThoughtNeeded: false, thoughtNumber: 1, totalThoughts: 1 },
      },
    ],
  },
]

let gateway: GatewayProcess
let memories = 0
/** Each run of the memory server has a file of its own, because results depend on its content. */
const environmentOf = (): Record<string, string> => ({
  MEMORY_FILE_PATH: join(folder, `memory-${(memories += 1)}.jsonl`),
})

beforeAll(async () => {
  gateway = await GatewayProcess.start()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

async function register(name: string, words: readonly string[]): Promise<URL> {
  const created = await gateway.api('POST', '/adapters', {
    name,
    imageName: 'mcp-proxy',
    imageVersion: '1.0.0',
    environmentVariables: {
      MCP_COMMAND: process.execPath,
      MCP_ARGS: quoted(words),
      ...environmentOf(),
    },
  })
  expect(created.status).toBe(201)
  return new URL(`${gateway.origin}/adapters/${name}/mcp`)
}

interface AnyClient {
  listTools(): Promise<unknown>
  callTool(params: { name: string; arguments: Record<string, unknown> }): Promise<unknown>
  getServerVersion(): unknown
  getServerCapabilities(): unknown
  close(): Promise<void>
}

/** Gives everything that a client sees of a server. */
async function see(client: AnyClient, calls: readonly Call[]): Promise<unknown> {
  const seen: unknown[] = [
    client.getServerVersion(),
    client.getServerCapabilities(),
    await client.listTools(),
  ]
  for (const { tool, args } of calls)
    seen.push(await client.callTool({ name: tool, arguments: args }))
  await client.close()
  return JSON.parse(JSON.stringify(seen))
}

const info = { name: 'e2e', version: '1.0.0' }

describe.each(servers)('server-$name', ({ name, args, calls }) => {
  test('official clients of both SDKs get the same through the gateway as directly', async () => {
    const words = [officialServer(name), ...args]
    const direct = new ClientV1(info)
    await direct.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: words,
        env: { ...process.env, ...environmentOf() } as Record<string, string>,
        stderr: 'ignore',
      }),
    )
    const expected = await see(direct as unknown as AnyClient, calls)

    const v1 = new ClientV1(info)
    await v1.connect(
      new HttpV1(await register(`${name}-v1`, words)) as Parameters<ClientV1['connect']>[0],
    )
    expect(await see(v1 as unknown as AnyClient, calls)).toEqual(expected)

    const v2 = new ClientV2(info)
    await v2.connect(new HttpV2(await register(`${name}-v2`, words)))
    expect(await see(v2 as unknown as AnyClient, calls)).toEqual(expected)
  })
})

describe('messages that servers send by themselves', () => {
  test('elicitation, sampling, progress and resource updates cross the gateway', async () => {
    const url = await register('everything-asks', [officialServer('everything'), 'stdio'])
    const client = new ClientV1(info, { capabilities: { elicitation: {}, sampling: {} } })
    client.setRequestHandler(ElicitRequestSchema, () => ({
      action: 'accept',
      content: { name: 'Ada', check: true },
    }))
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      model: 'test',
      role: 'assistant',
      content: { type: 'text', text: 'sampled answer' },
    }))
    let updates = 0
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => void (updates += 1))
    await client.connect(new HttpV1(url) as Parameters<ClientV1['connect']>[0])

    const tools = (await client.listTools()).tools.map(({ name }) => name)
    expect(tools).toContain('trigger-elicitation-request')

    const elicited = await client.callTool({ name: 'trigger-elicitation-request', arguments: {} })
    expect(JSON.stringify(elicited)).toContain('Ada')

    const sampled = await client.callTool({
      name: 'trigger-sampling-request',
      arguments: { prompt: 'p', maxTokens: 10 },
    })
    expect(JSON.stringify(sampled)).toContain('sampled answer')

    const progress: number[] = []
    await client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 1, steps: 4 } },
      undefined,
      {
        onprogress: ({ progress: at }) => void progress.push(at),
      },
    )
    expect(progress).toEqual([1, 2, 3, 4])

    const { resources } = await client.listResources()
    await client.subscribeResource({ uri: resources[0]?.uri ?? '' })
    await client.callTool({ name: 'toggle-subscriber-updates', arguments: {} })
    await expect.poll(() => updates).toBeGreaterThan(0)

    await client.close()
  })
})
