import { randomUUID } from 'node:crypto'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

/**
 * The client under test of the suites, in the era that the suite names. It does everything possible
 * at the server whose URL is its last argument; with GATEWAY, through an adapter of that gateway.
 */
const modern = process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] === '2026-07-28'
const server = process.argv.at(-1) ?? ''
const { GATEWAY: gateway } = process.env

async function throughGateway(origin: string): Promise<string> {
  const name = `c-${randomUUID().slice(0, 8)}`
  const created = await fetch(`${origin}/adapters`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name,
      imageName: 'mcp-proxy',
      imageVersion: '1',
      environmentVariables: { MCP_PROXY_URL: server },
    }),
  })
  if (created.status !== 201) throw new Error(await created.text())
  return `${origin}/adapters/${name}/mcp`
}

/** Makes the arguments that a schema asks for. */
function argumentsFor(
  schema: { properties?: Record<string, { type?: string; enum?: unknown[] }> } | undefined,
): Record<string, unknown> {
  const samples: Readonly<Record<string, unknown>> = {
    string: 'Zoë, plain',
    number: 5,
    integer: 3,
    boolean: true,
    object: {},
    array: [],
  }
  return Object.fromEntries(
    Object.entries(schema?.properties ?? {}).map(([name, { type = 'string', enum: choices }]) => [
      name,
      choices?.[0] ?? samples[type],
    ]),
  )
}

const attempt = async (work: () => Promise<unknown>): Promise<void> => {
  try {
    await work()
  } catch (error) {
    console.error((error as Error).message)
  }
}

const client = new Client(
  { name: 'conformance-client', version: '1.0.0' },
  {
    capabilities: { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} },
    versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
  },
)
client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: {} }))
await client.connect(
  new StreamableHTTPClientTransport(
    new URL(gateway === undefined ? server : await throughGateway(gateway)),
  ),
)
await attempt(async () => {
  for (const { name, inputSchema } of (await client.listTools()).tools)
    await attempt(() =>
      client.callTool({
        name,
        arguments: argumentsFor(inputSchema as Parameters<typeof argumentsFor>[0]),
      }),
    )
})
const { resources, prompts } = client.getServerCapabilities() ?? {}
if (resources !== undefined)
  await attempt(async () => {
    for (const { uri } of (await client.listResources()).resources)
      await attempt(() => client.readResource({ uri }))
  })
if (prompts !== undefined)
  await attempt(async () => {
    for (const { name } of (await client.listPrompts()).prompts)
      await attempt(() => client.getPrompt({ name }))
  })
await client.close()
process.exit(0)
