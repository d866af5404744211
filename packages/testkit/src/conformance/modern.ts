import type { Readable } from 'node:stream'
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  createMcpHandler,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  Server,
  type McpHttpHandler,
  type ServerContext,
} from '@modelcontextprotocol/server'
import { serveStdio, StdioServerTransport } from '@modelcontextprotocol/server/stdio'
import {
  capabilities,
  getPrompt,
  prompts,
  readResource,
  resources,
  resourceTemplates,
  serverInfo,
  tools,
  type Caller,
  type Question,
} from './content.ts'

/** Thrown out of a tool that has to ask before it can go on. */
class InputRequired extends Error {
  readonly questions: Readonly<Record<string, Question>>

  constructor(questions: Readonly<Record<string, Question>>) {
    super('input is required')
    this.questions = questions
  }
}

/** Answers of earlier rounds travel with the client, sealed. */
const key = randomBytes(32)
const mac = (text: string): string => createHmac('sha256', key).update(text).digest('base64url')
const seal = (answers: object): string => {
  const text = Buffer.from(JSON.stringify(answers)).toString('base64url')
  return `${text}.${mac(text)}`
}
function unseal(state: string): Record<string, Record<string, unknown>> {
  const [text = '', tag = ''] = state.split('.')
  const [given, wanted] = [Buffer.from(tag), Buffer.from(mac(text))]
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw new ProtocolError(-32602, 'The requestState is not ours.')
  return JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, Record<string, unknown>>
}

/** A server of 2026-07-28, with the official SDK v2. `changed` tells open listen streams. */
function modernServer(changed: (server: Server, list: 'tools' | 'prompts') => void): Server {
  const server = new Server(serverInfo, { capabilities })
  const run = async (context: ServerContext, work: (caller: Caller) => Promise<Record<string, unknown>>): Promise<never> => {
    const { mcpReq } = context
    const state = mcpReq.requestState<string>()
    const answers = { ...(state === undefined ? {} : unseal(state)), ...(mcpReq.inputResponses as Record<string, Record<string, unknown>>) }
    const envelope = (mcpReq.envelope ?? {}) as Record<string, unknown>
    const declared = (envelope['io.modelcontextprotocol/clientCapabilities'] ?? {}) as Record<string, unknown>
    const level = envelope['io.modelcontextprotocol/logLevel']
    const caller: Caller = {
      ask: async (questions) => {
        const missing = Object.entries(questions).filter(([name]) => typeof answers[name] !== 'object')
        if (missing.length > 0) throw new InputRequired(Object.fromEntries(missing))
        return answers
      },
      notify: async (method, params) => {
        // Without a level nothing of the log is asked for.
        if (method === 'notifications/message' && level === undefined) return
        await mcpReq.notify({ method, params } as never)
      },
      progressToken: mcpReq._meta?.progressToken,
      need: (capability) => {
        if (declared[capability] === undefined)
          throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { [capability]: {} } })
      },
      has: (capability) => declared[capability] !== undefined,
      changed: (list) => changed(server, list),
      breakOff: () => undefined,
    }
    try {
      return (await work(caller)) as never
    } catch (error) {
      if (!(error instanceof InputRequired)) throw error
      const inputRequests = Object.fromEntries(
        Object.entries(error.questions).map(([name, { method, params }]) => [
          name,
          { method, params: method === 'elicitation/create' ? { mode: 'form', ...params } : params },
        ]),
      )
      return { resultType: 'input_required', inputRequests, requestState: seal(answers) } as never
    }
  }
  const hints = { ttlMs: 1000, cacheScope: 'public' as const }
  server.setRequestHandler('tools/list', () => ({
    ...hints,
    tools: tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema: inputSchema as { type: 'object' } })),
  }))
  server.setRequestHandler('tools/call', ({ params }, context) => {
    const found = tools.find(({ name }) => name === params.name)
    if (found === undefined) throw new ProtocolError(-32602, `Unknown tool: ${params.name}`)
    return run(context, (caller) => found.run(caller, (params.arguments ?? {}) as Record<string, unknown>))
  })
  server.setRequestHandler('resources/list', () => ({ ...hints, resources }))
  server.setRequestHandler('resources/templates/list', () => ({ ...hints, resourceTemplates }))
  server.setRequestHandler('resources/read', ({ params: { uri } }) => {
    const contents = readResource(uri)
    if (contents === undefined) throw new ProtocolError(-32602, 'Resource not found', { uri })
    return { ...hints, contents } as never
  })
  server.setRequestHandler('prompts/list', () => ({ ...hints, prompts }))
  server.setRequestHandler('prompts/get', ({ params }, context) =>
    run(context, async (caller) => {
      const messages = await getPrompt(caller, params.name, params.arguments ?? {})
      if (messages === undefined) throw new ProtocolError(-32602, `Unknown prompt: ${params.name}`)
      return { messages }
    }),
  )
  server.setRequestHandler('completion/complete', () => ({ completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false } }))
  return server
}

export function modernHttp(): McpHttpHandler {
  const handler: McpHttpHandler = createMcpHandler(
    () => modernServer((_server, list) => (list === 'tools' ? handler.notify.toolsChanged() : handler.notify.promptsChanged())),
    { legacy: 'reject' },
  )
  return handler
}

export function serveModernStdio(input: Readable): void {
  serveStdio(
    () => modernServer((server, list) => void (list === 'tools' ? server.sendToolListChanged() : server.sendPromptListChanged())),
    { legacy: 'reject', transport: new StdioServerTransport(input) },
  )
}
