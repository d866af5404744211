import { createServer, request as httpRequest, type Server, type ServerResponse } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Stands between a suite and a virtual server, and takes the aliases out of names: the suites look
 * for tools and prompts by the names that the members use. Requests pass unchanged.
 */
export class PlainNames implements AsyncDisposable {
  readonly origin: string
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(gateway: string): Promise<PlainNames> {
    const port = Number(new URL(gateway).port)
    const server = createServer((request, response) => {
      const { method, url: path, headers } = request
      const passed = httpRequest({ port, method, path, headers, agent: false }, (answer) =>
        answerPlainly(answer, response),
      )
      passed.on('error', () => response.destroy())
      response.on('close', () => passed.destroy())
      request.pipe(passed)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new PlainNames(server)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

/** Sends an answer on, event by event or as a whole. */
function answerPlainly(answer: IncomingMessage, response: ServerResponse): void {
  const { 'content-length': _length, ...headers } = answer.headers
  response.writeHead(answer.statusCode ?? 500, headers)
  response.flushHeaders()
  const isStream = answer.headers['content-type']?.includes('event-stream') === true
  let waiting = ''
  answer.setEncoding('utf8').on('data', (text: string) => {
    waiting += text
    const end = isStream ? waiting.lastIndexOf('\n\n') + 2 : 1
    if (end <= 1) return
    response.write(plain(waiting.slice(0, end)))
    waiting = waiting.slice(end)
  })
  answer.on('end', () => response.end(plain(waiting)))
  answer.on('error', () => response.destroy())
}

function plain(text: string): string {
  return text.replaceAll(/"name":"[a-e]_/g, '"name":"')
}
