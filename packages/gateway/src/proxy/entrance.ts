import type { IncomingMessage, ServerResponse } from 'node:http'
import { outline } from '@mcp-gateway/protocol'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { requestIdOf } from '../http/edge.ts'
import { sendRpcError } from '../http/refuse.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import { readBody } from './body.ts'
import type { HandedOver, Hop } from './hop.ts'

export interface EntranceOptions {
  /** Who calls; at once where that is known without asking. @throws GatewayError, or rejects with one */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  readonly hop: Hop
  readonly bodyLimitBytes: number
  readonly requestFinished: (request: FinishedRequest) => void
}

/** By the response that is interrupted. */
type Interrupts = Map<ServerResponse, (reason: GatewayError) => void>

/** Where every MCP request comes in and goes out, whichever endpoint it is for: its caller, its body, its error, its one line in the log. */
export class Entrance {
  readonly #options: EntranceOptions
  readonly #interrupts: Interrupts = new Map()
  #draining = false

  constructor(options: EntranceOptions) {
    this.#options = options
  }

  /** Lets a request in. `proceed` is called once its caller is known; what it throws is the answer. `path` is for the log. */
  admit(request: IncomingMessage, response: ServerResponse, path: string, proceed: (context: RequestContext) => void): void {
    const context = new RequestContext(request, response, path, this.#options, this.#interrupts)
    context.guard(() => {
      if (this.#draining) throw drained()
      const handed = (context.handed = this.#options.hop.open(request))
      const known = (principal: Principal): void => {
        context.principal = principal
        proceed(context)
      }
      const principal = handed?.principal ?? this.#options.authenticate(request)
      if (!(principal instanceof Promise)) return known(principal)
      principal.then(
        (found) => context.guard(() => (request.destroyed ? context.fail(new GatewayError('client_closed_request')) : known(found))),
        (error: unknown) => context.fail(error),
      )
    })
  }

  /** New requests are refused, and what can be interrupted is; calls in progress go on. */
  drain(): void {
    this.#draining = true
    for (const interrupt of this.#interrupts.values()) interrupt(drained())
  }
}

/** One MCP request, from when it is let in until its line in the log is written. */
export class RequestContext {
  readonly requestId: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly #path: string
  readonly #options: EntranceOptions
  readonly #interrupts: Interrupts
  readonly #start = performance.now()
  /** Set when a peer hands the request over. */
  handed: HandedOver | undefined
  #principal: Principal | undefined
  adapter: string | undefined
  replica: string | undefined
  body: Buffer | null = null
  #over = false

  constructor(request: IncomingMessage, response: ServerResponse, path: string, options: EntranceOptions, interrupts: Interrupts) {
    this.requestId = requestIdOf(request)
    this.request = request
    this.response = response
    this.#path = path
    this.#options = options
    this.#interrupts = interrupts
  }

  /** Known to whoever is given the context. */
  get principal(): Principal {
    return this.#principal as Principal
  }
  set principal(principal: Principal) {
    this.#principal = principal
  }

  /** @throws GatewayError `method_not_allowed` for what streamable HTTP does not know */
  checkMethod(): void {
    const { method } = this.request
    if (method === 'POST' || method === 'GET' || method === 'DELETE') return
    throw new GatewayError('method_not_allowed', { headers: { allow: 'POST, GET, DELETE' } })
  }

  /** Reads the body, which is to be the one that a peer has signed. What `then` throws is the answer. */
  readBody(then: (body: Buffer | null) => void): void {
    readBody(this.request, this.#options.bodyLimitBytes, (error, body) => {
      if (error !== undefined) return this.fail(error)
      this.body = body
      this.guard(() => {
        this.handed?.checkBody(body)
        then(body)
      })
    })
  }

  /** For what answers by itself, not by forwarding; its streams end when the gateway drains. */
  answer(work: () => void): void {
    const { request, response } = this
    response.setHeader('x-request-id', this.requestId)
    response.once('close', () => this.finish(response.writableFinished ? undefined : new GatewayError('client_closed_request')))
    if (request.method === 'GET') this.onDrain(() => response.end())
    this.guard(work)
  }

  /** Does the work, of which an error is the answer. */
  guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  /** What draining does not wait for: event streams, and requests that were not sent yet. Undefined: it waits from now on. */
  onDrain(interrupt: ((reason: GatewayError) => void) | undefined): void {
    if (interrupt === undefined) return void this.#interrupts.delete(this.response)
    if (!this.#interrupts.has(this.response)) this.response.once('close', () => this.#interrupts.delete(this.response))
    this.#interrupts.set(this.response, interrupt)
  }

  /** Answers with the error and ends. */
  fail(thrown: unknown): void {
    const error = toGatewayError(thrown)
    if (!this.response.headersSent && !this.response.destroyed) sendRpcError(this.response, error, this.requestId, requestedId(this.body))
    this.finish(error)
  }

  finish(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    this.#options.requestFinished({
      requestId: this.requestId,
      method: this.request.method ?? '',
      path: this.#path,
      status: error?.status ?? this.response.statusCode,
      durationMs: Math.round((performance.now() - this.#start) * 100) / 100,
      bytesIn: this.body?.length ?? 0,
      ...(this.#principal === undefined ? {} : { principal: this.#principal.id }),
      ...(this.adapter === undefined ? {} : { adapter: this.adapter }),
      ...(this.replica === undefined ? {} : { replica: this.replica }),
      ...(error === undefined ? {} : { error: error.code, ...(error.cause === undefined ? {} : { cause: error.cause }) }),
    })
  }
}

/** The raw id of the request in a body that may be anything. */
function requestedId(body: Buffer | null): string {
  try {
    const { id } = body === null ? { id: undefined } : (JSON.parse(body.toString()), outline(body))
    return id !== undefined && /^["\-\d]/.test(id) ? id : 'null'
  } catch {
    return 'null'
  }
}

function drained(): GatewayError {
  return new GatewayError('draining', { headers: { 'retry-after': '1', connection: 'close' } })
}
