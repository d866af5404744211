import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import type { ServerStatus } from '@mcp-gateway/contract'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'
import { modern, type RpcAnswer } from '../fixtures/mcp-requests.ts'

const lying = fileURLToPath(new URL('../fixtures/lying-server.js', import.meta.url))
const listing = fileURLToPath(new URL('../fixtures/listing-server.js', import.meta.url))
const json = { 'content-type': 'application/json' }
let gateway: TestGateway

beforeAll(async () => {
  gateway = await TestGateway.open({
    runtime: {
      images: {
        lying: { command: [process.execPath, lying] },
        listing: { command: [process.execPath, listing, '/dev/null'] },
      },
    },
  })
})
afterAll(() => gateway[Symbol.asyncDispose]())

/** A virtual server of a member that lies and an honest one. */
async function beside(lie: string) {
  const [liar, honest] = await Promise.all([
    gateway.register({ imageName: 'lying', environmentVariables: { LIE: lie } }),
    gateway.register({ imageName: 'listing', environmentVariables: { SPEAKS: 'modern' } }),
  ])
  const name = `v${randomUUID().slice(0, 8)}`
  const members = [
    { adapter: liar, alias: 'liar', questions: { elicitation: true } },
    { adapter: honest, alias: 'honest' },
  ]
  const body = JSON.stringify({ members })
  const made = await gateway.send(`/servers/${name}`, { method: 'PUT', headers: json, body })
  expect(made.status).toBe(201)

  const path = `/servers/${name}/mcp`
  const ask = (method: string, params = {}, meta = {}): Promise<RpcAnswer> =>
    modern(gateway, method, params, { path, meta })
  const names = async (): Promise<readonly string[]> => {
    const { message } = await ask('tools/list')
    return (message.result as { tools: { name: string }[] }).tools.map((tool) => tool.name)
  }
  const call = (tool: string): Promise<RpcAnswer> =>
    ask('tools/call', { name: tool, arguments: {} })
  /** The status of the member that lies. */
  const status = async (): Promise<ServerStatus['members'][number]> => {
    const answer = await gateway.send(`/servers/${name}/status`, { method: 'GET' })
    const { members: known } = JSON.parse(answer.body.toString()) as ServerStatus
    const found = known.find(({ alias }) => alias === 'liar')
    if (found === undefined) throw new Error('The status has no such member.')
    return found
  }

  const honestWorks = async (): Promise<void> => {
    await expect.poll(names).toContain('honest_get_time')
    const answer = await call('honest_get_time')
    expect(JSON.stringify(answer.message.result)).toContain('did get_time')
  }
  await honestWorks()
  return { ask, call, honestWorks, names, path, status }
}

const named = (names: readonly string[], alias: string): readonly string[] =>
  names.filter((name) => name.startsWith(`${alias}_`))

describe('a member that lies', () => {
  test('a member whose cursors go in a circle keeps the pages until then', async () => {
    const { names, status } = await beside('endless')
    await expect.poll(async () => named(await names(), 'liar')).toHaveLength(4)
    const { mistakes, state } = await status()
    expect([state, mistakes]).toEqual(['Degraded', [expect.stringContaining('a cursor again')]])
  })

  test('a member with a list of 50 MB is told so in its status, and has no tools', async () => {
    const { honestWorks, names, status } = await beside('huge')
    await expect.poll(async () => (await status()).state, { timeout: 20_000 }).not.toBe('Starting')
    const { mistakes } = await status()
    expect(mistakes).toEqual([expect.stringContaining('8 MiB. The rest is left out.')])
    expect(named(await names(), 'liar')).toEqual([])
    await honestWorks()
  })

  test('items that no client could read are left out, and the status names them', async () => {
    const { names, status } = await beside('items')
    await expect.poll(async () => named(await names(), 'liar')).toEqual(['liar_oddly', 'liar_run'])
    const { mistakes } = await status()
    expect(mistakes).toEqual([
      '"run" is listed twice. The first counts.',
      expect.stringContaining('is longer than 256 characters'),
      expect.stringContaining('contains control characters'),
      'The inputSchema of "schemaless" is no schema of an object.',
      'The part annotations of "oddly" breaks the protocol, and is left out.',
      '2 more mistakes are not shown.',
    ])
  })

  test('a member that floods notices is seldom read, and holds up nobody', async () => {
    const { call, honestWorks } = await beside('flood')
    const reads = async (): Promise<number> => {
      const { content } = (await call('liar_run')).message.result as { content: { text: string }[] }
      return Number(content[0]?.text)
    }
    const before = await reads()
    for (const end = Date.now() + 3000; Date.now() < end;) await honestWorks()
    expect((await reads()) - before).toBeLessThan(8)
  })

  test('a member that asks without end is given up for a legacy client', async () => {
    const { honestWorks, path } = await beside('questions')
    const client = new Client({ name: 'c', version: '1' }, { capabilities: { elicitation: {} } })
    let asked = 0
    client.setRequestHandler(ElicitRequestSchema, () => {
      asked += 1
      return { action: 'accept', content: {} }
    })
    await client.connect(new StreamableHTTPClientTransport(new URL(path, gateway.origin)))
    try {
      const told = await client.callTool({ name: 'liar_run' }).then(
        (result) => JSON.stringify(result),
        (error: unknown) => String(error),
      )
      expect(told).toContain('asked for input 10 times, which is the limit')
      expect(asked).toBe(10)
      await honestWorks()
    } finally {
      await client.close()
    }
  })

  test('a modern client is asked once for each of its calls, under the name of the member', async () => {
    const { ask, honestWorks } = await beside('questions')
    let given = {}
    for (let round = 0; round < 5; round += 1) {
      const { message } = await ask(
        'tools/call',
        { name: 'liar_run', arguments: {}, ...given },
        { 'io.modelcontextprotocol/clientCapabilities': { elicitation: { form: {} } } },
      )
      expect(message.result).toMatchObject({ resultType: 'input_required' })
      const inputResponses = { q: { action: 'accept', content: {} } }
      given = { inputResponses, requestState: message.result?.['requestState'] }
    }
    await honestWorks()
  })

  test('a member that answers another request fails this call alone', async () => {
    const { call, honestWorks } = await beside('another')
    const [lied] = await Promise.all([call('liar_run'), honestWorks(), honestWorks()])
    expect(lied.message.result).toMatchObject({ isError: true })
  })
})
