import { randomBytes, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Translator } from '@mcp-gateway/bridge'
import {
  classify,
  DuplicateMember,
  errorAnswer,
  errorCode,
  mayBeModern,
  outline,
  paramHeaderMistake,
  type Classified,
} from '@mcp-gateway/protocol'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { requestIdOf } from '../http/edge.ts'
import { sendRpcError } from '../http/refuse.ts'
import { readBody } from '../proxy/body.ts'
import type { Hop } from '../proxy/hop.ts'
import type { Session, SessionSealer } from '../proxy/sessions.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import { HttpExchange, InProcessServer, responseSink, type AnswerSink } from './exchange.ts'
import type { Caller, Router } from './router.ts'

export interface FrontOptions {
  readonly router: Router
  readonly authenticate: (request: IncomingMessage) => Principal
  readonly sealer: SessionSealer
  /** To the gateway process that holds a session. */
  readonly hop: Hop
  readonly bodyLimitBytes: number
  readonly answerTimeoutMs: number
  readonly version: string
  readonly requestFinished: (request: FinishedRequest) => void
  readonly now: () => number
}

/** What sealed session ids of the router name in place of an adapter's incarnation; in place of a replica, they name the gateway process. */
const routerUid = '00000000-0000-4000-8000-6d63702f6d63'
const keepAliveMs = 15_000
const limits = { maxSessions: 10_000, sessionIdleMs: 3600_000, sessionMaxMs: 7 * 24 * 3600_000 }
const nothing: Readonly<Record<string, string>> = {}
/** Whoever a session was of that has ended: may nothing. */
const nobody: Principal = { id: '', issuer: '', name: '', roles: [] }

/** `/mcp`: the router over HTTP, for clients of both eras. */
export class ToolFront implements AsyncDisposable {
  readonly #options: FrontOptions
  readonly #exchanges = new Set<HttpExchange>()
  readonly #timer: NodeJS.Timeout
  readonly #translator: Translator
  /** The caller of each legacy session, as of its last request. */
  readonly #callers = new Map<string, Principal>()
  /** GET streams of legacy sessions, which draining does not wait for. */
  readonly #streams = new Set<ServerResponse>()
  #draining = false

  constructor(options: FrontOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      for (const exchange of this.#exchanges) exchange.keepAlive(options.now(), keepAliveMs)
    }, keepAliveMs).unref()
    this.#translator = new Translator({
      // Here the engine's word for a caller is the session.
      upstream: (session) => ({ pool: this.#server(session), path: '/mcp', headers: [] }),
      newState: () => randomUUID(),
      clientInfo: { name: 'mcp-gateway', version: options.version },
      answerTimeoutMs: options.answerTimeoutMs,
      ...limits,
    })
  }

  handles(url: string): boolean {
    return url === '/mcp' || url.startsWith('/mcp?')
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const start = performance.now()
    const requestId = requestIdOf(request)
    let principal: Principal | undefined
    let bytesIn = 0
    let failure: GatewayError | undefined
    const fail = (thrown: unknown): void => {
      failure = toGatewayError(thrown)
      if (!response.headersSent && !response.destroyed) sendRpcError(response, failure, requestId)
    }
    response.once('close', () => {
      const error = failure ?? (response.writableFinished ? undefined : new GatewayError('client_closed_request'))
      this.#options.requestFinished({
        requestId,
        method: request.method ?? '',
        path: '/mcp',
        status: error?.status ?? response.statusCode,
        durationMs: Math.round((performance.now() - start) * 100) / 100,
        bytesIn,
        ...(principal === undefined ? {} : { principal: principal.id }),
        ...(error === undefined ? {} : { error: error.code, ...(error.cause === undefined ? {} : { cause: error.cause }) }),
      })
    })
    response.setHeader('x-request-id', requestId)
    try {
      if (this.#draining) throw new GatewayError('draining', { headers: { 'retry-after': '1', connection: 'close' } })
      const handed = this.#options.hop.open(request)
      const caller = (principal = handed?.principal ?? this.#options.authenticate(request))
      const { method } = request
      if (method !== 'POST' && method !== 'GET' && method !== 'DELETE')
        throw new GatewayError('method_not_allowed', { headers: { allow: 'POST, GET, DELETE' } })
      readBody(request, this.#options.bodyLimitBytes, (error, body) => {
        if (error !== undefined) return fail(error)
        bytesIn = body?.length ?? 0
        try {
          handed?.checkBody(body)
          this.#pass(request, response, caller, body ?? Buffer.alloc(0), fail)
        } catch (thrown) {
          fail(thrown)
        }
      })
    } catch (error) {
      fail(error)
    }
  }

  /** New requests are refused and streams end, so that clients reconnect elsewhere; calls in progress go on. */
  drain(): void {
    this.#draining = true
    this.#options.router.drain()
    for (const response of this.#streams) response.end()
  }

  #pass(request: IncomingMessage, response: ServerResponse, principal: Principal, body: Buffer, fail: (error: unknown) => void): void {
    if (request.method === 'POST') {
      checkJson(body)
      if (mayBeModern(body, request.headers)) {
        const classified = classifyBody(body.toString(), request.headers)
        if (classified.era === 'modern') return this.#modern(classified, request, response, principal)
      }
    }
    const sealed = sessionIdOf(request)
    if (sealed === undefined) {
      if (request.method === 'POST' && outline(body).method === 'initialize') return this.#open(principal, body, response)
      throw request.method === 'GET'
        ? new GatewayError('method_not_allowed', { detail: 'There is no stream without a session.', headers: { allow: 'POST' } })
        : new GatewayError('invalid_request', { detail: 'The request names no session. Begin with initialize, or speak MCP 2026-07-28.' })
    }
    const session = this.#options.sealer.open(sealed, routerUid, principal)
    if (session.replica === this.#options.hop.self) return this.#goOn(session, request, response, principal, body)
    // Whoever held it is no more, or is not known here: the client is to begin anew.
    this.#options.hop.forward(session.replica, { request, response, body: body.length === 0 ? null : body, principal }, () =>
      fail(unknownSession()),
    )
  }

  #modern(
    classified: Classified & { readonly era: 'modern' },
    request: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
  ): void {
    const { 'idempotency-key': key } = request.headers
    const caller: Caller = {
      principal: () => principal,
      requestId: requestIdOf(request),
      trace: traceHeaders(request.headers),
      // RFC-to-be (draft-ietf-httpapi-idempotency-key-header): a structured string.
      idempotencyKey: (typeof key === 'string' ? /^"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?$/.exec(key)?.[1] : undefined) ?? randomUUID(),
    }
    const gone = new AbortController()
    response.once('close', () => {
      if (!response.writableFinished) gone.abort()
    })
    this.#request(classified, caller, request.headers, responseSink(response), gone.signal, (close) => response.once('close', close))
  }

  #request(
    classified: Classified & { readonly era: 'modern' },
    caller: Caller,
    headers: IncomingMessage['headers'],
    sink: AnswerSink,
    gone: AbortSignal,
    onClose?: (close: () => void) => void,
  ): void {
    const exchange = new HttpExchange(sink, this.#options.now())
    if ('refusal' in classified) {
      const { status, code, message, data } = classified.refusal
      return exchange.answer(status, errorAnswer(classified.id, code, message, data))
    }
    const { request } = classified
    if (request === undefined) {
      // The client has nothing to notify over HTTP, and is not refused for trying.
      sink.head(202, nothing)
      return sink.end('')
    }
    // A session keeps its client's connections alive by itself.
    if (onClose !== undefined) {
      this.#exchanges.add(exchange)
      onClose(() => this.#exchanges.delete(exchange))
    }
    gone.addEventListener('abort', () => this.#options.router.gone(exchange), { once: true })
    const headerOf = (name: string): string | undefined => {
      const value = headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }
    const args = request.params.get('arguments')
    this.#options.router.request(
      caller,
      { ...request, paramHeaderMistake: (declared) => paramHeaderMistake(declared, args, headerOf) },
      exchange,
    )
  }

  /** Where the engine sends the requests of a session. */
  #server(session: string): InProcessServer {
    return new InProcessServer((body, headers, sink, gone) => {
      const classified = classify(body, headers)
      if (classified.era !== 'modern') return sink.destroy()
      const principal = (): Principal => this.#callers.get(session) ?? nobody
      const caller: Caller = { principal, requestId: randomUUID(), trace: nothing, idempotencyKey: randomUUID() }
      this.#request(classified, caller, headers, sink, gone)
    })
  }

  #open(principal: Principal, body: Buffer, response: ServerResponse): void {
    for (const id of this.#callers.keys()) if (this.#translator.session(id) === undefined) this.#callers.delete(id)
    const id = randomBytes(16).toString('base64url')
    this.#callers.set(id, principal)
    const sealed = this.#options.sealer.seal(
      { upstreamId: id, replica: this.#options.hop.self, uid: routerUid, issuedAt: this.#options.now() },
      principal,
    )
    this.#translator.open(id, id, body, response, { 'mcp-session-id': sealed })
  }

  #goOn({ upstreamId: id }: Session, request: IncomingMessage, response: ServerResponse, principal: Principal, body: Buffer): void {
    const session = this.#translator.session(id)
    if (session === undefined) throw unknownSession()
    this.#callers.set(id, principal)
    if (request.method === 'GET') {
      this.#streams.add(response)
      response.once('close', () => this.#streams.delete(response))
      const { 'last-event-id': last } = request.headers
      return session.get(response, typeof last === 'string' ? last : undefined)
    }
    if (request.method === 'DELETE') {
      this.#translator.end(session)
      this.#callers.delete(id)
      return void response.writeHead(200).end()
    }
    session.post(body, response)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#translator.close('The gateway is shutting down.')
    this.#options.router.close()
  }
}

function classifyBody(body: string, headers: IncomingMessage['headers']): Classified {
  try {
    return classify(body, headers)
  } catch (error) {
    if (!(error instanceof DuplicateMember)) throw error
    return { era: 'modern', id: undefined, refusal: { status: 400, code: errorCode.invalidRequest, message: error.message } }
  }
}

function unknownSession(): GatewayError {
  return new GatewayError('session_not_found', { detail: 'The session is not known. Initialize again.' })
}

function checkJson(body: Buffer): void {
  try {
    JSON.parse(body.toString())
  } catch (cause) {
    throw new GatewayError('invalid_json', { detail: (cause as Error).message.slice(0, 200), cause })
  }
}

/** The header outranks the query parameter, because a query may be old: it stands in configuration files. */
function sessionIdOf({ headers, url = '' }: IncomingMessage): string | undefined {
  const header = headers['mcp-session-id']
  if (typeof header === 'string' && header !== '') return header
  const question = url.indexOf('?')
  const given = question === -1 ? null : new URLSearchParams(url.slice(question)).get('session_id')
  return given === null || given === '' ? undefined : given
}

function traceHeaders(headers: IncomingMessage['headers']): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of ['traceparent', 'tracestate', 'baggage']) {
    const value = headers[name]
    if (typeof value === 'string') found[name] = value
  }
  return found
}
