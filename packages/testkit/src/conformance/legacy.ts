import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StreamableHTTPServerTransport, type EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js'
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'
import { capabilities, getPrompt, prompts, readResource, resources, resourceTemplates, serverInfo, tools, type Caller } from './content.ts'

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>

/** A server of 2025-11-25 and before, with the official SDK v1. */
export function legacyServer(breakOff: (extra: Extra) => void = () => undefined): Server {
  const server = new Server(serverInfo, { capabilities })
  const callerOf = (extra: Extra): Caller => ({
    async ask(questions) {
      const answers: Record<string, Record<string, unknown>> = {}
      for (const [key, question] of Object.entries(questions))
        answers[key] = await extra.sendRequest(question as unknown as ServerRequest, z.record(z.string(), z.unknown()))
      return answers
    },
    notify: (method, params) => extra.sendNotification({ method, params } as unknown as ServerNotification),
    progressToken: extra._meta?.progressToken,
    need: (capability) => {
      if (server.getClientCapabilities()?.[capability] === undefined) throw new Error(`This needs a client with ${capability}.`)
    },
    has: (capability) => server.getClientCapabilities()?.[capability] !== undefined,
    changed: (list) => void (list === 'tools' ? server.sendToolListChanged() : server.sendPromptListChanged()),
    breakOff: () => breakOff(extra),
  })
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema: inputSchema as { type: 'object' } })),
  }))
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    const found = tools.find(({ name }) => name === params.name)
    if (found === undefined) throw new McpError(-32602, `Unknown tool: ${params.name}`)
    try {
      return await found.run(callerOf(extra), params.arguments ?? {})
    } catch (error) {
      return { content: [{ type: 'text', text: (error as Error).message }], isError: true }
    }
  })
  server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources }))
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates }))
  server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
    const contents = readResource(uri)
    if (contents === undefined) throw new McpError(-32002, 'Resource not found', { uri })
    return { contents } as never
  })
  server.setRequestHandler(SubscribeRequestSchema, () => ({}))
  server.setRequestHandler(UnsubscribeRequestSchema, () => ({}))
  server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts }))
  server.setRequestHandler(GetPromptRequestSchema, async ({ params }, extra) => {
    const messages = await getPrompt(callerOf(extra), params.name, params.arguments ?? {})
    if (messages === undefined) throw new McpError(-32602, `Unknown prompt: ${params.name}`)
    return { messages } as never
  })
  server.setRequestHandler(SetLevelRequestSchema, () => ({}))
  server.setRequestHandler(CompleteRequestSchema, () => ({ completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false } }))
  return server
}

export async function serveLegacyStdio(input: Readable): Promise<void> {
  await legacyServer().connect(new StdioServerTransport(input))
}

/** Streamable HTTP with sessions, resumable streams, and no check of Host or Origin, which is left to what stands before it. */
export function legacyHttp(): (request: IncomingMessage, response: ServerResponse, body?: unknown) => Promise<void> {
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  return async (request, response, body) => {
    const id = request.headers['mcp-session-id']
    const known = typeof id === 'string' ? sessions.get(id) : undefined
    if (known !== undefined) return known.handleRequest(request, response, body)
    if (id !== undefined) {
      response.writeHead(404, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }))
      return
    }
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (session) => void sessions.set(session, transport),
      onsessionclosed: (session) => void sessions.delete(session),
    })
    await legacyServer((extra) => transport.closeSSEStream(extra.requestId)).connect(transport as Parameters<Server['connect']>[0])
    await transport.handleRequest(request, response, body)
  }
}

/** Events of one session, for clients that come back. */
class Events implements EventStore {
  readonly #events: { readonly id: string; readonly stream: string; readonly message: Parameters<EventStore['storeEvent']>[1] }[] = []

  async storeEvent(stream: string, message: Parameters<EventStore['storeEvent']>[1]): Promise<string> {
    const id = `${this.#events.length}-${stream}`
    this.#events.push({ id, stream, message })
    return id
  }

  async replayEventsAfter(last: string, { send }: Parameters<EventStore['replayEventsAfter']>[1]): Promise<string> {
    const place = this.#events.findIndex(({ id }) => id === last)
    const stream = this.#events[place]?.stream ?? ''
    for (const event of this.#events.slice(place + 1))
      if (event.stream === stream && Object.keys(event.message).length > 0) await send(event.id, event.message)
    return stream
  }
}
