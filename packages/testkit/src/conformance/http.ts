import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  localhostHostValidation,
  localhostOriginValidation,
  toNodeHandler,
  toWebRequest,
  type NodeIncomingMessageLike,
} from '@modelcontextprotocol/node'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import {
  createMcpHandler,
  InMemoryServerEventBus,
  isLegacyRequest,
} from '@modelcontextprotocol/server'
import { createEventLog } from './event-log.ts'
import type { Era } from './fixture-process.ts'
import { createLegacyServer, type Changes } from './legacy-half.ts'
import { modernServers } from './modern-half.ts'

type Handler = (request: IncomingMessage, response: ServerResponse, body?: unknown) => Promise<void>

/** Milliseconds that a client should wait before it resumes a stream that was closed early. */
const retryMs = 100

/**
 * The streamable HTTP fixture at `/mcp`: sessions, streams and resumption for legacy clients,
 * stateless requests for modern ones. `guarded` servers refuse foreign `Host` and `Origin` headers.
 */
export function createHttpFixture(era: Era, guarded: boolean): Server {
  const changes = new InMemoryServerEventBus()
  const legacy = legacyHandler(changes)
  const modern = modernHandler(changes)
  const handle = { legacy, modern, dual: byEra(legacy, modern) }[era]
  const hostIsLocal = localhostHostValidation()
  const originIsLocal = localhostOriginValidation()
  return createServer((request, response) => {
    if (guarded && !(hostIsLocal(request, response) && originIsLocal(request, response))) return
    if (new URL(request.url ?? '/', 'http://localhost').pathname !== '/mcp')
      return void response.writeHead(404).end()
    handle(request, response).catch((error: unknown) => {
      console.error(error)
      response.destroy()
    })
  })
}

function legacyHandler(changes: Changes): Handler {
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  return async (request, response, body) => {
    const id = request.headers['mcp-session-id']
    if (id !== undefined) {
      const session = sessions.get(String(id))
      if (session === undefined) return refuse(response, 404, -32001, 'Session not found')
      return session.handleRequest(request, response, body)
    }

    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createEventLog(),
      retryInterval: retryMs,
      onsessioninitialized: (session) => void sessions.set(session, transport),
      onsessionclosed: (session) => void sessions.delete(session),
    })

    const server = createLegacyServer(changes)
    // The accessors of this class have wider types than the interface that it implements.
    await server.connect(transport as Parameters<typeof server.connect>[0])
    await transport.handleRequest(request, response, body)
    if (transport.sessionId === undefined) await server.close()
  }
}

function modernHandler(changes: InMemoryServerEventBus): Handler {
  const create = modernServers()
  const handler = createMcpHandler(
    () => create(async (_server, change) => changes.publish(change)),
    { legacy: 'reject', bus: changes },
  )
  const serve = toNodeHandler(handler)
  return (request, response, body) => serve(request as NodeIncomingMessageLike, response, body)
}

function byEra(legacy: Handler, modern: Handler): Handler {
  return async (request, response) => {
    if (request.method !== 'POST') return legacy(request, response)
    let body: unknown
    try {
      body = JSON.parse(await textOf(request))
    } catch {
      return refuse(response, 400, -32700, 'Parse error')
    }
    const half = (await isLegacyRequest(
      await toWebRequest(request as NodeIncomingMessageLike, body),
      body,
    ))
      ? legacy
      : modern
    return half(request, response, body)
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

function refuse(response: ServerResponse, status: number, code: number, message: string): void {
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ jsonrpc: '2.0', error: { code, message }, id: null }))
}
