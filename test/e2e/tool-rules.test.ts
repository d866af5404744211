import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayProcess, officialServer } from '@mcp-gateway/testkit'
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mcpgw-ruled-')))
writeFileSync(join(folder, 'hello.txt'), 'hello from a file')
let gateway: GatewayProcess
let address: URL

beforeAll(async () => {
  gateway = await GatewayProcess.start()
  const created = await gateway.api('POST', '/adapters', {
    name: 'files',
    imageName: 'mcp-proxy',
    imageVersion: '1.0.0',
    environmentVariables: {
      MCP_COMMAND: process.execPath,
      MCP_ARGS: `'${officialServer('filesystem')}' '${folder}'`,
    },
    toolRules: [
      { effect: 'deny', tools: 'read_media_file' },
      { effect: 'allow', tools: '*', annotations: { readOnlyHint: true } },
    ],
  })
  expect(created.status).toBe(201)
  address = new URL(`${gateway.origin}/adapters/files/mcp`)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

interface AnyClient {
  listTools(): Promise<{
    readonly tools: readonly {
      readonly name: string
      readonly annotations?: { readonly readOnlyHint?: boolean }
    }[]
  }>
  callTool(params: { name: string; arguments: Record<string, unknown> }): Promise<unknown>
  close(): Promise<void>
}

const info = { name: 'e2e', version: '1.0.0' }
const clients: Readonly<Record<string, () => Promise<AnyClient>>> = {
  'SDK 1, legacy': async () => {
    const client = new ClientV1(info)
    await client.connect(new HttpV1(address) as Parameters<ClientV1['connect']>[0])
    return client as unknown as AnyClient
  },
  'SDK 2, legacy': async () => {
    const client = new ClientV2(info, { versionNegotiation: { mode: 'legacy' } })
    await client.connect(new HttpV2(address))
    return client as unknown as AnyClient
  },
  'SDK 2, modern': async () => {
    const client = new ClientV2(info, { versionNegotiation: { mode: { pin: '2026-07-28' } } })
    await client.connect(new HttpV2(address))
    return client as unknown as AnyClient
  },
}

describe('a server of files whose rules let read alone', () => {
  test.each(Object.keys(clients))(
    'the official client of %s reads, and neither sees nor does anything else',
    async (which) => {
      const client = await (clients[which] as () => Promise<AnyClient>)()
      const { tools } = await client.listTools()
      const names = tools.map(({ name }) => name)
      expect(names).toContain('read_text_file')
      expect(
        tools.filter(
          ({ name, annotations }) =>
            annotations?.readOnlyHint !== true || name === 'read_media_file',
        ),
      ).toEqual([])
      const read = await client.callTool({
        name: 'read_text_file',
        arguments: { path: join(folder, 'hello.txt') },
      })
      expect(JSON.stringify(read)).toContain('hello from a file')
      const path = join(folder, 'written.txt')
      for (const name of ['write_file', 'WRITE_FILE', 'read_media_file', 'no_such_tool'])
        await expect(
          client.callTool({ name, arguments: { path, content: 'x' } }),
        ).rejects.toMatchObject({
          code: -32602,
          message: expect.stringContaining(`Unknown tool: ${name}`),
        })
      expect(existsSync(path)).toBe(false)
      await client.close()
    },
  )
})
