import { randomBytes } from 'node:crypto'
import {
  CLIENT_CAPABILITIES_META_KEY,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  McpServer,
  ResourceNotFoundError,
  ProtocolError,
  type CallToolResult,
  type GetPromptResult,
  type InputRequiredResult,
  type InputRequests,
  type JsonSchemaType,
  type ServerContext,
} from '@modelcontextprotocol/server'
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
  type Questions,
} from './catalogue.ts'

type Announce = (server: McpServer, change: Change) => Promise<void>

/** Makes servers of the modern era. All servers of one maker accept each other's request states. */
export function modernServers(): (announce: Announce) => McpServer {
  const states = createRequestStateCodec<{ readonly state: unknown }>({
    key: randomBytes(32),
    bind: ({ mcpReq }) => mcpReq.method,
  })
  return (announce) => new ModernServer(states, announce).mcp
}

type States = ReturnType<typeof createRequestStateCodec<{ readonly state: unknown }>>

/**
 * One modern server (2026-07-28) over SDK v2, whose questions are `input_required` results. The SDK
 * can also serve legacy connections with it, and then sends the questions as requests.
 */
class ModernServer {
  readonly mcp: McpServer
  readonly #states: States
  readonly #announce: Announce
  readonly #watched = new Set<string>()

  constructor(states: States, announce: Announce) {
    this.#states = states
    this.#announce = announce
    this.mcp = new McpServer(identity, {
      instructions,
      capabilities,
      requestState: { verify: (state, context) => states.verify(state, context) },
    })

    this.#serveTools()
    this.#servePrompts()
    this.#serveResources()
    this.#serveSubscriptions()
    this.mcp.server.setRequestHandler('completion/complete', ({ params }) =>
      complete(params.argument.value),
    )
  }

  #serveTools(): void {
    for (const { name, description, inputSchema, outputSchema, run } of tools)
      this.mcp.registerTool(
        name,
        {
          description,
          inputSchema: fromJsonSchema<Json>(inputSchema as JsonSchemaType),
          ...(outputSchema === undefined
            ? {}
            : { outputSchema: fromJsonSchema<Json>(outputSchema as JsonSchemaType) }),
        },
        async (args, context) =>
          (await this.#round(run, args, context)) as CallToolResult | InputRequiredResult,
      )

    this.mcp.server.setRequestHandler('tools/list', () => ({ tools: listedTools() }))
  }

  #servePrompts(): void {
    const { server } = this.mcp
    server.setRequestHandler('prompts/list', () => ({ prompts: listedPrompts() }))

    server.setRequestHandler('prompts/get', async ({ params }, context) => {
      const prompt = prompts.find(({ name }) => name === params.name)
      if (prompt === undefined) throw new ProtocolError(-32602, `Unknown prompt: ${params.name}`)
      return (await this.#round(prompt.run, params.arguments, context)) as unknown as
        | GetPromptResult
        | InputRequiredResult
    })
  }

  #serveResources(): void {
    const { server } = this.mcp
    server.setRequestHandler('resources/list', () => ({ resources: listedResources() }))
    server.setRequestHandler('resources/templates/list', () => ({
      resourceTemplates: [...resourceTemplates],
    }))
    server.setRequestHandler('resources/read', ({ params: { uri } }) => {
      const found = readResource(uri)
      if (found === undefined) throw new ResourceNotFoundError(uri)
      return found as { contents: [] }
    })
  }

  /** Only for legacy connections, which the SDK may have with this server. */
  #serveSubscriptions(): void {
    const { server } = this.mcp
    server.setRequestHandler('resources/subscribe', ({ params: { uri } }) => {
      this.#watched.add(uri)
      return {}
    })
    server.setRequestHandler('resources/unsubscribe', ({ params: { uri } }) => {
      this.#watched.delete(uri)
      return {}
    })
  }

  /** Runs one round of a body. Returns its result, or the questions for the client. */
  async #round<Result extends object>(
    run: (call: Call) => Result | Questions | Promise<Result | Questions>,
    args: Json | undefined,
    context: ServerContext,
  ): Promise<Result | InputRequiredResult> {
    const outcome = await questionsOrResult(run, this.#call(context, args))
    if (!('questions' in outcome)) return outcome

    return inputRequired({
      inputRequests: outcome.questions as unknown as InputRequests,
      ...(outcome.state === undefined
        ? {}
        : { requestState: await this.#states.mint({ state: outcome.state }, context) }),
    })
  }

  #call(context: ServerContext, args: Json | undefined): Call {
    const { mcpReq } = context
    return {
      arguments: args ?? {},
      clientCapabilities: declared(context) ?? { ...this.mcp.server.getClientCapabilities() },
      answers: mcpReq.inputResponses ?? {},
      state: mcpReq.requestState<{ readonly state: unknown }>()?.state,
      signal: mcpReq.signal,
      progress: async (progress, total) => {
        const progressToken = mcpReq._meta?.progressToken
        if (progressToken === undefined) return
        const params = { progressToken, progress, total }
        await mcpReq.notify({ method: 'notifications/progress', params })
      },
      log: (level, text) => mcpReq.log(level, text),
      closeStream: () => undefined,
      announce: async (change) => {
        const isWanted =
          change.kind !== 'resource_updated' ||
          mcpReq.envelope !== undefined ||
          this.#watched.has(change.uri)
        if (isWanted) await this.#announce(this.mcp, change)
      },
    }
  }
}

/** The capabilities that the client declares with each request in this era. */
function declared({ mcpReq }: ServerContext): Json | undefined {
  return (mcpReq.envelope as Record<string, Json> | undefined)?.[CLIENT_CAPABILITIES_META_KEY]
}

/** In this era, required pages are questions like any others. */
async function questionsOrResult<Result extends object>(
  run: (call: Call) => Result | Questions | Promise<Result | Questions>,
  call: Call,
): Promise<Result | Questions> {
  try {
    return await run(call)
  } catch (error) {
    if (error instanceof PagesFirst)
      return {
        questions: Object.fromEntries(
          Object.entries(error.pages).map(
            ([key, page]) =>
              [key, { method: 'elicitation/create', params: { mode: 'url', ...page } }] as const,
          ),
        ),
      }
    throw error
  }
}
