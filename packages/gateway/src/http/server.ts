import { createServer, STATUS_CODES, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import type { Edge } from './edge.ts'

export interface ServerOptions {
  readonly headerLimitBytes: number
  readonly headersTimeoutSeconds: number
  readonly requestTimeoutSeconds: number
  readonly keepAliveTimeoutSeconds: number
}

export interface Planes {
  readonly edge: Edge
  readonly dataPlane: { handles(url: string): boolean; handle(request: IncomingMessage, response: ServerResponse): void }
  /** Everything that is not the data plane's. */
  readonly controlPlane: RequestListener
  /** Answers a refusal of the edge in the form of the plane that the request was for. */
  readonly refuse: (request: IncomingMessage, response: ServerResponse, error: GatewayError) => void
}

/**
 * The one HTTP server: edge first, then the plane that owns the path. The data plane is reached before any framework,
 * because what is added there is paid by every MCP message.
 */
export function createHttpServer(options: ServerOptions, planes: Planes): Server {
  const { edge, dataPlane, controlPlane, refuse } = planes
  const server = createServer(
    {
      maxHeaderSize: options.headerLimitBytes,
      headersTimeout: options.headersTimeoutSeconds * 1000,
      requestTimeout: options.requestTimeoutSeconds * 1000,
      keepAliveTimeout: options.keepAliveTimeoutSeconds * 1000,
      // How often the two limits above are enforced.
      connectionsCheckingInterval: 1000,
      // Half-open clients (a laptop that was closed) would hold a stream for ever otherwise.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
    },
    (request, response) => {
      try {
        edge.admit(request, response)
      } catch (error) {
        return refuse(request, response, toGatewayError(error))
      }
      if (edge.preflight(request, response)) return
      if (dataPlane.handles(request.url ?? '')) dataPlane.handle(request, response)
      else controlPlane(request, response)
    },
  )
  server.on('clientError', answerClientError)
  // `Expect` other than 100-continue, and CONNECT or Upgrade, have no meaning here.
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    refuse(request, response, new GatewayError('invalid_request', { detail: 'The Expect header can not be met.' }))
  })
  return server
}

/** What Node's parser refuses never reaches a handler; the answer is written by hand so that it has a code all the same. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const [status, code] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'headers_too_large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'request_timeout']
        : [400, 'invalid_request']
  const title = STATUS_CODES[status] ?? ''
  const body = JSON.stringify({ type: 'about:blank', title, status, code, retryable: status === 408 })
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

/** Resolves with the address once the server listens. */
export function listen(server: Server, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host }, () => {
      server.off('error', reject)
      resolve(server.address() as AddressInfo)
    })
  })
}

/** Stops accepting, lets open requests finish until the signal aborts, then cuts what is left. */
export async function drain(server: Server, signal: AbortSignal): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // Requests that finish from now on leave idle connections behind, which would hold the server open.
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  const cut = (): void => server.closeAllConnections()
  signal.addEventListener('abort', cut, { once: true })
  server.closeIdleConnections()
  if (signal.aborted) cut()
  await closed
  clearInterval(sweep)
  signal.removeEventListener('abort', cut)
}
