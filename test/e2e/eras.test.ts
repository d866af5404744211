import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { GatewayProcess, officialServer } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** Official clients that speak 2026-07-28 only, in front of official servers, which do not. */
let gateway: GatewayProcess
beforeAll(async () => {
  gateway = await GatewayProcess.start()
  await register('everything', [officialServer('everything'), 'stdio'])
})
afterAll(() => gateway[Symbol.asyncDispose]())

async function register(name: string, words: readonly string[]): Promise<void> {
  const { status } = await gateway.api('POST', '/adapters', {
    name,
    imageName: 'mcp-proxy',
    imageVersion: '1.0.0',
    environmentVariables: { MCP_COMMAND: process.execPath, MCP_ARGS: words.map((word) => `'${word}'`).join(' ') },
  })
  expect(status).toBe(201)
}

async function connect(name: string, capabilities = {}): Promise<Client> {
  const client = new Client({ name: 'modern', version: '1.0.0' }, { capabilities, versionNegotiation: { mode: { pin: '2026-07-28' } } })
  await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.origin}/adapters/${name}/mcp`)))
  return client
}

describe('a client pinned to 2026-07-28 and server-everything', () => {
  test('discover, list, call, read and get', async () => {
    const client = await connect('everything')
    expect(client.getProtocolEra()).toBe('modern')
    expect(client.getServerVersion()).toMatchObject({ name: expect.stringContaining('everything') })
    const { tools } = await client.listTools()
    expect(tools.map(({ name }) => name)).toContain('echo')
    expect(await client.callTool({ name: 'echo', arguments: { message: 'Zoë 🦊' } })).toMatchObject({ content: [{ text: 'Echo: Zoë 🦊' }] })
    const { resources } = await client.listResources()
    expect((await client.readResource({ uri: resources[0]?.uri ?? '' })).contents.length).toBeGreaterThan(0)
    const { prompts } = await client.listPrompts()
    expect(prompts.length).toBeGreaterThan(0)
    expect((await client.getPrompt({ name: 'simple-prompt' })).messages.length).toBeGreaterThan(0)
    await client.close()
  })

  test('elicit and sample, in one call after another', async () => {
    const client = await connect('everything', { elicitation: { form: {} }, sampling: {} })
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { name: 'Ada', check: true } }))
    client.setRequestHandler('sampling/createMessage', () => ({
      role: 'assistant',
      model: 'm',
      content: { type: 'text', text: 'sampled' },
    }))
    const { tools } = await client.listTools()
    const names = tools.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining(['trigger-elicitation-request', 'trigger-sampling-request']))
    const elicited = await client.callTool({ name: 'trigger-elicitation-request', arguments: {} })
    expect(JSON.stringify(elicited)).toContain('Ada')
    const sampled = await client.callTool({ name: 'trigger-sampling-request', arguments: { prompt: 'p', maxTokens: 5 } })
    expect(JSON.stringify(sampled)).toContain('sampled')
    await client.close()
  })

  test('hear progress on the stream of their call', async () => {
    const client = await connect('everything')
    const seen: number[] = []
    await client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 0.4, steps: 4 } },
      { onprogress: ({ progress }) => void seen.push(progress) },
    )
    expect(seen).toEqual([1, 2, 3, 4])
    await client.close()
  })
})
