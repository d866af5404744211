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

/**
 * Registers the samples, makes real calls and prints them, to show a newcomer how it works.
 * It uses the public API only, as any client would.
 */
export async function runDemo(
  origin: string,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (const sample of samples) {
    const created = await request(`${origin}/adapters`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(sample),
      signal,
    })

    await created.body.dump()
    print(`POST /adapters ${JSON.stringify(sample)}`)
    print(
      `  → ${created.statusCode}${created.statusCode === 409 ? ' (it is registered already)' : ''}`,
    )
  }

  const calls: readonly [string, string, Record<string, unknown>][] = [
    ['mcp-example', 'add', { a: 2, b: 40 }],
    ['everything', 'echo', { message: 'hello from the demo' }],
  ]
  for (const [adapter, tool, args] of calls) {
    try {
      await callTool(`${origin}/adapters/${adapter}/mcp`, tool, args, print, signal)
    } catch (error) {
      if (signal.aborted) return
      print(
        `  ✗ ${adapter}: ${error instanceof Error ? error.message : String(error)} (GET ` +
          `/adapters/${adapter}/status and …/logs tell more)`,
      )
    }
  }
}

async function callTool(
  url: string,
  tool: string,
  args: Record<string, unknown>,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  print(`POST ${url}`)
  const initialized = await send(
    url,
    undefined,
    {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'mcp-gateway-demo', version: '0.1.0' },
      },
    },
    signal,
  )

  print(
    `  initialize → ${initialized.status} ` +
      `${JSON.stringify(pick(initialized.result, 'serverInfo'))}`,
  )

  const { session } = initialized

  await send(url, session, { jsonrpc: '2.0', method: 'notifications/initialized' }, signal)
  const listed = await send(url, session, { jsonrpc: '2.0', id: 2, method: 'tools/list' }, signal)
  const tools = pick(listed.result, 'tools')
  print(
    '  tools/list → ' +
      `${Array.isArray(tools) ? tools.map((entry) => String(pick(entry, 'name'))).join(', ') : JSON.stringify(listed.result)}`,
  )

  const called = await send(
    url,
    session,
    { jsonrpc: '2.0', id: 3, method: 'tools/call', params: { name: tool, arguments: args } },
    signal,
  )

  print(
    `  tools/call ${tool} ${JSON.stringify(args)} → ` +
      `${JSON.stringify(pick(called.result, 'content'))}`,
  )
  await send(url, session, undefined, signal)
}

interface Answer {
  readonly status: number
  readonly session: string | undefined
  readonly result: unknown
}

/** Sends one MCP message over streamable HTTP, or ends the session if there is no message. */
async function send(
  url: string,
  session: string | undefined,
  message: unknown,
  signal: AbortSignal,
): Promise<Answer> {
  const response = await request(url, {
    method: message === undefined ? 'DELETE' : 'POST',
    headers: defined({
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'mcp-session-id': session,
      'mcp-protocol-version': session && '2025-11-25',
    }),
    body: message === undefined ? null : JSON.stringify(message),
    headersTimeout: 120_000,
    signal: timeoutOr(signal, 120_000),
  })

  const text = await response.body.text()
  const answer = parseAnswer(text)

  if (response.statusCode >= 400 && message !== undefined) {
    throw new Error(
      `${response.statusCode} ` +
        `${JSON.stringify(pick(pick(answer, 'error'), 'message') ?? text.slice(0, 200))}`,
    )
  }

  return {
    status: response.statusCode,
    session: header(response.headers['mcp-session-id']) ?? session,
    result: pick(answer, 'result'),
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
