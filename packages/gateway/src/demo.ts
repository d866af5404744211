import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'
import { timeoutOr } from './lib/async/timeout-signal.ts'
import { defined } from './lib/defined.ts'

/** The payloads of the original's README, word for word. */
const samples = [
  { name: 'mcp-example', imageName: 'mcp-example', imageVersion: '1.0.0', description: 'test' },
  {
    name: 'everything',
    imageName: 'mcp-proxy',
    imageVersion: '1.0.0',
    environmentVariables: {
      MCP_COMMAND: 'npx',
      MCP_ARGS: '-y @modelcontextprotocol/server-everything',
    },
    description: 'A stdio server behind the bridge',
  },
]

const protocolVersion = '2025-11-25'

/** A virtual server over both samples. */
const server = {
  members: [
    { adapter: 'mcp-example', alias: 'example' },
    { adapter: 'everything', alias: 'everything' },
  ],
}

/**
 * Registers the samples, makes real calls and prints them, to show a newcomer how it works.
 * It uses the public API only, as any client would.
 */
export async function runDemo(
  origin: string,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const show = async (method: 'POST' | 'PUT', path: string, body: object): Promise<void> => {
    const answer = await request(origin + path, {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    })

    await answer.body.dump()
    print(`${method} ${path} ${JSON.stringify(body)}`)
    print(
      `  → ${answer.statusCode}${answer.statusCode === 409 ? ' (it is registered already)' : ''}`,
    )
  }
  for (const sample of samples) await show('POST', '/adapters', sample)
  await show('PUT', '/servers/demo', server)

  const calls: readonly [string, string, Record<string, unknown>][] = [
    ['/adapters/mcp-example', 'add', { a: 2, b: 40 }],
    ['/adapters/everything', 'echo', { message: 'hello from the demo' }],
    ['/servers/demo', 'example_add', { a: 40, b: 2 }],
  ]
  for (const [path, tool, args] of calls) {
    try {
      if (path === '/servers/demo') await untilAllServe(`${origin}${path}/status`, signal)
      const session = new DemoSession(`${origin}${path}/mcp`, signal)
      await callTool(session, tool, args, print)
    } catch (error) {
      if (signal.aborted) return
      print(
        `  ✗ ${path}: ${error instanceof Error ? error.message : String(error)} (GET ` +
          `${path}/status tells more)`,
      )
    }
  }

  print('\nAll of it at one address, for the mcp.json of your editor:\n')
  const entry = { type: 'http', url: `${origin}/servers/demo/mcp` }
  print(JSON.stringify({ servers: { demo: entry } }, null, 2))
}

/** Waits until every member of a virtual server serves, but not for long. */
async function untilAllServe(status: string, signal: AbortSignal): Promise<void> {
  for (let tries = 0; tries < 20; tries += 1) {
    const { body } = await request(status, { signal })
    if (pick(await body.json(), 'phase') === 'Healthy') return
    await sleep(500, undefined, { signal })
  }
}

async function callTool(
  session: DemoSession,
  tool: string,
  args: Readonly<Record<string, unknown>>,
  print: (line: string) => void,
): Promise<void> {
  print(`POST ${session.url}`)
  const initialized = await session.request('initialize', {
    protocolVersion,
    capabilities: {},
    clientInfo: { name: 'mcp-gateway-demo', version: '0.1.0' },
  })
  const serverInfo = JSON.stringify(pick(initialized.result, 'serverInfo'))
  print(`  initialize → ${initialized.status} ${serverInfo}`)
  await session.send({ jsonrpc: '2.0', method: 'notifications/initialized' })

  const { result: listed } = await session.request('tools/list')
  print(`  tools/list → ${toolNames(listed) ?? JSON.stringify(listed)}`)

  const { result: called } = await session.request('tools/call', { name: tool, arguments: args })
  const content = JSON.stringify(pick(called, 'content'))
  print(`  tools/call ${tool} ${JSON.stringify(args)} → ${content}`)

  await session.end()
}

function toolNames(listed: unknown): string | undefined {
  const tools = pick(listed, 'tools')
  return Array.isArray(tools)
    ? tools.map((entry) => String(pick(entry, 'name'))).join(', ')
    : undefined
}

interface Answer {
  readonly status: number
  readonly result: unknown
}

/** A session with an MCP server over streamable HTTP. */
class DemoSession {
  readonly url: string
  readonly #signal: AbortSignal
  #id: string | undefined
  #requests = 0

  constructor(url: string, signal: AbortSignal) {
    this.url = url
    this.#signal = signal
  }

  request(method: string, params?: unknown): Promise<Answer> {
    this.#requests += 1
    return this.send({ jsonrpc: '2.0', id: this.#requests, method, params })
  }

  send(message: unknown): Promise<Answer> {
    return this.#exchange('POST', JSON.stringify(message))
  }

  async end(): Promise<void> {
    await this.#exchange('DELETE', null)
  }

  async #exchange(method: 'POST' | 'DELETE', body: string | null): Promise<Answer> {
    const response = await request(this.url, {
      method,
      headers: defined({
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        'mcp-session-id': this.#id,
        'mcp-protocol-version': this.#id && protocolVersion,
      }),
      body,
      headersTimeout: 120_000,
      signal: timeoutOr(this.#signal, 120_000),
    })

    const text = await response.body.text()
    const answer = parseAnswer(text)
    if (response.statusCode >= 400 && method === 'POST') {
      const reason = pick(pick(answer, 'error'), 'message') ?? text.slice(0, 200)
      throw new Error(`${response.statusCode} ${JSON.stringify(reason)}`)
    }

    this.#id = header(response.headers['mcp-session-id']) ?? this.#id
    return { status: response.statusCode, result: pick(answer, 'result') }
  }
}

/** The last JSON-RPC message of a body that is JSON or a finished event stream. */
function parseAnswer(text: string): unknown {
  const lines = text.split(/\r?\n/).filter((line) => line.startsWith('data:') && line.length > 6)
  const json = lines.length > 0 ? lines[lines.length - 1]?.slice(5) : text
  try {
    return JSON.parse(json ?? 'null') as unknown
  } catch {
    return undefined
  }
}

function header(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

function pick(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)[key]
    : undefined
}
