import { randomUUID } from 'node:crypto'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
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
  ResultSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
  type CallToolResult,
  type GetPromptResult,
  type LoggingLevel,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js'
import {
  PagesFirst,
  capabilities,
  complete,
  identity,
  instructions,
  listedPrompts,
  listedTools,
  prompts,
  readResource,
  listedResources,
  resourceTemplates,
  tools,
  type Call,
  type Change,
  type Json,
  type Question,
  type Questions,
  type Tool,
} from './catalogue.ts'

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>

const levels: readonly LoggingLevel[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]
const resourceNotFound = -32002
const urlElicitationRequired = -32042
const maxRounds = 8

/** Publishes the changes of a server, and delivers those that other sessions cause. */
export interface Changes {
  publish(change: Change): void
  subscribe(listener: (change: Change) => void): () => void
}

/**
 * One session of a legacy server (2024-11-05 … 2025-11-25) over SDK v1. Questions are requests of
 * the server. Log level and subscriptions belong to the session.
 */
export function createLegacyServer(changes: Changes): Server {
  return new LegacySession(changes).server
}

class LegacySession {
  readonly server = new Server(identity, { instructions, capabilities })
  readonly #changes: Changes
  readonly #watched = new Set<string>()
  readonly #pagesShown = new Set<string>()
  #level: LoggingLevel = 'debug'

  constructor(changes: Changes) {
    this.#changes = changes
    this.server.onclose = changes.subscribe((change) => {
      // The client may have gone, and then no announcement is needed.
      void announce(this.server, this.#watched, change).catch(() => undefined)
    })

    this.#serveTools()
    this.#servePrompts()
    this.#serveResources()
    this.#serveSubscriptions()
    this.#serveSettings()
  }

  #serveTools(): void {
    this.server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: listedTools() }))

    this.server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
      const tool = tools.find(({ name }) => name === params.name)
      if (tool === undefined) throw new McpError(-32602, `Unknown tool: ${params.name}`)
      return this.#run(tool, this.#call(extra, params.arguments, tool.name), extra)
    })
  }

  async #run(tool: Tool, call: Call, extra: Extra): Promise<CallToolResult> {
    try {
      return (await untilAnswered(tool.run, call, extra)) as CallToolResult
    } catch (error) {
      if (error instanceof PagesFirst) {
        this.#pagesShown.add(tool.name)
        throw pagesFirst(error)
      }

      return {
        content: [{ type: 'text', text: error instanceof Error ? error.message : String(error) }],
        isError: true,
      }
    }
  }

  #servePrompts(): void {
    this.server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts: listedPrompts() }))

    this.server.setRequestHandler(GetPromptRequestSchema, async ({ params }, extra) => {
      const prompt = prompts.find(({ name }) => name === params.name)
      if (prompt === undefined) throw new McpError(-32602, `Unknown prompt: ${params.name}`)
      const call = this.#call(extra, params.arguments, prompt.name)
      return (await untilAnswered(prompt.run, call, extra)) as unknown as GetPromptResult
    })
  }

  #serveResources(): void {
    this.server.setRequestHandler(ListResourcesRequestSchema, () => ({
      resources: listedResources(),
    }))
    this.server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
      resourceTemplates: [...resourceTemplates],
    }))
    this.server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
      const found = readResource(uri)
      if (found === undefined) throw new McpError(resourceNotFound, 'Resource not found', { uri })
      return found as { contents: [] }
    })
  }

  #serveSubscriptions(): void {
    this.server.setRequestHandler(SubscribeRequestSchema, ({ params: { uri } }) => {
      this.#watched.add(uri)
      return {}
    })
    this.server.setRequestHandler(UnsubscribeRequestSchema, ({ params: { uri } }) => {
      this.#watched.delete(uri)
      return {}
    })
  }

  #serveSettings(): void {
    this.server.setRequestHandler(CompleteRequestSchema, ({ params }) =>
      complete(params.argument.value),
    )
    this.server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
      this.#level = params.level
      return {}
    })
  }

  #call(extra: Extra, args: Json | undefined, name: string): Call {
    return {
      arguments: args ?? {},
      clientCapabilities: { ...this.server.getClientCapabilities() },
      answers: this.#pagesShown.has(name) ? { consent: { action: 'accept' } } : {},
      state: undefined,
      signal: extra.signal,
      progress: async (progress, total) => {
        const progressToken = extra._meta?.progressToken
        if (progressToken === undefined) return
        const params = { progressToken, progress, total }
        await extra.sendNotification({ method: 'notifications/progress', params })
      },
      log: async (level, data) => {
        if (levels.indexOf(level) < levels.indexOf(this.#level)) return
        await extra.sendNotification({ method: 'notifications/message', params: { level, data } })
      },
      closeStream: () => extra.closeSSEStream?.(),
      announce: async (change) => this.#changes.publish(change),
    }
  }
}

/** Runs a body until there is a result, and asks the client its questions one by one in between. */
async function untilAnswered<Result extends object>(
  run: (call: Call) => Result | Questions | Promise<Result | Questions>,
  call: Call,
  extra: Extra,
): Promise<Result> {
  let round = call
  for (let rounds = 0; rounds < maxRounds; rounds += 1) {
    const outcome = await run(round)
    if (!('questions' in outcome)) return outcome

    const answers: Record<string, unknown> = {}
    for (const [key, question] of Object.entries(outcome.questions)) {
      assertDeclared(question, call.clientCapabilities)
      answers[key] = await extra.sendRequest(
        withElicitationId(question) as unknown as ServerRequest,
        ResultSchema,
      )
    }

    round = { ...call, answers, state: outcome.state }
  }

  throw new Error(`The client was asked ${maxRounds} times and gave no answer that makes sense`)
}

function assertDeclared({ method }: Question, capabilities: Json): void {
  const needed = {
    'elicitation/create': 'elicitation',
    'sampling/createMessage': 'sampling',
    'roots/list': 'roots',
  }[method]
  if (capabilities[needed] === undefined) throw new Error(`The client does not support ${needed}`)
}

/** In this era, a page for the user has an id. */
function withElicitationId(question: Question): Question {
  if (question.params['mode'] !== 'url') return question
  return { ...question, params: { ...question.params, elicitationId: randomUUID() } }
}

function pagesFirst(error: PagesFirst): McpError {
  const elicitations = Object.values(error.pages).map((page) => ({
    mode: 'url',
    elicitationId: randomUUID(),
    ...page,
  }))
  return new McpError(urlElicitationRequired, error.message, { elicitations })
}

async function announce(
  server: Server,
  watched: ReadonlySet<string>,
  change: Change,
): Promise<void> {
  switch (change.kind) {
    case 'tools_list_changed':
      return server.sendToolListChanged()
    case 'prompts_list_changed':
      return server.sendPromptListChanged()
    case 'resources_list_changed':
      return server.sendResourceListChanged()
    case 'resource_updated':
      if (watched.has(change.uri)) return server.sendResourceUpdated({ uri: change.uri })
  }
}
