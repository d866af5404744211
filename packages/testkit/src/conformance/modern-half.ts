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
  complete,
  identity,
  instructions,
  prompts,
  readResource,
  resources,
  resourceTemplates,
  tools,
  type Call,
  type Change,
  type Json,
  type Questions,
} from './catalogue.ts'

/** Makes servers of the modern era. All servers of one maker accept each other's request states. */
export function modernServers(): (
  announce: (server: McpServer, change: Change) => Promise<void>,
) => McpServer {
  const states = createRequestStateCodec<{ readonly state: unknown }>({
    key: randomBytes(32),
    bind: ({ mcpReq }) => mcpReq.method,
  })
  return (announce) => createModernServer(states, announce)
}

type States = ReturnType<typeof createRequestStateCodec<{ readonly state: unknown }>>

/**
 * One modern server (2026-07-28) over SDK v2, whose questions are `input_required` results. The SDK
 * can also serve legacy connections with it, and then sends the questions as requests.
 */
function createModernServer(
  states: States,
  announce: (server: McpServer, change: Change) => Promise<void>,
): McpServer {
  const watched = new Set<string>()
  const mcp = new McpServer(identity, {
    instructions,
    capabilities: {
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      completions: {},
      logging: {},
    },
    requestState: { verify: (state, context) => states.verify(state, context) },
  })

  const { server } = mcp

  const callOf = (context: ServerContext, args: Json | undefined): Call => ({
    arguments: args ?? {},
    clientCapabilities: declared(context) ?? { ...server.getClientCapabilities() },
    answers: context.mcpReq.inputResponses ?? {},
    state: context.mcpReq.requestState<{ readonly state: unknown }>()?.state,
    signal: context.mcpReq.signal,
    async progress(progress, total) {
      const progressToken = context.mcpReq._meta?.progressToken
      if (progressToken !== undefined)
        await context.mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total },
        })
    },
    log: (level, text) => context.mcpReq.log(level, text),
    closeStream: () => undefined,
    announce: async (change) => {
      if (
        change.kind === 'resource_updated' &&
        context.mcpReq.envelope === undefined &&
        !watched.has(change.uri)
      )
        return

      await announce(mcp, change)
    },
  })

  /** Runs one round of a body. Returns its result, or the questions for the client. */
  const round = async <Result extends object>(
    run: (call: Call) => Result | Questions | Promise<Result | Questions>,
    args: Json | undefined,
    context: ServerContext,
  ): Promise<Result | InputRequiredResult> => {
    const outcome = await questionsOrResult(run, callOf(context, args))
    if (!('questions' in outcome)) return outcome

    return inputRequired({
      inputRequests: outcome.questions as unknown as InputRequests,
      ...(outcome.state === undefined
        ? {}
        : { requestState: await states.mint({ state: outcome.state }, context) }),
    })
  }

  for (const { name, description, inputSchema, outputSchema, run } of tools)
    mcp.registerTool(
      name,
      {
        description,
        inputSchema: fromJsonSchema<Json>(inputSchema as JsonSchemaType),
        ...(outputSchema === undefined
          ? {}
          : { outputSchema: fromJsonSchema<Json>(outputSchema as JsonSchemaType) }),
      },
      async (args, context) =>
        (await round(run, args, context)) as CallToolResult | InputRequiredResult,
    )

  server.setRequestHandler('prompts/list', () => ({
    prompts: prompts.map(({ run: _run, ...prompt }) => ({
      ...prompt,
      arguments: [...prompt.arguments],
    })),
  }))

  server.setRequestHandler('prompts/get', async ({ params }, context) => {
    const prompt = prompts.find(({ name }) => name === params.name)
    if (prompt === undefined) throw new ProtocolError(-32602, `Unknown prompt: ${params.name}`)
    return (await round(prompt.run, params.arguments, context)) as unknown as
      | GetPromptResult
      | InputRequiredResult
  })

  server.setRequestHandler('resources/list', () => ({ resources: [...resources] }))
  server.setRequestHandler('resources/templates/list', () => ({
    resourceTemplates: [...resourceTemplates],
  }))
  server.setRequestHandler('resources/read', ({ params: { uri } }) => {
    const found = readResource(uri)
    if (found === undefined) throw new ResourceNotFoundError(uri)
    return found as { contents: [] }
  })
  server.setRequestHandler('completion/complete', ({ params }) => complete(params.argument.value))

  // These two handlers serve legacy connections only, which the SDK may have with this server.
  server.setRequestHandler('resources/subscribe', ({ params: { uri } }) => {
    watched.add(uri)
    return {}
  })
  server.setRequestHandler('resources/unsubscribe', ({ params: { uri } }) => {
    watched.delete(uri)
    return {}
  })

  return mcp
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
