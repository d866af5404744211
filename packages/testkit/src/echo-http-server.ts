import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'

/**
 * A fast streamable HTTP server for measuring a proxy in front. `echo` returns its arguments, other
 * tools misbehave by name, and `/score` is a plain HTTP service that returns its input.
 */
const { PORT = '3001', HOST = '127.0.0.1', MCPGW_REPLICA_NAME = 'direct' } = process.env

const megabyte = Buffer.alloc(1024 * 1024, 'x')

const http = createServer((request, response) => {
  if (request.method === 'DELETE') return void response.writeHead(200).end()
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    return
  }

  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString()
    if (request.url === '/score')
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(text)

    const message = JSON.parse(text) as {
      id?: number | string
      method?: string
      params?: { name?: string; arguments?: unknown }
    }

    const answer = (result: unknown, headers: Record<string, string> = {}): void => {
      const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }))
      response.writeHead(200, {
        ...headers,
        'content-type': 'application/json',
        'content-length': body.length,
      })
      response.end(body)
    }

    if (message.id === undefined) return void response.writeHead(202).end()
    switch (message.method ?? '') {
      case 'initialize':
        // The id names the replica, so that tests can see a session stay on its replica, even after
        // a restart.
        return answer(
          {
            protocolVersion: '2025-11-25',
            capabilities: { tools: {} },
            serverInfo: { name: 'echo', version: '1.0.0' },
          },
          { 'mcp-session-id': `${MCPGW_REPLICA_NAME}_${randomUUID()}` },
        )
      case 'tools/list':
        return answer({ tools: [{ name: 'echo', inputSchema: { type: 'object' } }] })
      case 'tools/call': {
        const session = request.headers['mcp-session-id'] ?? ''
        if (message.params?.name === 'where')
          return answer({
            content: [{ type: 'text', text: MCPGW_REPLICA_NAME }],
            structuredContent: {
              replica: MCPGW_REPLICA_NAME,
              session,
              headers: request.headers,
              url: request.url,
            },
          })

        if (message.params?.name === 'never') return
        if (message.params?.name === 'break') return void request.socket.destroy()
        if (message.params?.name === 'redirect')
          return void response
            .writeHead(307, {
              location: 'http://127.0.0.1:1/',
              'set-cookie': 'a=b',
              'www-authenticate': 'Bearer',
            })
            .end()

        if (message.params?.name === 'big') {
          response.writeHead(200, { 'content-type': 'application/octet-stream' })
          let left = Number((message.params.arguments as { megabytes: number }).megabytes)

          const write = (): void => {
            while (left > 0) {
              left -= 1
              if (!response.write(megabyte)) return void response.once('drain', write)
            }
            response.end()
          }

          return write()
        }

        return answer({
          content: [{ type: 'text', text: JSON.stringify(message.params?.arguments) }],
        })
      }
      default:
        return answer({})
    }
  })
})

http.listen(Number(PORT), HOST)
process.once('SIGTERM', () => process.exit(0))
