import type { IncomingMessage, ServerResponse } from 'node:http'
import { randomBytes } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { countHeader } from '../lib/http/raw-headers.ts'

export interface EdgeOptions {
  /** Host names, without port, that requests may name. `*` allows all. */
  readonly allowedHosts: readonly string[]
  /** Origins of other sites whose pages may call the gateway. They get CORS answers. */
  readonly allowedOrigins: readonly string[]
}

/** The first checks of every request, for both planes. */
export interface Edge {
  /**
   * Gives the request its id, and checks its framing, Host and Origin.
   * @throws GatewayError `host_not_allowed`, `origin_not_allowed`, `invalid_request`,
   * `headers_too_large`
   */
  admit(request: IncomingMessage, response: ServerResponse): void
  /** Answers a CORS preflight. Returns false for any other request. */
  preflight(request: IncomingMessage, response: ServerResponse): boolean
}

const requestIdKey = Symbol('requestId')
type Identified = IncomingMessage & { [requestIdKey]?: string }

/** The id of a request in the log, in its answer and for its caller. */
export function requestIdOf(request: IncomingMessage): string {
  return (request as Identified)[requestIdKey] ?? 'unknown'
}

const processPrefix = randomBytes(5).toString('hex')
let counter = 0

/** Takes the caller's `X-Request-Id` if it is harmless in a log, and otherwise makes one. */
function identify(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && given.length <= 128 && /^[\w.:-]+$/.test(given)
    ? given
    : newRequestId()
}

export function newRequestId(): string {
  counter += 1
  return `${processPrefix}-${counter.toString(36)}`
}

/** Requests with as many headers, or more, are refused. */
export const mostHeaders = 256

export function createEdge(options: EdgeOptions): Edge {
  const hosts = new Set([
    ...loopbackNames,
    ...options.allowedHosts.map((host) => host.toLowerCase()),
  ])
  const anyHost = hosts.has('*')
  const origins = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase()))

  return {
    admit(request, response) {
      ;(request as Identified)[requestIdKey] = identify(request)
      if (request.rawHeaders.length >= mostHeaders * 2)
        throw new GatewayError('headers_too_large', { headers: { connection: 'close' } })

      checkFraming(request)
      checkHost(request, anyHost ? undefined : hosts)
      checkOrigin(request, response, origins)
    },

    preflight(request, response) {
      const { origin } = request.headers
      if (
        request.method !== 'OPTIONS' ||
        origin === undefined ||
        request.headers['access-control-request-method'] === undefined
      )
        return false
      if (!origins.has(origin.toLowerCase())) return false

      response.writeHead(204, {
        'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE',
        'access-control-allow-headers': request.headers['access-control-request-headers'] ?? '*',
        'access-control-max-age': '600',
      })
      response.end()
      return true
    },
  }
}

/**
 * Checks the host name. Without `allowed`, every name is allowed.
 * @throws GatewayError `host_not_allowed`, `invalid_request`
 */
function checkHost(
  { headers: { host }, rawHeaders }: IncomingMessage,
  allowed: ReadonlySet<string> | undefined,
): void {
  // Node keeps the first of several Host headers, and a later hop might keep the last (RFC 9112
  // section 3.2 asks for 400).
  if (host !== undefined && countHeader(rawHeaders, 'host') > 1)
    throw new GatewayError('invalid_request', {
      detail: 'The request has more than one Host header. Send one.',
    })

  if (allowed !== undefined && (host === undefined || !allowed.has(hostName(host))))
    throw new GatewayError('host_not_allowed', {
      detail:
        'The gateway is not configured for the host name of this request ' +
        '(edge.allowedHosts). ' +
        'Use one that it is configured for.',
    })
}

/**
 * Checks that the page of a request may call the gateway, and lets a page of an allowed site read
 * the answer (CORS).
 * @throws GatewayError `origin_not_allowed`
 */
function checkOrigin(
  { headers: { host, origin } }: IncomingMessage,
  response: ServerResponse,
  allowed: ReadonlySet<string>,
): void {
  if (origin === undefined) return

  const normal = origin.toLowerCase()
  if (allowed.has(normal)) return allowOrigin(response, origin)
  // A page of the gateway, or of this machine. DNS rebinding cannot forge either.
  if (normal === `http://${host?.toLowerCase()}` || normal === `https://${host?.toLowerCase()}`)
    return
  if (isLoopbackOrigin(normal) && host !== undefined && loopbackNames.has(hostName(host))) return

  throw new GatewayError('origin_not_allowed', {
    detail:
      'Pages of this origin may not call the gateway. ' +
      'An operator can allow it in edge.allowedOrigins.',
  })
}

/**
 * Methods whose bodies have no meaning (RFC 9110 section 9.3), so many servers do not read them.
 */
const bodiless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE'])

/**
 * Refuses a body that a server behind the gateway could take for its next request.
 * @throws GatewayError `invalid_request`
 */
function checkFraming({ method = '', headers, httpVersionMinor }: IncomingMessage): void {
  const chunked = headers['transfer-encoding'] !== undefined
  if (chunked && httpVersionMinor === 0)
    throw new GatewayError('invalid_request', {
      detail: 'HTTP/1.0 has no Transfer-Encoding. Send Content-Length, or use HTTP/1.1.',
      headers: { connection: 'close' },
    })

  const declared = headers['content-length']
  if ((chunked || (declared !== undefined && Number(declared) !== 0)) && bodiless.has(method))
    throw new GatewayError('invalid_request', {
      detail: `A ${method} request has no body, but this one has. Send it without a body.`,
      headers: { connection: 'close' },
    })
}

const loopbackNames: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])

function isLoopbackOrigin(origin: string): boolean {
  const scheme = origin.startsWith('http://') ? 7 : origin.startsWith('https://') ? 8 : 0
  return scheme > 0 && loopbackNames.has(hostName(origin.slice(scheme)))
}

/** The host without its port, in lower case. Empty, so never allowed, if the port is no number. */
function hostName(host: string): string {
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':')
  const name = end <= 0 ? host : host.slice(0, end)
  const port = end <= 0 ? '' : host.slice(end)
  return port === '' || /^:\d{1,5}$/.test(port) ? name.toLowerCase() : ''
}

const exposedHeaders =
  'Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, ETag, Link, Location, ' +
  'Retry-After, X-Request-Id'

function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('access-control-expose-headers', exposedHeaders)
  response.setHeader('vary', 'Origin')
}
