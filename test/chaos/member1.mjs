/** A legacy member of the chaos tests, on the TypeScript SDK v1: `member1.mjs stdio|http`. */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import {
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { contents, onChange, uri, where } from './counter.mjs'

function create() {
  const mcp = new McpServer(
    { name: 'chaos1', version: '1' },
    { capabilities: { resources: { subscribe: true } } },
  )
  const { server } = mcp
  mcp.registerTool('where', { annotations: { readOnlyHint: true } }, where)
  mcp.registerResource('count', uri, {}, contents)
  let isWatched = false
  server.setRequestHandler(SubscribeRequestSchema, () => {
    isWatched = true
    return {}
  })
  server.setRequestHandler(UnsubscribeRequestSchema, () => {
    isWatched = false
    return {}
  })
  server.onclose = onChange(() => {
    // The client may have gone.
    if (isWatched) void server.sendResourceUpdated({ uri }).catch(() => undefined)
  })
  return mcp
}

if (process.argv[2] === 'stdio') await create().connect(new StdioServerTransport())
else {
  const sessions = new Map()
  const serve = async (request, response) => {
    const id = request.headers['mcp-session-id']
    const known = sessions.get(id)
    if (known !== undefined) return known.handleRequest(request, response)
    if (id !== undefined) return response.writeHead(404).end()
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    })
    await create().connect(transport)
    await transport.handleRequest(request, response)
  }
  createServer((request, response) => void serve(request, response)).listen(
    Number(process.env.PORT),
    process.env.HOST,
  )
}
