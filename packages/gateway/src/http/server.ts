import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net'
import { Connections, endSoon, type Shares } from '@mcp-gateway/mcp-http'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import { mostHeaders, newRequestId, type Edge } from './edge.ts'

export interface ServerOptions {
  readonly bodyLimitBytes: number
  readonly headerLimitBytes: number
  readonly headersTimeoutSeconds: number
  readonly requestTimeoutSeconds: number
  readonly keepAliveTimeoutSeconds: number
  /** Counts the connections, all together and for each party. */
  readonly connections: {
    readonly shares: Shares
    /** Undefined for an address whose connections are not counted. */
    readonly partyOf: (address: string) => string | undefined
  }
}

/** An MCP endpoint. */
export interface Endpoint {
  /** Whether a request is its own, by its target. */
  handles(url: string, request: IncomingMessage): boolean
  handle(request: IncomingMessage, response: ServerResponse): void
}

export interface Planes {
  readonly edge: Edge
  readonly endpoints: readonly Endpoint[]
  /** Everything that is no endpoint's. */
  readonly controlPlane: RequestListener
  /** Answers a refusal of the edge, which comes before any plane has seen the request. */
  readonly refuse: (request: IncomingMessage, response: ServerResponse, error: GatewayError) => void
  /** Told of what was refused before there was a request to speak of. */
  readonly unread: (refusal: Unread) => void
}

/** What could not be read as a request, and was answered all the same. */
export interface Unread {
  readonly requestId: string
  readonly status: number
  readonly error: string
}

/**
 * The one HTTP server: edge first, then the plane that owns the path. The data plane is reached before any framework,
 * because what is added there is paid by every MCP message.
 */
export function createHttpServer(options: ServerOptions, planes: Planes): Server {
  const { edge, endpoints, controlPlane, refuse, unread } = planes
  const state: State = {
    connections: new Set(),
    closing: new WeakSet(),
    waiting: new WeakMap(),
    ending: false,
  }
  const counted = new Connections(options.connections.shares, options.connections.partyOf)
  const endWith = (response: ServerResponse): void => {
    response.shouldKeepAlive = false
    state.closing.add(response.req.socket)
  }
  /** False for what is no endpoint's. */
  const serve = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { url = '' } = request
    for (const endpoint of endpoints) {
      if (!endpoint.handles(url, request)) continue
      endpoint.handle(request, response)
      return true
    }
    return false
  }
  const handle = (
    request: IncomingMessage,
    response: ServerResponse,
    expects: 'nothing' | 'continue' | 'other',
  ): void => {
    if (response.socket === null) waitInLine(state, request.socket, response)
    if (!counted.begin(response)) return
    // The answer to an earlier request ends this connection (RFC 9112 section 9.6).
    if (state.closing.has(request.socket)) return
    if (state.ending) endWith(response)
    try {
      edge.admit(request, response)
      if (expects === 'other')
        throw new GatewayError('invalid_request', { detail: 'The Expect header cannot be met.' })
    } catch (thrown) {
      const error = toGatewayError(thrown)
      // A client whose expectation was refused may send the body or not (RFC 9110 section 10.1.1).
      if (expects !== 'nothing' || error.headers['connection'] === 'close') endWith(response)
      return refuse(request, response, error)
    }
    if (edge.preflight(request, response)) return
    if (expects === 'continue') {
      if (Number(request.headers['content-length'] ?? 0) <= options.bodyLimitBytes)
        response.writeContinue()
      else endWith(response)
    }
    if (serve(request, response)) return
    try {
      if (!toOriginForm(request)) return controlPlane(request, response)
    } catch (error) {
      return refuse(request, response, toGatewayError(error))
    }
    if (!serve(request, response)) controlPlane(request, response)
  }
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
    (request, response) => handle(request, response, 'nothing'),
  )
  // Node drops what is beyond in silence; the edge refuses requests with so many.
  server.maxHeadersCount = mostHeaders
  const { connections } = state
  stateOf.set(server, state)
  server.on('connection', (socket: Socket) => {
    counted.admit(socket)
    connections.add(socket)
    socket.once('close', () => {
      connections.delete(socket)
      closeWaiting(state, socket)
    })
  })
  server.on('clientError', (error, socket) => answerClientError(error, socket as Socket, unread))
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
    handle(request, response, 'continue'),
  )
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    handle(request, response, 'other'),
  )
  return server
}

interface State {
  readonly connections: Set<Socket>
  /** Connections that end with an answer: no later request on them is run. */
  readonly closing: WeakSet<Socket>
  /** Responses of pipelined requests, which have waited for an earlier one of their connection. */
  readonly waiting: WeakMap<Socket, Set<ServerResponse>>
  /** Every answer is the last of its connection. */
  ending: boolean
}

const stateOf = new WeakMap<Server, State>()

function waitInLine({ waiting }: State, socket: Socket, response: ServerResponse): void {
  const responses = waiting.get(socket) ?? new Set()
  waiting.set(socket, responses.add(response))
  response.once('close', () => responses.delete(response))
}

/** Node.js never says that a response closed whose turn had not come when its connection ended. */
function closeWaiting({ waiting }: State, socket: Socket): void {
  for (const response of waiting.get(socket) ?? []) {
    if (response.closed) continue
    response.destroy()
    response.emit('close')
  }
}

/**
 * Gives a request whose target is a whole address the form that all others have (RFC 9112 section 3.2.2); false for any other.
 * @throws GatewayError `invalid_request` when it names another host than the Host header, which was checked
 */
function toOriginForm(request: IncomingMessage): boolean {
  const { url = '', headers } = request
  if (url.startsWith('/') || url === '*') return false
  const [, authority = '', rest = ''] = /^https?:\/\/([^/?#]*)([^#]*)$/i.exec(url) ?? []
  if (authority === '' || authority.toLowerCase() !== headers.host?.toLowerCase())
    throw new GatewayError('invalid_request', {
      detail: 'The target of the request names another host than the Host header, or none.',
    })
  request.url = rest.startsWith('/') ? rest : `/${rest}`
  return true
}

/** The response that is being written to a connection, ended or not, by the name that Node has for it. */
function responseOn(socket: Socket): ServerResponse | null | undefined {
  return (socket as Socket & { readonly _httpMessage?: ServerResponse | null })._httpMessage
}

/** What Node's parser refuses never reaches a handler; the answer is written by hand so that it has a code all the same. */
function answerClientError(
  error: NodeJS.ErrnoException,
  socket: Socket,
  unread: Planes['unread'],
): void {
  // Into an answer that has begun nothing can be said any more.
  if (error.code === 'ECONNRESET' || !socket.writable || responseOn(socket)?.headersSent === true)
    return void socket.destroy()
  const [status, code] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ([431, 'headers_too_large'] as const)
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ([408, 'request_timeout'] as const)
        : ([400, 'invalid_request'] as const)
  const title = STATUS_CODES[status] ?? ''
  const requestId = newRequestId()
  const body = JSON.stringify({
    type: 'about:blank',
    title,
    status,
    code,
    requestId,
    retryable: status === 408,
  })
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestId}`,
    'connection: close',
  ]
  // One that broke off in its body is told of by whoever reads that; of a connection on which nothing came there is nothing to tell.
  if ((responseOn(socket) ?? null) === null && socket.bytesRead > 0)
    unread({ requestId, status, error: code })
  endSoon(socket, `${head.join('\r\n')}\r\n\r\n${body}`)
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

/**
 * Has every answer from now on say that its connection ends with it (RFC 9112 section 9.6): clients then send what follows on others, which lead
 * elsewhere, and never on one that is being closed.
 */
export function endConnections(server: Server): void {
  const state = stateOf.get(server)
  if (state === undefined) return
  state.ending = true
  for (const socket of state.connections) {
    const response = responseOn(socket)
    if (response?.headersSent === false) response.shouldKeepAlive = false
  }
}

/** Stops accepting, lets open requests finish until the signal aborts, then cuts what is left. */
export async function drain(server: Server, signal: AbortSignal): Promise<void> {
  // Node counts as idle also connections with an answer that has been ended but not been taken by its reader, and closes them first of all
  // in `http.Server.close`. So that of its base is called here, and idle connections are closed when there is no such answer.
  const closed = new Promise<void>((resolve) =>
    NetServer.prototype.close.call(server, () => resolve()),
  )
  const connections = stateOf.get(server)?.connections ?? new Set()
  const closeIdle = (): void => {
    // One on which nothing was ever sent is not idle to Node; the pools of clients open such ahead of need.
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
    for (const socket of connections) if (responseOn(socket)?.writableEnded === true) return
    server.closeIdleConnections()
  }
  // Requests that finish from now on leave idle connections behind, which would hold the server open.
  const sweep = setInterval(closeIdle, 50)
  const cut = (): void => server.closeAllConnections()
  signal.addEventListener('abort', cut, { once: true })
  closeIdle()
  if (signal.aborted) cut()
  await closed
  clearInterval(sweep)
  signal.removeEventListener('abort', cut)
}
