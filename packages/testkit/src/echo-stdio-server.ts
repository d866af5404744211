import { createInterface } from 'node:readline'

/**
 * The stdio twin of the echo server: one message a line. `tools/call` returns its arguments, or
 * misbehaves on command by the tool's name.
 */
const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
const [mode = ''] = process.argv.slice(2)

if (mode === 'exit') {
  console.error('this server does not want to live')
  process.exit(3)
}
if (mode === 'garbage') console.log('Welcome to a server that prints where it should not')
if (mode === 'stubborn') process.on('SIGTERM', () => console.error('SIGTERM is ignored'))
if (mode === 'stubborn') setInterval(() => undefined, 1000)

lines.on('line', (line) => {
  const message = JSON.parse(line) as {
    id?: number | string
    method?: string
    params?: {
      name?: string
      arguments?: Record<string, unknown>
      protocolVersion?: string
      _meta?: { progressToken?: unknown }
    }
  }
  if (message.id === undefined) return

  const send = (body: unknown): void => void process.stdout.write(`${JSON.stringify(body)}\n`)
  const answer = (result: unknown): void => send({ jsonrpc: '2.0', id: message.id, result })
  const args = message.params?.arguments

  if (message.method === 'initialize')
    return answer({
      protocolVersion: message.params?.protocolVersion ?? '2025-11-25',
      capabilities: { tools: {} },
      serverInfo: { name: 'echo', version: '1.0.0' },
    })
  if (message.method === 'tools/list')
    return answer({ tools: [{ name: 'echo', inputSchema: { type: 'object' } }] })

  switch (message.params?.name ?? '') {
    case 'pid':
      return answer({ content: [{ type: 'text', text: String(process.pid) }] })
    case 'never':
      return
    case 'exit':
      console.error('the last words')
      process.exit(7)
      break
    case 'big':
      return answer({ content: [{ type: 'text', text: 'x'.repeat(Number(args?.['bytes'])) }] })
    case 'flood': {
      const count = Number(args?.['count'])
      const progressToken = message.params?._meta?.progressToken

      for (let progress = 0; progress < count; progress += 1) {
        const text = `${progress} ${'x'.repeat(1000)}`
        send(
          progressToken === undefined
            ? {
                jsonrpc: '2.0',
                method: 'notifications/message',
                params: { level: 'info', data: text },
              }
            : {
                jsonrpc: '2.0',
                method: 'notifications/progress',
                params: { progressToken, progress, message: text },
              },
        )
      }

      return answer({ content: [] })
    }
    case 'progress':
      for (let index = 1; index <= 3; index += 1)
        send({
          jsonrpc: '2.0',
          method: 'notifications/progress',
          params: {
            progressToken: message.params?._meta?.progressToken,
            progress: index,
            total: 3,
          },
        })

      return answer({ content: [] })
    default:
      return answer({ content: [{ type: 'text', text: JSON.stringify(args) }] })
  }
})
