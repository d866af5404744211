/** A modern member of the chaos tests, on the TypeScript SDK v2: `member2.mjs stdio|http`. */
import { createServer } from 'node:http'
import {
  createMcpHandler,
  fromJsonSchema,
  InMemoryServerEventBus,
  McpServer,
} from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { contents, onChange, uri, where } from './counter.mjs'

function create() {
  const mcp = new McpServer(
    { name: 'chaos2', version: '1' },
    { capabilities: { resources: { subscribe: true } } },
  )
  const inputSchema = fromJsonSchema({ type: 'object' })
  mcp.registerTool('where', { inputSchema, annotations: { readOnlyHint: true } }, where)
  mcp.registerResource('count', uri, {}, contents)
  return mcp
}

if (process.argv[2] === 'stdio')
  serveStdio(
    () => {
      const mcp = create()
      mcp.server.onclose = onChange(() => {
        void mcp.server.sendResourceUpdated({ uri }).catch(() => undefined)
      })
      return mcp
    },
    { legacy: 'reject' },
  )
else {
  const bus = new InMemoryServerEventBus()
  onChange(() => bus.publish({ kind: 'resource_updated', uri }))
  const handler = createMcpHandler(create, { bus, legacy: 'reject' })
  const serve = async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const answer = await handler.fetch(
      new Request(`http://${request.headers.host}${request.url}`, {
        method: request.method,
        headers: request.headers,
        signal: gone.signal,
        ...(request.method === 'POST' ? { body: Buffer.concat(chunks) } : {}),
      }),
    )
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).flushHeaders()
    for await (const chunk of answer.body ?? []) response.write(chunk)
    response.end()
  }
  createServer(
    (request, response) => void serve(request, response).catch(() => response.destroy()),
  ).listen(Number(process.env.PORT), process.env.HOST)
}
