import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { type Era, GatewayProcess, quoted, stdioFixtures } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** The settings of operators about eras, over both transports of the server. */
let gateway: GatewayProcess
beforeAll(async () => {
  const images = Object.fromEntries(
    (['legacy', 'dual'] as const).map((era) => {
      const [node = '', program = ''] = stdioFixtures.conformance(era)
      return [`fixture-${era}`, { command: [node, program, '--era', era, '--transport', 'http'] }]
    }),
  )
  gateway = await GatewayProcess.start({ config: { runtime: { images } } })
})
afterAll(() => gateway[Symbol.asyncDispose]())

let count = 0
async function register(era: Era, transport: 'http' | 'stdio', fields: object): Promise<URL> {
  const name = `a-${(count += 1)}`
  const [command = '', ...words] = stdioFixtures.conformance(era)
  const program =
    transport === 'http'
      ? { imageName: `fixture-${era}` }
      : {
          imageName: 'mcp-proxy',
          environmentVariables: {
            MCP_COMMAND: command,
            MCP_ARGS: quoted(words),
          },
        }
  const created = await gateway.api('POST', '/adapters', {
    name,
    imageVersion: '1',
    ...program,
    ...fields,
  })
  expect(created).toMatchObject({ status: 201, body: fields })
  return new URL(`${gateway.origin}/adapters/${name}/mcp`)
}

async function connect(url: URL, mode: 'legacy' | 'auto' | { pin: string }): Promise<Client> {
  const client = new Client(
    { name: 't', version: '1' },
    { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
  )
  client.setRequestHandler('elicitation/create', () => ({
    action: 'accept',
    content: { name: 'Ada' },
  }))
  await client.connect(new StreamableHTTPClientTransport(url))
  return client
}

describe.each(['http', 'stdio'] as const)('an adapter over %s', (transport) => {
  test('eras: passthrough leaves a legacy server to legacy and `auto` clients', async () => {
    const url = await register('legacy', transport, { eras: 'passthrough' })
    await expect(connect(url, { pin: '2026-07-28' })).rejects.toThrow()
    for (const mode of ['auto', 'legacy'] as const) {
      const client = await connect(url, mode)
      expect(client.getProtocolEra()).toBe('legacy')
      expect((await client.listTools()).tools.length).toBeGreaterThan(10)
      await client.close()
    }
  })

  test('modern clients are served once the switch is taken back', async () => {
    const url = await register('legacy', transport, { eras: 'passthrough' })
    const name = url.pathname.split('/')[2] ?? ''
    expect((await gateway.api('PATCH', `/adapters/${name}`, { eras: 'auto' })).status).toBe(200)
    await gateway.untilStatus(
      name,
      ({ replicaStatus, observedGeneration }) =>
        replicaStatus === 'Healthy' && observedGeneration === 2,
    )
    const client = await connect(url, { pin: '2026-07-28' })
    expect((await client.listTools()).tools.length).toBeGreaterThan(10)
    await client.close()
  })

  test('legacyLeg: translate asks legacy clients the questions of the modern side', async () => {
    const client = await connect(
      await register('dual', transport, { legacyLeg: 'translate' }),
      'legacy',
    )
    expect(client.getProtocolEra()).toBe('legacy')
    const answer = await client.callTool({
      name: 'test_input_required_result_elicitation',
      arguments: {},
    })
    expect(JSON.stringify(answer)).toContain('Ada')
    await client.close()
  })
})
