import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  followRedirects,
  isLate,
  placeOf,
  rawHeader,
  Relay,
  readBody,
  sendRpcError,
  whyNoAnswer,
} from '@mcp-gateway/mcp-http'
import { errorCode, outline } from '@mcp-gateway/protocol'
import type { Logger } from 'pino'
import { Pool, type Dispatcher } from 'undici'
import type { Bodies } from './bodies.ts'
import type { Handler } from './front.ts'
import {
  missingCredentials,
  ownHeaders,
  type HeaderPair,
  type OwnHeaders,
} from './remote-headers.ts'

export interface RemoteBridgeOptions extends OwnHeaders {
  readonly url: URL
  /** Milliseconds until the remote server's response headers. */
  readonly answerTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly bodies: Bodies
  readonly log: Logger
}

/**
 * Client headers that the remote server gets: those for MCP, content and tracing. Identity and
 * cookies stay here.
 */
const passedOn = oneOf(
  'accept|content-type|mcp-.*|last-event-id|user-agent|accept-language',
  'traceparent|tracestate|baggage|x-request-id',
)

/**
 * Hop-by-hop headers (RFC 9110 section 7.6.1), cookies, and headers about the server's origin,
 * which is not the client's origin.
 */
const stopsHere = oneOf(
  'connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade',
  'set-cookie|www-authenticate|access-control-.*',
  'alt-svc|clear-site-data|strict-transport-security',
)

/** Matches a header's name in lower case, by patterns. */
function oneOf(...patterns: readonly string[]): RegExp {
  return new RegExp(`^(${patterns.join('|')})$`)
}

/**
 * A remote MCP server behind this address. Bytes pass through both ways, with the configured
 * headers.
 */
export class RemoteBridge implements Handler {
  readonly #options: RemoteBridgeOptions
  readonly #connections: Pool
  readonly #pool: Pick<Dispatcher, 'dispatch'>

  constructor(options: RemoteBridgeOptions) {
    this.#options = options
    this.#connections = new Pool(options.url.origin, {
      connections: null,
      bodyTimeout: 0,
      headersTimeout: options.answerTimeoutMs,
      connect: { timeout: options.connectTimeoutMs },
    })
    this.#pool = followRedirects(this.#connections, options.url.origin)
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const { method = '' } = request
    if (method !== 'POST' && method !== 'GET' && method !== 'DELETE') {
      return sendRpcError(response, 405, {
        code: errorCode.invalidRequest,
        message: 'Method not allowed.',
        headers: { allow: 'POST, GET, DELETE' },
      })
    }

    const send = (body: Buffer | null): void => {
      let own: readonly HeaderPair[]
      try {
        own = ownHeaders(this.#options)
      } catch (error) {
        this.#options.log.error({ err: error }, 'the headers for the remote server cannot be read')
        const { code, message } = missingCredentials(error)
        return sendRpcError(response, 502, {
          id: idOf(body),
          code: errorCode.internal,
          message,
          data: { code },
        })
      }

      const names = new Set(own.map(([name]) => name.toLowerCase()))
      // Some servers compress unless the request forbids compression.
      const headers = names.has('accept-encoding') ? [] : ['accept-encoding', 'identity']

      for (let index = 0; index < request.rawHeaders.length; index += 2) {
        const name = request.rawHeaders[index] as string
        const lower = name.toLowerCase()
        if (passedOn.test(lower) && !names.has(lower))
          headers.push(name, request.rawHeaders[index + 1] as string)
      }

      headers.push(...own.flat())
      const { pathname, search } = this.#options.url
      this.#pool.dispatch(
        { method: method as Dispatcher.HttpMethod, path: pathname + search, headers, body },
        answerTo(response, body, this.#options),
      )
    }

    if (method !== 'POST') return send(null)
    readBody(request, response, this.#options.bodies.of(request), send)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections.destroy()
  }
}

/** Relays the answer of the remote server, or sends an error in its place. */
function answerTo(
  response: ServerResponse,
  body: Buffer | null,
  { log, secret }: RemoteBridgeOptions,
): Relay {
  const refuse = (status: number, message: string): void =>
    sendRpcError(response, status, { id: idOf(body), code: errorCode.internal, message })
  return new Relay(response, {
    head(status, raw) {
      const refusal = refusalOf(status)
      if (refuses(status)) secret?.refused()
      if (refusal === undefined) return crossing(raw)

      log.warn({ status, location: placeOf(rawHeader(raw, 'location')) }, refusal)
      refuse(502, refusal)
      return undefined
    },
    failed(error, stage) {
      // The error and its cause may hold text of the remote server, so only the code is logged.
      const { code = error.name } = error
      log.warn({ code }, 'the remote server could not be used')
      if (stage === 'begun') return
      refuse(isLate(error) ? 504 : 502, whyNoAnswer('The remote server', error, stage === 'sent'))
    },
  })
}

/** The headers of an answer that the client gets. */
function crossing(raw: readonly Buffer[]): string[] {
  const hop = rawHeader(raw, 'connection')
    ?.toLowerCase()
    .split(/[ \t]*,[ \t]*/)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = String(raw[index])
    const lower = name.toLowerCase()
    if (!stopsHere.test(lower) && hop?.includes(lower) !== true)
      headers.push(name, (raw[index + 1] as Buffer).toString('latin1'))
  }
  return headers
}

/**
 * The reason to withhold an answer. A challenge would ask for credentials that the client lacks. A
 * redirect would lead past the bridge, maybe to an address that the client takes for ours.
 */
function refusalOf(status: number): string | undefined {
  if (refuses(status))
    return `The remote server refuses the credentials of the bridge (${status}, MCP_PROXY_HEADERS).`
  if (status >= 300 && status < 400)
    return (
      `The remote server redirects (${status}) to another address, which is not followed: ` +
      'MCP_PROXY_URL must be its final address.'
    )
  return undefined
}

function refuses(status: number): boolean {
  return status === 401 || status === 407
}

/** The raw id of a request, for the error that answers it. The client's body may hold anything. */
function idOf(body: Buffer | null): string | undefined {
  if (body === null || body[0] !== 0x7b) return undefined
  try {
    JSON.parse(body.toString())
    const { id, method } = outline(body)
    return method === undefined ? undefined : id
  } catch {
    return undefined
  }
}
