import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { hostname } from 'node:os'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { z } from 'zod'

const { PORT = '8000', HOST = '0.0.0.0', MCPGW_REPLICA_NAME = hostname() } = process.env

/** One server a session, as the SDK wants it. */
function createMcpServer(): McpServer {
  const server = new McpServer({ name: 'mcp-example', version: '1.0.0' })
  server.registerTool(
    'add',
    { description: 'Add two numbers', inputSchema: { a: z.number(), b: z.number() } },
    ({ a, b }) => ({
      content: [{ type: 'text', text: String(a + b) }],
    }),
  )
  server.registerTool('where_am_i', { description: 'The replica that answers' }, () => ({
    content: [{ type: 'text', text: MCPGW_REPLICA_NAME }],
  }))
  return server
}

const sessions = new Map<string, StreamableHTTPServerTransport>()

const http = createServer(async (request, response) => {
  const sessionId = request.headers['mcp-session-id']
  let transport = typeof sessionId === 'string' ? sessions.get(sessionId) : undefined
  if (request.url !== '/mcp' || (transport === undefined && sessionId !== undefined)) {
    response.writeHead(404, { 'content-type': 'application/json' })
    response.end(
      '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}',
    )
    return
  }

  if (transport === undefined) {
    const opened = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void sessions.set(id, opened),
    })

    opened.onclose = () => sessions.delete(opened.sessionId ?? '')
    await createMcpServer().connect(opened as Parameters<McpServer['connect']>[0])
    transport = opened
  }

  await transport.handleRequest(request, response)
})

http.listen(Number(PORT), HOST, () => console.log(`mcp-example listens on ${HOST}:${PORT}`))
process.once('SIGTERM', () => process.exit(0))
