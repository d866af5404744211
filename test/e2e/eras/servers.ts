import { join } from 'node:path'
import { azureServer, officialServer, stdioFixtures, type Era } from '@mcp-gateway/testkit'

/** A behaviour of a client with a server. Every pair runs them in this order. */
export const behaviours = [
  'list tools',
  'call a tool',
  'read a resource',
  'get a prompt',
  'complete an argument',
  'elicit with a form',
  'elicit with a URL',
  'sample',
  'list roots',
  'hear of a resource update',
  'hear of a changed list',
  'log at a level',
  'progress',
  'cancel',
  'run a task',
] as const
export type Behaviour = (typeof behaviours)[number]

type Arguments = Readonly<Record<string, unknown>>

/** A call of a tool. */
export interface ToolCall {
  readonly tool: string
  readonly args: Arguments
}

/**
 * The parts of a server that show each behaviour. A server without an entry lacks the behaviour.
 */
export interface Offers {
  readonly 'call a tool': readonly ToolCall[]
  readonly 'read a resource'?: string
  readonly 'get a prompt'?: {
    readonly name: string
    readonly arguments: Readonly<Record<string, string>>
  }
  readonly 'complete an argument'?: {
    readonly prompt: string
    readonly name: string
    readonly value: string
  }
  readonly 'elicit with a form'?: ToolCall
  readonly 'elicit with a URL'?: ToolCall
  readonly sample?: ToolCall
  readonly 'list roots'?: ToolCall
  readonly 'hear of a resource update'?: {
    readonly uri: string
    readonly cause: ToolCall
    readonly undo?: ToolCall
  }
  readonly 'hear of a changed list'?: {
    readonly notification: string
    readonly cause: (client: string) => ToolCall
  }
  readonly 'log at a level'?: {
    readonly level: 'debug' | 'info'
    readonly cause: ToolCall
    readonly undo?: ToolCall
  }
  readonly progress?: ToolCall
  /**
   * A slow call that tells its progress first, and the server's report of the cancellation: in its
   * log, or on request.
   */
  readonly cancel?: {
    readonly call: (client: string) => ToolCall
    readonly heard: (client: string) => string
    readonly where: 'log' | ToolCall
  }
  readonly 'run a task'?: ToolCall
}

export interface Server {
  readonly name: string
  readonly title: string
  readonly era: Era
  readonly transport: 'stdio' | 'HTTP'
  readonly command: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly offers: Offers
}

/**
 * Says on standard error that the server has read a cancellation. No official server does. It
 * changes nothing else.
 */
const spy = `data:text/javascript,${encodeURIComponent(`
  import http from 'node:http'
  const watch = (stream) => {
    const { emit } = stream
    stream.emit = function (name, data) {
      if (name === 'data' && String(data).includes('notifications/cancelled'))
        console.error('heard a cancellation')
      return emit.apply(this, arguments)
    }
  }
  watch(process.stdin)
  const { emit } = http.Server.prototype
  http.Server.prototype.emit = function (name, request) {
    if (name === 'request') watch(request)
    return emit.apply(this, arguments)
  }
`)}`

const everything: Offers = {
  'call a tool': [
    { tool: 'echo', args: { message: 'Zoë 🦊' } },
    { tool: 'get-sum', args: { a: 2, b: 40 } },
    { tool: 'get-tiny-image', args: {} },
    { tool: 'get-structured-content', args: { location: 'New York' } },
    { tool: 'get-sum', args: { a: 'not a number', b: 1 } },
  ],
  'read a resource': 'demo://resource/static/document/architecture.md',
  'get a prompt': { name: 'args-prompt', arguments: { city: 'Lima' } },
  'complete an argument': { prompt: 'completable-prompt', name: 'department', value: 'S' },
  'elicit with a form': { tool: 'trigger-elicitation-request', args: {} },
  'elicit with a URL': {
    tool: 'trigger-url-elicitation',
    args: { url: 'https://example.com/sign-in', message: 'Sign in', elicitationId: 'e-1' },
  },
  sample: { tool: 'trigger-sampling-request', args: { prompt: 'p', maxTokens: 5 } },
  'list roots': { tool: 'get-roots-list', args: {} },
  'hear of a resource update': {
    uri: 'demo://resource/static/document/features.md',
    cause: { tool: 'toggle-subscriber-updates', args: {} },
    undo: { tool: 'toggle-subscriber-updates', args: {} },
  },
  'hear of a changed list': {
    notification: 'notifications/resources/list_changed',
    cause: (client) => ({
      tool: 'gzip-file-as-resource',
      args: { name: `${client}.gz`, data: 'data:text/plain,hello', outputType: 'resourceLink' },
    }),
  },
  'log at a level': {
    level: 'debug',
    cause: { tool: 'toggle-simulated-logging', args: {} },
    undo: { tool: 'toggle-simulated-logging', args: {} },
  },
  progress: { tool: 'trigger-long-running-operation', args: { duration: 0.4, steps: 4 } },
  cancel: {
    call: () => ({ tool: 'trigger-long-running-operation', args: { duration: 12, steps: 120 } }),
    heard: () => 'heard a cancellation',
    where: 'log',
  },
  'run a task': { tool: 'simulate-research-query', args: { topic: 'python', ambiguous: true } },
}

const fixture: Offers = {
  'call a tool': [
    { tool: 'test_simple_text', args: {} },
    { tool: 'test_multiple_content_types', args: {} },
    { tool: 'test_structured_content', args: { city: 'Lima' } },
    { tool: 'test_header_parameters', args: { region: 'Zürich', priority: 7, query: 'q' } },
    { tool: 'test_error_handling', args: {} },
  ],
  'read a resource': 'test://static-text',
  'get a prompt': { name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'b' } },
  'complete an argument': { prompt: 'test_prompt_with_arguments', name: 'arg1', value: 'p' },
  'elicit with a form': { tool: 'test_elicitation', args: { message: 'Who are you?' } },
  'elicit with a URL': { tool: 'test_elicitation_url', args: {} },
  sample: { tool: 'test_sampling', args: { prompt: 'p' } },
  'list roots': { tool: 'test_list_roots', args: {} },
  'hear of a resource update': {
    uri: 'test://watched-resource',
    cause: { tool: 'test_trigger_resource_update', args: { uri: 'test://watched-resource' } },
  },
  'hear of a changed list': {
    notification: 'notifications/tools/list_changed',
    cause: () => ({ tool: 'test_trigger_tool_change', args: {} }),
  },
  'log at a level': { level: 'info', cause: { tool: 'test_logging_tool', args: {} } },
  progress: { tool: 'test_tool_with_progress', args: {} },
  cancel: {
    call: (client) => ({
      tool: 'test_wait',
      args: { milliseconds: 20_000, label: `wait of ${client}` },
    }),
    heard: (client) => `wait of ${client}`,
    where: { tool: 'test_cancelled_calls', args: {} },
  },
}

const memory: Offers = {
  'call a tool': [{ tool: 'search_nodes', args: { query: 'nothing is called so' } }],
  'read a resource': 'memory://knowledge-graph',
  'hear of a resource update': {
    uri: 'memory://knowledge-graph',
    cause: {
      tool: 'create_entities',
      args: { entities: [{ name: 'a', entityType: 't', observations: ['o'] }] },
    },
    undo: { tool: 'delete_entities', args: { entityNames: ['a'] } },
  },
}

/** An official server on stdio. */
function official(
  name: Parameters<typeof officialServer>[0],
  args: readonly string[],
  offers: Offers,
): Server {
  return {
    name,
    title: `server-${name} (stdio)`,
    era: 'legacy',
    transport: 'stdio',
    command: [process.execPath, officialServer(name), ...args],
    environment: {},
    offers,
  }
}

function conformance(era: Era, transport: Server['transport']): Server {
  return {
    name: `fixture-${era}-${transport.toLowerCase()}`,
    title: `conformance fixture, ${era} (${transport})`,
    era,
    transport,
    command: [...stdioFixtures.conformance(era).slice(0, -1), transport.toLowerCase()],
    environment: {},
    offers: fixture,
  }
}

/**
 * Every server of the matrix. One of them serves the folder `files` in `folder`; clients name
 * `folder` as their root.
 */
export function serversIn(folder: string): readonly Server[] {
  const files = join(folder, 'files')

  return [
    {
      ...official('everything', [], everything),
      command: [process.execPath, '--import', spy, officialServer('everything'), 'stdio'],
    },
    {
      ...official('everything', [], everything),
      name: 'everything-http',
      title: 'server-everything (HTTP)',
      transport: 'HTTP',
      command: [process.execPath, '--import', spy, officialServer('everything'), 'streamableHttp'],
    },
    official('filesystem', [files], {
      'call a tool': [
        { tool: 'list_directory', args: { path: files } },
        { tool: 'read_text_file', args: { path: join(files, 'hello.txt') } },
        { tool: 'read_text_file', args: { path: join(files, 'none.txt') } },
      ],
      'list roots': { tool: 'list_allowed_directories', args: {} },
    }),
    {
      ...official('memory', [], memory),
      environment: { MEMORY_FILE_PATH: join(folder, 'memory.jsonl') },
    },
    official('sequential-thinking', [], {
      'call a tool': [
        {
          tool: 'sequentialthinking',
          args: { thought: 't', nextThoughtNeeded: false, thoughtNumber: 1, totalThoughts: 1 },
        },
      ],
    }),
    {
      ...official('sequential-thinking', [], {
        'call a tool': [{ tool: 'storage', args: { intent: 'list the accounts', learn: true } }],
      }),
      name: 'azure',
      title: '@azure/mcp (stdio)',
      command: [process.execPath, azureServer(), 'server', 'start'],
      environment: {
        AZURE_MCP_COLLECT_TELEMETRY: 'false',
        DOTNET_BUNDLE_EXTRACT_BASE_DIR: join(folder, 'dotnet'),
        HOME: folder,
      },
    },
    conformance('legacy', 'stdio'),
    conformance('legacy', 'HTTP'),
    conformance('modern', 'stdio'),
    conformance('modern', 'HTTP'),
    conformance('dual', 'stdio'),
    conformance('dual', 'HTTP'),
  ]
}
