/** The server of the matrix on version 2 of the TypeScript SDK: `server2.mjs stdio|http`. */
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  acceptedContent,
  createMcpHandler,
  fromJsonSchema,
  InMemoryServerEventBus,
  inputRequired,
  McpServer,
} from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { greeting, note, noteContents, question, text } from './surface.mjs'

const bus = new InMemoryServerEventBus()

function create(changed) {
  const mcp = new McpServer(
    { name: 'typescript2', version: '1' },
    { capabilities: { logging: {}, resources: { subscribe: true } } },
  )
  const { server } = mcp
  const schema = (properties) => fromJsonSchema({ type: 'object', properties })
  const number = { type: 'number' }
  mcp.registerTool('add', { inputSchema: schema({ a: number, b: number }) }, ({ a, b }) =>
    text(a + b),
  )
  mcp.registerTool('work', { inputSchema: schema({}) }, async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken
    for (const progress of [1, 2])
      if (progressToken !== undefined)
        await mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 2 },
        })
    await mcpReq.log('info', 'working')
    // Clients of TypeScript drop messages that come in one piece with the answer.
    await sleep(50)
    return text('done')
  })
  mcp.registerTool('ask', { inputSchema: schema({}) }, (_, { mcpReq }) => {
    const answer = acceptedContent(mcpReq.inputResponses, 'who')
    if (answer !== undefined) return text(`Hello ${String(answer.name)}`)
    return inputRequired({ inputRequests: { who: inputRequired.elicit(question) } })
  })
  mcp.registerTool('change', { inputSchema: schema({}) }, async () => {
    await changed(server)
    return text('changed')
  })
  mcp.registerResource('note', note, {}, () => noteContents)
  mcp.registerPrompt('greet', { argsSchema: schema({ name: { type: 'string' } }) }, greeting)
  for (const method of ['resources/subscribe', 'resources/unsubscribe'])
    server.setRequestHandler(method, () => ({}))
  return mcp
}

if (process.argv[2] === 'stdio')
  serveStdio(() => create((server) => server.sendResourceUpdated({ uri: note })))
else {
  // Its legacy side is stateless, which is the default.
  const changed = () => bus.publish({ kind: 'resource_updated', uri: note })
  const handler = createMcpHandler(() => create(changed), { bus })
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
  createServer((request, response) => void serve(request, response)).listen(
    Number(process.env.PORT),
    process.env.HOST,
  )
}
