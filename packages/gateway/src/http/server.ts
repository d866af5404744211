import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { Connections, cutUnread, endSoon, responseOn, type Shares } from '@mcp-gateway/mcp-http'
import { GatewayError, toGatewayError, type ErrorCode } from '../core/errors.ts'
import { monotonicNow } from '../lib/clock.ts'
import { mostHeaders, newRequestId, type Edge } from './edge.ts'
import { problemOf } from './refuse.ts'

export interface ServerOptions {
  readonly bodyLimitBytes: number
  readonly headerLimitBytes: number
  readonly headersTimeoutSeconds: number
  readonly requestTimeoutSeconds: number
  readonly keepAliveTimeoutSeconds: number
  readonly unreadTimeoutSeconds: number
  /** Counts the connections, in total and for each party. */
  readonly connections: {
    readonly shares: Shares
    /** Undefined for an address whose connections are not counted. */
    readonly partyOf: (address: string) => string | undefined
  }
}

/** An MCP endpoint. */
export interface Endpoint {
  /**
   * Serves a request that belongs to this endpoint by its target. Returns false for any other.
   */
  take(request: IncomingMessage, response: ServerResponse): boolean
}

export interface Planes {
  readonly edge: Edge
  readonly endpoints: readonly Endpoint[]
  /** Serves all requests that belong to no endpoint. */
  readonly controlPlane: RequestListener
  /** Answers a refusal of the edge, which comes before any plane has seen the request. */
  readonly refuse: (request: IncomingMessage, response: ServerResponse, error: GatewayError) => void
  /** Receives the refusals of connections that sent no readable request. */
  readonly unread: (refusal: Unread) => void
}

/** Input that could not be read as a request, and was answered all the same. */
export interface Unread {
  readonly requestId: string
  readonly status: number
  readonly error: string
}

/** The Expect header of a request (RFC 9110 section 10.1.1). */
type Expectation = 'nothing' | 'continue' | 'other'

/**
 * The first request of a connection arrives within so many milliseconds, or the connection was
 * opened ahead of need, as clients' pools do.
 */
const firstRequestMs = 1000

/**
 * The one HTTP server: the edge, then the plane that owns the path. The data plane comes before any
 * framework, because every MCP message would pay for one.
 */
export class HttpServer {
  /** The server of Node.js, for frameworks. */
  readonly node: Server
  readonly #bodyLimitBytes: number
  readonly #planes: Planes
  readonly #counted: Connections
  /** When each connection was accepted, in milliseconds. */
  readonly #acceptedAt = new Map<Socket, number>()
  /** Connections that end with an answer. No later request on them runs. */
  readonly #closing = new WeakSet<Socket>()
  /** Responses of pipelined requests, which have waited for an earlier one of their connection. */
  readonly #waiting = new WeakMap<Socket, Set<ServerResponse>>()
  /** True if every answer is the last of its connection. */
  #ending = false

  constructor(options: ServerOptions, planes: Planes) {
    const { shares, partyOf } = options.connections
    this.#bodyLimitBytes = options.bodyLimitBytes
    this.#planes = planes
    this.#counted = new Connections(shares, partyOf)

    this.node = newServer(options)
    this.node.on('connection', (socket: Socket) => this.#accept(socket))
    this.node.on('clientError', (error, socket) =>
      answerClientError(error, socket as Socket, planes.unread),
    )
    this.#on('request', 'nothing')
    this.#on('checkContinue', 'continue')
    this.#on('checkExpectation', 'other')
  }

  /** Resolves with the address once the server listens. */
  listen(port: number, host: string): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.node.once('error', reject)
      this.node.listen({ port, host }, () => {
        this.node.off('error', reject)
        resolve(this.node.address() as AddressInfo)
      })
    })
  }

  /**
   * From now on, every answer closes its connection (RFC 9112 section 9.6). Clients then send their
   * next requests elsewhere, and never on a connection that is being closed.
   */
  endConnections(): void {
    this.#ending = true
    for (const socket of this.#acceptedAt.keys()) {
      const response = responseOn(socket)
      if (response?.headersSent === false) response.shouldKeepAlive = false
    }
  }

  /** Stops accepting, lets open requests finish until the signal aborts, then cuts the rest. */
  async drain(signal: AbortSignal): Promise<void> {
    // Connections that wait to be accepted are reset. Node.js has just accepted all of them when it
    // runs immediates.
    await setImmediate()
    // `http.Server.close` would close connections whose ended answer still waits for its reader. So
    // the `close` of its base is called, and idle connections are closed when no such answer is
    // left.
    const closed = new Promise<void>((resolve) =>
      NetServer.prototype.close.call(this.node, () => resolve()),
    )

    // Requests that finish from now on leave idle connections behind, which would hold the server
    // open.
    const sweep = setInterval(() => this.#closeIdle(), 50)
    const cut = (): void => this.node.closeAllConnections()
    signal.addEventListener('abort', cut, { once: true })
    this.#closeIdle()
    if (signal.aborted) cut()

    await closed
    clearInterval(sweep)
    signal.removeEventListener('abort', cut)
  }

  #on(event: 'request' | 'checkContinue' | 'checkExpectation', expects: Expectation): void {
    this.node.on(event, (request: IncomingMessage, response: ServerResponse) =>
      this.#handle(request, response, expects),
    )
  }

  #accept(socket: Socket): void {
    this.#counted.admit(socket)
    this.#acceptedAt.set(socket, monotonicNow())
    socket.once('close', () => {
      this.#acceptedAt.delete(socket)
      this.#closeWaiting(socket)
    })
  }

  #handle(request: IncomingMessage, response: ServerResponse, expects: Expectation): void {
    if (!this.#counted.begin(response)) return
    if (response.socket === null) this.#waitInLine(request.socket, response)
    // The answer to an earlier request ends this connection (RFC 9112 section 9.6).
    if (this.#closing.has(request.socket)) return
    if (this.#ending) this.#endWith(response)

    if (!this.#admit(request, response, expects)) return
    if (this.#planes.edge.preflight(request, response)) return
    if (expects === 'continue') this.#continue(request, response)
    this.#route(request, response)
  }

  /** Returns false if the request was refused, and so has its answer. */
  #admit(request: IncomingMessage, response: ServerResponse, expects: Expectation): boolean {
    try {
      this.#planes.edge.admit(request, response)
      if (expects === 'other')
        throw new GatewayError('invalid_request', {
          detail: 'The gateway meets no Expect header but 100-continue. Send none.',
        })
      return true
    } catch (thrown) {
      const error = toGatewayError(thrown)
      // A client whose expectation was refused may still send the body (RFC 9110 section 10.1.1).
      if (expects !== 'nothing' || error.headers['connection'] === 'close') this.#endWith(response)
      this.#planes.refuse(request, response, error)
      return false
    }
  }

  /** Asks for the body, unless it is too large: then the answer ends the connection. */
  #continue(request: IncomingMessage, response: ServerResponse): void {
    if (Number(request.headers['content-length'] ?? 0) <= this.#bodyLimitBytes)
      response.writeContinue()
    else this.#endWith(response)
  }

  #route(request: IncomingMessage, response: ServerResponse): void {
    const { controlPlane, refuse } = this.#planes
    if (this.#serve(request, response)) return
    try {
      if (!toOriginForm(request)) return controlPlane(request, response)
    } catch (error) {
      return refuse(request, response, toGatewayError(error))
    }
    if (!this.#serve(request, response)) controlPlane(request, response)
  }

  /** Returns false if the request belongs to no endpoint. */
  #serve(request: IncomingMessage, response: ServerResponse): boolean {
    for (const endpoint of this.#planes.endpoints) if (endpoint.take(request, response)) return true
    return false
  }

  #endWith(response: ServerResponse): void {
    response.shouldKeepAlive = false
    this.#closing.add(response.req.socket)
  }

  #waitInLine(socket: Socket, response: ServerResponse): void {
    const responses = this.#waiting.get(socket) ?? new Set()
    this.#waiting.set(socket, responses.add(response))
    response.once('close', () => responses.delete(response))
  }

  /** Node.js emits no `close` for a response whose turn had not come when its connection ended. */
  #closeWaiting(socket: Socket): void {
    for (const response of this.#waiting.get(socket) ?? []) {
      if (response.closed) continue
      response.destroy()
      response.emit('close')
    }
  }

  #closeIdle(): void {
    // Node does not count a connection without any request as idle.
    const latest = monotonicNow() - firstRequestMs
    for (const [socket, acceptedAt] of this.#acceptedAt)
      if (socket.bytesRead === 0 && acceptedAt <= latest) socket.destroy()

    for (const socket of this.#acceptedAt.keys())
      if (responseOn(socket)?.writableEnded === true) return
    this.node.closeIdleConnections()
  }
}

function newServer(options: ServerOptions): Server {
  const server = createServer({
    maxHeaderSize: options.headerLimitBytes,
    headersTimeout: options.headersTimeoutSeconds * 1000,
    requestTimeout: options.requestTimeoutSeconds * 1000,
    keepAliveTimeout: options.keepAliveTimeoutSeconds * 1000,
    // Milliseconds between two checks of the two limits above.
    connectionsCheckingInterval: 1000,
    // Without probes, half-open clients (a closed laptop) would hold a stream for ever.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    noDelay: true,
  })

  // Node silently drops headers beyond this limit, so the edge refuses requests that reach it.
  server.maxHeadersCount = mostHeaders
  cutUnread(server, options.unreadTimeoutSeconds * 1000)
  return server
}

/**
 * Reduces an absolute target to path and query (RFC 9112 section 3.2.2). False for other targets.
 * @throws GatewayError `invalid_request` if the target and the Host header name different hosts
 */
function toOriginForm(request: IncomingMessage): boolean {
  const { url = '', headers } = request
  if (url.startsWith('/') || url === '*') return false

  const [, authority = '', rest = ''] = /^https?:\/\/([^/?#]*)([^#]*)$/i.exec(url) ?? []
  if (authority === '' || authority.toLowerCase() !== headers.host?.toLowerCase())
    throw new GatewayError('invalid_request', {
      detail:
        'The request line names another host than the Host header. Send the same host in both.',
    })

  request.url = rest.startsWith('/') ? rest : `/${rest}`
  return true
}

const codeOfParser: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
}

/**
 * Answers requests that Node's parser refuses. They reach no handler, so the answer is written by
 * hand, with a code like any other.
 */
function answerClientError(
  error: NodeJS.ErrnoException,
  socket: Socket,
  unread: Planes['unread'],
): void {
  // An answer that has begun has no room for an error.
  if (error.code === 'ECONNRESET' || !socket.writable || responseOn(socket)?.headersSent === true)
    return void socket.destroy()

  const refusal = new GatewayError(codeOfParser[error.code ?? ''] ?? 'invalid_request')
  const { code, status } = refusal
  const requestId = newRequestId()
  const body = JSON.stringify(problemOf(refusal, requestId))
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestId}`,
    'connection: close',
  ]

  // A request that broke off mid-body is reported by its reader. A connection that never sent a
  // byte is not reported.
  if ((responseOn(socket) ?? null) === null && socket.bytesRead > 0)
    unread({ requestId, status, error: code })
  endSoon(socket, `${head.join('\r\n')}\r\n\r\n${body}`)
}
