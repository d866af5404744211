import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

/** Forwards a request, and streams its answer back. If one side ends, so does the other. */
export function passOn(
  request: IncomingMessage,
  response: ServerResponse,
  to: RequestOptions,
): void {
  const passed = httpRequest({ method: request.method, agent: false, ...to }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.rawHeaders)
    response.flushHeaders()
    answer.pipe(response)
  })
  passed.on('error', () => response.destroy())
  response.on('close', () => passed.destroy())
  request.pipe(passed)
}

/** A minimal balancer: each request goes to the next server, without regard for sessions. */
export class RoundRobin implements AsyncDisposable {
  readonly origin: string
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(ports: readonly number[]): Promise<RoundRobin> {
    let turn = 0
    const server = createServer((request, response) => {
      const port = ports[(turn += 1) % ports.length]
      passOn(request, response, { port, path: request.url, headers: request.headers })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new RoundRobin(server)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
