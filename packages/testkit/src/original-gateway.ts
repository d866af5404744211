import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { NodeIncomingMessageLike } from '@modelcontextprotocol/node'
import type * as Sdk from '@modelcontextprotocol/server'

/** The protocol version that the next major of microsoft/mcp-gateway demands. */
const version = '2026-07-28'

export interface OriginalGateway extends AsyncDisposable {
  readonly url: string
  /** HTTP method and JSON-RPC method of each request, in order. */
  readonly seen: readonly string[]
}

/**
 * Imitates `McpEndpointMiddleware` and `McpProtocolMiddleware` of microsoft/mcp-gateway's next
 * major. SDK tools: `add`, whose `a` is also a header, and `change`, which announces changes.
 */
export async function openOriginalGateway(): Promise<OriginalGateway> {
  // Most tests with this kit do not need the SDK.
  const { toNodeHandler } = await import('@modelcontextprotocol/node')
  const sdk = await import('@modelcontextprotocol/server')
  const bus = new sdk.InMemoryServerEventBus()
  const handler = sdk.createMcpHandler(() => tools(sdk, bus), { legacy: 'reject', bus })
  const serve = toNodeHandler(handler)
  const seen: string[] = []
  const server = createServer((request, response) => {
    void answer(request, response).catch(() => response.destroy())
  })

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    seen.push(`${request.method} ${/"method":"([^"]+)"/.exec(text)?.[1] ?? ''}`.trim())

    const refusal = refusalOf(request, text)
    if (refusal === undefined)
      return serve(request as NodeIncomingMessageLike, response, JSON.parse(text))

    const [status, error] = refusal
    if (error === undefined) return void response.writeHead(status, { allow: 'POST' }).end()

    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id: null, error }))
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/adapters/theirs/mcp`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface RpcError {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

function refusalOf(
  { method, headers }: IncomingMessage,
  text: string,
): readonly [number, RpcError?] | undefined {
  const refuse = (code: number, message: string, status = 400, data: unknown = null) =>
    [status, { code, message, data }] as const
  if (method !== 'POST') return [405]

  const named = headers['mcp-protocol-version']
  if (named === undefined)
    return refuse(-32020, 'A single MCP-Protocol-Version header is required.')
  if (named !== version)
    return refuse(-32022, 'This gateway requires MCP 2026-07-28.', 400, {
      supported: [version],
      requested: named,
    })

  const rpc = headers['mcp-method']
  if (rpc === undefined) return refuse(-32020, 'A single Mcp-Method header is required.')
  if (rpc === 'initialize' || rpc === 'notifications/initialized')
    return refuse(-32601, 'Legacy initialization is not supported by MCP 2026-07-28.')

  const accept = headers.accept ?? ''
  if (!accept.includes('application/json') || !accept.includes('text/event-stream'))
    return refuse(-32020, 'Accept must include application/json and text/event-stream.', 406)

  const hasName = ['tools/call', 'resources/read', 'prompts/get'].includes(String(rpc))
  if (hasName && headers['mcp-name'] === undefined)
    return refuse(-32020, 'A single Mcp-Name header is required for this method.')
  if (!/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? ''))
    return refuse(-32600, 'Content-Type must be application/json.', 415)

  const message = JSON.parse(text) as {
    method?: string
    params?: { _meta?: Readonly<Record<string, unknown>> }
  }
  if (message.method !== rpc) return refuse(-32020, 'Mcp-Method must match the JSON-RPC method.')

  const meta = message.params?._meta
  if (
    typeof meta?.['io.modelcontextprotocol/protocolVersion'] !== 'string' ||
    typeof meta['io.modelcontextprotocol/clientCapabilities'] !== 'object'
  )
    return refuse(-32020, 'params._meta must include a protocol version and capabilities.')
  if (meta['io.modelcontextprotocol/protocolVersion'] !== named)
    return refuse(-32020, 'MCP-Protocol-Version must match the protocol version in params._meta.')

  return undefined
}

function tools(
  { fromJsonSchema, McpServer }: typeof Sdk,
  bus: Sdk.InMemoryServerEventBus,
): Sdk.McpServer {
  const mcp = new McpServer(
    { name: 'theirs', version: '1' },
    { capabilities: { tools: { listChanged: true } } },
  )

  mcp.registerTool(
    'add',
    {
      description: 'adds',
      inputSchema: fromJsonSchema<{ a: number; b: number }>({
        type: 'object',
        properties: { a: { type: 'integer', 'x-mcp-header': 'A' }, b: { type: 'integer' } },
        required: ['a', 'b'],
      } as Sdk.JsonSchemaType),
    },
    ({ a, b }) => ({ content: [{ type: 'text', text: String(a + b) }] }),
  )

  mcp.registerTool('change', { description: 'tells of a change' }, () => {
    bus.publish({ kind: 'tools_list_changed' })
    return { content: [{ type: 'text', text: 'told' }] }
  })

  return mcp
}
