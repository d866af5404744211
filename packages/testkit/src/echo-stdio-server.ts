import { createInterface } from 'node:readline'

/**
 * The stdio twin of the echo server: one message a line. `tools/call` returns its arguments, or
 * misbehaves on command by the tool's name.
 */
const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
const [mode = ''] = process.argv.slice(2)

interface Message {
  readonly id?: number | string
  readonly method?: string
  readonly params?: {
    readonly name?: string
    readonly arguments?: Readonly<Record<string, unknown>>
    readonly protocolVersion?: string
    readonly _meta?: { readonly progressToken?: unknown }
  }
}

if (mode === 'exit') {
  console.error('this server does not want to live')
  process.exit(3)
}
if (mode === 'garbage') console.log('Welcome to a server that prints where it should not')
if (mode === 'stubborn') process.on('SIGTERM', () => console.error('SIGTERM is ignored'))
if (mode === 'stubborn') setInterval(() => undefined, 1000)

lines.on('line', (line) => {
  const message = JSON.parse(line) as Message
  if (message.id === undefined) return
  const result = resultOf(message)
  if (result !== undefined) send({ jsonrpc: '2.0', id: message.id, result })
})

function send(body: unknown): void {
  process.stdout.write(`${JSON.stringify(body)}\n`)
}

/** Returns undefined for a request that gets no answer. */
function resultOf({ method, params = {} }: Message): unknown {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: params.protocolVersion ?? '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'echo', version: '1.0.0' },
      }
    case 'tools/list':
      return { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }
    case undefined:
    default:
      return callTool(params)
  }
}

type Parameters = NonNullable<Message['params']>

function callTool({ name, arguments: args, _meta: meta }: Parameters): unknown {
  const progressToken = meta?.progressToken
  switch (name) {
    case 'pid':
      return saying(String(process.pid))
    case 'never':
      return undefined
    case 'exit':
      console.error('the last words')
      return process.exit(7)
    case 'big':
      return saying('x'.repeat(Number(args?.['bytes'])))
    case 'flood':
      flood(Number(args?.['count']), progressToken)
      return { content: [] }
    case 'progress':
      for (let progress = 1; progress <= 3; progress += 1)
        notify('progress', { progressToken, progress, total: 3 })
      return { content: [] }
    case undefined:
    default:
      return saying(JSON.stringify(args))
  }
}

function saying(text: string): unknown {
  return { content: [{ type: 'text', text }] }
}

/** Sends notifications of 1 kB: progress if the caller wants it, otherwise log messages. */
function flood(count: number, progressToken: unknown): void {
  for (let progress = 0; progress < count; progress += 1) {
    const message = `${progress} ${'x'.repeat(1000)}`
    if (progressToken === undefined) notify('message', { level: 'info', data: message })
    else notify('progress', { progressToken, progress, message })
  }
}

function notify(kind: 'message' | 'progress', params: unknown): void {
  send({ jsonrpc: '2.0', method: `notifications/${kind}`, params })
}
