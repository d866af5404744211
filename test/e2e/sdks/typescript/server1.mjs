/** The server of the matrix on version 1 of the TypeScript SDK: `server1.mjs stdio|http`. */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import {
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'
import { greeting, note, noteContents, question, text } from './surface.mjs'

function create() {
  const mcp = new McpServer(
    { name: 'typescript1', version: '1' },
    { capabilities: { logging: {}, resources: { subscribe: true } } },
  )
  const { server } = mcp
  const numbers = { a: z.number(), b: z.number() }
  mcp.registerTool('add', { inputSchema: numbers }, ({ a, b }) => text(a + b))
  mcp.registerTool('work', {}, async ({ _meta, sendNotification }) => {
    const progressToken = _meta?.progressToken
    for (const progress of [1, 2])
      if (progressToken !== undefined)
        await sendNotification({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 2 },
        })
    const params = { level: 'info', data: 'working' }
    await sendNotification({ method: 'notifications/message', params })
    // Clients of TypeScript drop messages that come in one piece with the answer.
    await sleep(50)
    return text('done')
  })
  mcp.registerTool('ask', {}, async ({ sendRequest }) => {
    const request = { method: 'elicitation/create', params: question }
    const answer = await sendRequest(request, z.looseObject({}))
    return text(`Hello ${answer.content?.name}`)
  })
  mcp.registerTool('change', {}, async () => {
    await server.sendResourceUpdated({ uri: note })
    return text('changed')
  })
  mcp.registerResource('note', note, {}, () => noteContents)
  mcp.registerPrompt('greet', { argsSchema: { name: z.string() } }, greeting)
  for (const schema of [SubscribeRequestSchema, UnsubscribeRequestSchema])
    server.setRequestHandler(schema, () => ({}))
  return mcp
}

if (process.argv[2] === 'stdio') await create().connect(new StdioServerTransport())
else {
  const sessions = new Map()
  const serve = async (request, response) => {
    const known = sessions.get(request.headers['mcp-session-id'])
    if (known !== undefined) return known.handleRequest(request, response)
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
