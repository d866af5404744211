import { createServer } from 'node:http'
import { Agent, type Dispatcher } from 'undici'

/**
 * A plain proxy for the comparison with the gateway: node:http in, undici out, back-pressure and
 * aborts both ways.
 */
const { PORT = '3002', UPSTREAM = 'http://127.0.0.1:3001' } = process.env
const agent = new Agent({ connections: null, bodyTimeout: 0, headersTimeout: 0 })

createServer((request, response) => {
  const headers: string[] = []
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] as string
    if (!/^(connection|host|transfer-encoding|keep-alive)$/i.test(name))
      headers.push(name, request.rawHeaders[index + 1] as string)
  }
  let abort: ((error?: Error) => void) | undefined
  response.on('close', () => {
    if (!response.writableFinished) abort?.()
  })
  agent.dispatch(
    {
      origin: UPSTREAM,
      path: '/mcp',
      method: request.method as Dispatcher.HttpMethod,
      headers,
      body: request.method === 'POST' ? request : null,
    },
    {
      onConnect: (stop) => void (abort = stop),
      onHeaders(status, raw, resume) {
        response.on('drain', resume)
        response.writeHead(
          status,
          raw
            .map((part) => part.toString('latin1'))
            .filter(
              (_, index, all) =>
                !/^(connection|keep-alive|transfer-encoding)$/i.test(all[index & ~1] as string),
            ),
        )
        return true
      },
      onData: (chunk) => response.write(chunk),
      onComplete: () => void response.end(),
      onError: () => void response.destroy(),
    },
  )
}).listen(Number(PORT), '127.0.0.1')
