import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport as StdioV1 } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import type { Behaviour, Offers, ToolCall } from './servers.ts'

/** Where a client connects: to a URL, or to a program on stdio. */
export type Target =
  | { readonly url: string }
  | { readonly command: readonly string[]; readonly environment: Readonly<Record<string, string>> }

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: number) => void
  /** The call requires a task. */
  readonly task?: boolean
  /** The client wants log messages from this level on. */
  readonly logLevel?: 'debug' | 'info'
}

/** A connected client of any make. */
export interface Peer {
  /** The era of this connection. */
  readonly era: 'legacy' | 'modern'
  /** The server's own description when the client connected. */
  readonly server: unknown
  /** The questions of the server. */
  readonly asked: string[]
  readonly updates: string[]
  readonly changes: string[]
  readonly logs: string[]
  /** Gives the standard error of a server that the client started. */
  readonly stderr: () => string
  listTools(): Promise<unknown>
  call(call: ToolCall, options?: CallOptions): Promise<unknown>
  read(uri: string): Promise<unknown>
  prompt(prompt: NonNullable<Offers['get a prompt']>): Promise<unknown>
  complete(argument: NonNullable<Offers['complete an argument']>): Promise<unknown>
  /** Asks for news of changed lists and of these resources. */
  watch(uris: readonly string[]): Promise<void>
  close(): Promise<void>
}

/** A kind of client: one column of the matrix. */
export interface ClientKind {
  readonly name: string
  readonly title: string
  readonly eras: 'legacy' | 'modern' | 'auto'
  /** Undefined means all behaviours. */
  readonly does?: ReadonlySet<Behaviour>
  connect(target: Target, roots: string): Promise<Peer>
}

const info = { name: 'matrix', version: '1.0.0' }
const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} }
const logLevelKey = 'io.modelcontextprotocol/logLevel'

/** The answers of every client's user, by kind of question. */
const answers = {
  elicit: (mode: unknown): { action: 'accept'; content?: Record<string, string | boolean> } =>
    mode === 'url'
      ? { action: 'accept' }
      : {
          action: 'accept',
          content: {
            name: 'Ada',
            check: true,
            username: 'ada',
            email: 'ada@example.com',
            interpretation: 'snake',
          },
        },
  sample: {
    role: 'assistant' as const,
    model: 'm',
    content: { type: 'text' as const, text: 'sampled' },
  },
  roots: (folder: string) => ({ roots: [{ uri: pathToFileURL(folder).href, name: 'files' }] }),
}

interface Heard {
  readonly asked: string[]
  readonly updates: string[]
  readonly changes: string[]
  readonly logs: string[]
}
const nothingHeard = (): Heard => ({ asked: [], updates: [], changes: [], logs: [] })
const logLine = (level: string, data: unknown): string => `${level}: ${String(data)}`

/** Collects the items of a stream while it lasts. */
function collected(
  stream: { on(event: 'data', listener: (chunk: unknown) => void): unknown } | null,
): () => string {
  let text = ''
  stream?.on('data', (chunk: unknown) => (text += String(chunk)))
  return () => text
}

const inherited = (environment: Readonly<Record<string, string>>): Record<string, string> => ({
  ...(process.env as Record<string, string>),
  ...environment,
})

/** Answers the questions of the server, and notes them and its notifications. */
function listenV1(client: ClientV1, heard: Heard, folder: string): void {
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    heard.asked.push(`elicitation ${params.mode ?? 'form'}`)
    return answers.elicit(params.mode)
  })
  client.setRequestHandler(CreateMessageRequestSchema, () => {
    heard.asked.push('sampling')
    return answers.sample
  })
  client.setRequestHandler(ListRootsRequestSchema, () => {
    heard.asked.push('roots')
    return answers.roots(folder)
  })
  client.setNotificationHandler(
    ResourceUpdatedNotificationSchema,
    ({ params }) => void heard.updates.push(params.uri),
  )
  client.setNotificationHandler(
    LoggingMessageNotificationSchema,
    ({ params }) => void heard.logs.push(logLine(params.level, params.data)),
  )
  for (const schema of [
    ToolListChangedNotificationSchema,
    PromptListChangedNotificationSchema,
    ResourceListChangedNotificationSchema,
  ] as const)
    client.setNotificationHandler(schema, ({ method }) => void heard.changes.push(method))
}

/** Connects the client. Gives the standard error of a server that it starts. */
async function reachV1(client: ClientV1, target: Target): Promise<() => string> {
  if ('url' in target) {
    await client.connect(new HttpV1(new URL(target.url)) as Parameters<ClientV1['connect']>[0])
    return () => ''
  }

  const [command = '', ...args] = target.command
  const env = inherited(target.environment)
  const transport = new StdioV1({ command, args, env, stderr: 'pipe' })
  const stderr = collected(transport.stderr)
  await client.connect(transport)
  return stderr
}

async function connectV1(target: Target, folder: string): Promise<Peer> {
  const client = new ClientV1(info, { capabilities })
  const heard = nothingHeard()
  listenV1(client, heard, folder)
  const stderr = await reachV1(client, target)

  return {
    ...heard,
    era: 'legacy',
    server: [client.getServerVersion(), client.getInstructions()],
    stderr,
    listTools: () => client.listTools(),
    async call({ tool, args }, { signal, onProgress, task, logLevel } = {}) {
      const options = {
        ...(signal === undefined ? {} : { signal }),
        ...(onProgress === undefined
          ? {}
          : { onprogress: ({ progress }: { progress: number }) => onProgress(progress) }),
      }
      if (logLevel !== undefined) await client.setLoggingLevel(logLevel)
      const params = { name: tool, arguments: { ...args } }
      if (task !== true) return client.callTool(params, undefined, options)
      for await (const message of client.experimental.tasks.callToolStream(
        params,
        CallToolResultSchema,
        {
          ...options,
          task: { ttl: 60_000 },
        },
      )) {
        if (message.type === 'result') return message.result
        if (message.type === 'error') throw message.error
      }
      throw new Error('The task ended without a result')
    },
    read: (uri) => client.readResource({ uri }),
    prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: { ...args } }),
    complete: ({ prompt, name, value }) =>
      client.complete({ ref: { type: 'ref/prompt', name: prompt }, argument: { name, value } }),
    async watch(uris) {
      for (const uri of uris) await client.subscribeResource({ uri })
    },
    close: () => client.close(),
  }
}

function listenV2(client: ClientV2, heard: Heard, folder: string): void {
  client.setRequestHandler('elicitation/create', ({ params }) => {
    heard.asked.push(`elicitation ${params.mode ?? 'form'}`)
    return answers.elicit(params.mode)
  })
  client.setRequestHandler('sampling/createMessage', () => {
    heard.asked.push('sampling')
    return answers.sample
  })
  client.setRequestHandler('roots/list', () => {
    heard.asked.push('roots')
    return answers.roots(folder)
  })
  client.setNotificationHandler(
    'notifications/resources/updated',
    ({ params }) => void heard.updates.push(params.uri),
  )
  client.setNotificationHandler(
    'notifications/message',
    ({ params }) => void heard.logs.push(logLine(params.level, params.data)),
  )
  for (const method of [
    'notifications/tools/list_changed',
    'notifications/prompts/list_changed',
    'notifications/resources/list_changed',
  ] as const)
    client.setNotificationHandler(method, () => void heard.changes.push(method))
}

async function reachV2(client: ClientV2, target: Target): Promise<() => string> {
  if ('url' in target) {
    await client.connect(new HttpV2(new URL(target.url)))
    return () => ''
  }

  const [command = '', ...args] = target.command
  const env = inherited(target.environment)
  const transport = new StdioV2({ command, args, env, stderr: 'pipe' })
  const stderr = collected(transport.stderr)
  await client.connect(transport)
  return stderr
}

async function connectV2(
  mode: 'legacy' | 'auto' | { readonly pin: '2026-07-28' },
  target: Target,
  folder: string,
): Promise<Peer> {
  const client = new ClientV2(info, { capabilities, versionNegotiation: { mode } })
  const heard = nothingHeard()
  listenV2(client, heard, folder)
  const stderr = await reachV2(client, target)
  const era = client.getProtocolEra() === 'modern' ? 'modern' : 'legacy'

  return {
    ...heard,
    era,
    server: [client.getServerVersion(), client.getInstructions()],
    stderr,
    listTools: () => client.listTools(),
    async call({ tool, args }, { signal, onProgress, logLevel } = {}) {
      if (logLevel !== undefined && era === 'legacy') await client.setLoggingLevel(logLevel)
      return client.callTool(
        {
          name: tool,
          arguments: { ...args },
          ...(logLevel !== undefined && era === 'modern'
            ? { _meta: { [logLevelKey]: logLevel } }
            : {}),
        },
        {
          ...(signal === undefined ? {} : { signal }),
          ...(onProgress === undefined
            ? {}
            : { onprogress: ({ progress }) => onProgress(progress) }),
        },
      )
    },
    read: (uri) => client.readResource({ uri }),
    prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: { ...args } }),
    complete: ({ prompt, name, value }) =>
      client.complete({ ref: { type: 'ref/prompt', name: prompt }, argument: { name, value } }),
    async watch(uris) {
      if (era === 'legacy') for (const uri of uris) await client.subscribeResource({ uri })
      else
        await client.listen({
          toolsListChanged: true,
          promptsListChanged: true,
          resourcesListChanged: true,
          ...(uris.length === 0 ? {} : { resourceSubscriptions: [...uris] }),
        })
    },
    close: () => client.close(),
  }
}

const inspectorProgram = join(
  dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json')),
  'clients/cli/build/index.js',
)

/**
 * The Inspector's command line connects again for every command. It runs in this process, because
 * its start takes longer than all commands.
 */
async function connectInspector(era: 'legacy' | 'auto' | 'modern', target: Target): Promise<Peer> {
  const { runCli } = (await import(pathToFileURL(inspectorProgram).href)) as {
    runCli: (argv: readonly string[]) => Promise<void>
  }
  const folder = mkdtempSync(join(tmpdir(), 'mcpgw-inspector-'))
  const config = join(folder, 'servers.json')
  // A file holds the words of the command, because the program takes words like options for its
  // own.
  if ('command' in target) {
    const [command, ...args] = target.command
    writeFileSync(
      config,
      JSON.stringify({
        mcpServers: { target: { type: 'stdio', command, args, env: target.environment } },
      }),
    )
  }
  let runs = 0
  const run = async (...words: readonly string[]): Promise<unknown> => {
    const output = join(folder, `${(runs += 1)}.json`)
    const where =
      'url' in target
        ? [target.url, '--transport', 'http']
        : ['--config', config, '--server', 'target']
    const how = ['--protocol-era', era, '--quiet', '--output', output]
    await runCli([process.execPath, 'inspector', ...where, ...how, ...words])
    return JSON.parse(readFileSync(output, 'utf8'))
  }
  const refuse = (): never => {
    throw new Error("The Inspector's command line has no way to do this")
  }
  return {
    ...nothingHeard(),
    era: era === 'legacy' ? 'legacy' : 'modern',
    server: undefined,
    stderr: () => '',
    listTools: () => run('--method', 'tools/list'),
    call: ({ tool, args }) =>
      run('--method', 'tools/call', '--tool-name', tool, '--tool-args-json', JSON.stringify(args)),
    read: (uri) => run('--method', 'resources/read', '--uri', uri),
    prompt: ({ name, arguments: args }) =>
      run(
        '--method',
        'prompts/get',
        '--prompt-name',
        name,
        '--prompt-args',
        ...Object.entries(args).map(([key, value]) => `${key}=${value}`),
      ),
    complete: refuse,
    watch: refuse,
    close: async () => rmSync(folder, { recursive: true, force: true }),
  }
}

const commands: ReadonlySet<Behaviour> = new Set([
  'list tools',
  'call a tool',
  'read a resource',
  'get a prompt',
  'run a task',
])

/** Every client of the matrix. */
export const clients: readonly ClientKind[] = [
  { name: 'v1', title: 'SDK 1.32', eras: 'legacy', connect: connectV1 },
  {
    name: 'v2-legacy',
    title: 'SDK 2.4 legacy',
    eras: 'legacy',
    connect: (target, roots) => connectV2('legacy', target, roots),
  },
  {
    name: 'v2-auto',
    title: 'SDK 2.4 auto',
    eras: 'auto',
    connect: (target, roots) => connectV2('auto', target, roots),
  },
  {
    name: 'v2-modern',
    title: 'SDK 2.4 modern',
    eras: 'modern',
    connect: (target, roots) => connectV2({ pin: '2026-07-28' }, target, roots),
  },
  {
    name: 'inspector-legacy',
    title: 'Inspector legacy',
    eras: 'legacy',
    does: commands,
    connect: (target) => connectInspector('legacy', target),
  },
  {
    name: 'inspector-auto',
    title: 'Inspector auto',
    eras: 'auto',
    does: commands,
    connect: (target) => connectInspector('auto', target),
  },
  {
    name: 'inspector-modern',
    title: 'Inspector modern',
    eras: 'modern',
    does: commands,
    connect: (target) => connectInspector('modern', target),
  },
]
