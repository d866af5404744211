import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

/**
 * A fast streamable HTTP server for measuring a proxy in front. `echo` returns its arguments, other
 * tools misbehave by name, and `/score` is a plain HTTP service that returns its input. ECHO_TOOLS
 * is the length of its list.
 */
const {
  PORT = '3001',
  HOST = '127.0.0.1',
  MCPGW_REPLICA_NAME = 'direct',
  ECHO_TOOLS = '1',
} = process.env

const megabyte = Buffer.alloc(1024 * 1024, 'x')

interface Message {
  readonly id?: number | string
  readonly method?: string
  readonly params?: {
    readonly name?: string
    readonly arguments?: Readonly<Record<string, unknown>>
  }
}

/** A request with an id, and its open response. */
interface Call {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly message: Message
}

const http = createServer((request, response) => {
  if (request.method === 'DELETE') return void response.writeHead(200).end()
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    return
  }

  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString()
    if (request.url === '/score')
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(text)

    const message = JSON.parse(text) as Message
    if (message.id === undefined) return void response.writeHead(202).end()
    serve({ request, response, message })
  })
})

const text = (what: string): object => ({
  type: 'string',
  description: `The ${what} that the report is about, as it stands in the system of records.`,
})
const listed = [
  { name: 'echo', inputSchema: { type: 'object' } },
  ...Array.from({ length: Number(ECHO_TOOLS) - 1 }, (_, index) => ({
    name: `report_${index}`,
    title: `Report ${index}`,
    description:
      'Makes a report of one customer over a span of time, with totals by month and by ' +
      'product. Use it when somebody asks how a customer does.',
    inputSchema: {
      type: 'object',
      properties: {
        customer: text('customer'),
        region: text('region'),
        from: { ...text('first day'), pattern: String.raw`^\d{4}-\d{2}-\d{2}$` },
        until: { ...text('last day'), pattern: String.raw`^\d{4}-\d{2}-\d{2}$` },
      },
      required: ['customer', 'from', 'until'],
    },
    annotations: { readOnlyHint: true },
  })),
]

function serve(call: Call): void {
  const { method = '', params } = call.message
  switch (method) {
    case 'initialize':
      return initialize(call)
    case 'tools/list':
      return answer(call, { tools: listed })
    case 'tools/call':
      return (tools[params?.name ?? ''] ?? echo)(call)
    default:
      return answer(call, {})
  }
}

function answer(
  { response, message }: Call,
  result: unknown,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }))
  response.writeHead(200, {
    ...headers,
    'content-type': 'application/json',
    'content-length': body.length,
  })
  response.end(body)
}

function initialize(call: Call): void {
  const result = {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 'echo', version: '1.0.0' },
  }
  // The id names the replica, so that tests can see a session stay on its replica, even after a
  // restart.
  answer(call, result, { 'mcp-session-id': `${MCPGW_REPLICA_NAME}_${randomUUID()}` })
}

function echo(call: Call): void {
  const text = JSON.stringify(call.message.params?.arguments)
  answer(call, { content: [{ type: 'text', text }] })
}

/** The tools other than `echo`. */
const tools: Readonly<Record<string, (call: Call) => void>> = {
  where(call) {
    const { headers, url } = call.request
    answer(call, {
      content: [{ type: 'text', text: MCPGW_REPLICA_NAME }],
      structuredContent: {
        replica: MCPGW_REPLICA_NAME,
        session: headers['mcp-session-id'] ?? '',
        headers,
        url,
      },
    })
  },

  never: () => undefined,

  break: ({ request }) => void request.socket.destroy(),

  redirect({ response }) {
    const headers = { 'set-cookie': 'a=b', 'www-authenticate': 'Bearer' }
    response.writeHead(307, { location: 'http://127.0.0.1:1/', ...headers }).end()
  },

  big({ response, message }) {
    response.writeHead(200, { 'content-type': 'application/octet-stream' })
    let left = Number(message.params?.arguments?.['megabytes'])

    const write = (): void => {
      while (left > 0) {
        left -= 1
        if (!response.write(megabyte)) return void response.once('drain', write)
      }
      response.end()
    }
    write()
  },
}

http.listen(Number(PORT), HOST)
process.once('SIGTERM', () => process.exit(0))
