import type { IncomingMessage, ServerResponse } from 'node:http'
import { countUnsent, type Share } from '@mcp-gateway/mcp-http'
import { elements, isArray, outline } from '@mcp-gateway/protocol'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import { shortOf, type CallerShares } from '../core/shares.ts'
import { requestIdOf } from '../http/edge.ts'
import { checkContentHeaders, checkMessageBody } from '../http/json-body.ts'
import { sendRpcError } from '../http/refuse.ts'
import { mostOfBatch, type McpRequest } from '../audit/mcp-requests.ts'
import type { Subject } from '../audit/decision.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import { methodOf, readBody } from './body.ts'
import type { HandedOver, Hop } from './peer-hop.ts'

export interface EntranceOptions {
  /**
   * Finds the caller, without a promise if no look-up is needed. @throws GatewayError, or rejects
   * with one
   */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  /** Adds to a refusal the challenge that tells the client how to sign in. Unset: no challenge. */
  readonly challenge?: (request: IncomingMessage, refusal: GatewayError) => GatewayError
  readonly hop: Hop
  readonly bodyLimitBytes: number
  readonly shares: Pick<CallerShares, 'requests' | 'bodyBytes' | 'heldBytes'>
  /** Milliseconds between two checks that the callers of open streams still have the right. */
  readonly recheckMs: number
  readonly requestFinished: (request: FinishedRequest) => void
  /** Unset: MCP requests are not audited. */
  readonly audit: ((request: McpRequest) => void) | undefined
}

/** The requests that are open. */
interface OpenRequests {
  /** The requests that can be interrupted, each with the function that ends it. */
  readonly interruptible: Map<RequestContext, (reason: GatewayError) => void>
  draining: boolean
}

/**
 * Every MCP request enters and leaves here, for any endpoint. The entrance finds its caller, reads
 * its body, answers its error and writes its line in the log.
 */
export class Entrance implements Disposable {
  readonly #options: EntranceOptions
  readonly #open: OpenRequests = { interruptible: new Map(), draining: false }
  readonly #recheck: NodeJS.Timeout

  constructor(options: EntranceOptions) {
    this.#options = options
    this.#recheck = setInterval(() => this.askAgain(), options.recheckMs).unref()
  }

  /**
   * Admits a request, and calls `proceed` once its caller is known. An error that `proceed` throws
   * becomes the answer. `path` is for the log.
   */
  admit(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    proceed: (context: RequestContext) => void,
  ): void {
    const context = new RequestContext(request, response, path, this.#options, this.#open)
    context.guard(() => {
      if (this.#open.draining) throw drained()
      const handed = (context.handed = this.#options.hop.open(request))
      const known = (principal: Principal): void => {
        context.enter(principal)
        proceed(context)
      }
      const principal = handed?.principal ?? this.#options.authenticate(request)
      if (!(principal instanceof Promise)) return known(principal)
      principal.then(
        (found) =>
          context.guard(() =>
            request.destroyed
              ? context.fail(new GatewayError('client_closed_request'))
              : known(found),
          ),
        (error: unknown) => context.fail(error),
      )
    })
  }

  /** Refuses new requests, and ends those that can be interrupted. Calls in progress go on. */
  drain(): void {
    this.#open.draining = true
    for (const [{ calling }, interrupt] of this.#open.interruptible)
      if (!calling) interrupt(drained())
  }

  /**
   * Checks again who may go on, because a stream outlives its token, key or role. The stream of a
   * caller without the right ends, and its client is refused when it comes back.
   */
  askAgain(): void {
    for (const [context, interrupt] of this.#open.interruptible) {
      const stop = (error: unknown): void => interrupt(toGatewayError(error))
      try {
        const principal = context.callerOfNow()
        if (principal instanceof Promise)
          principal.then((found) => context.checkStillMay(found)).catch(stop)
        else context.checkStillMay(principal)
      } catch (error) {
        stop(error)
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#recheck)
  }
}

const nothing = Buffer.alloc(0)
const listen = 'subscriptions/listen'

/**
 * True if a request opens a stream that stays open: the GET stream of a session, or
 * `subscriptions/listen`.
 */
function opensStream({ method, headers }: IncomingMessage, body: Buffer | null): boolean {
  if (method === 'GET' || headers['mcp-method'] === listen) return true
  // Servers may accept a request without the header, and names may be escaped.
  return (
    body !== null && (body.includes('listen') || body.includes('\\u')) && methodOf(body) === listen
  )
}

/** One MCP request, from its admission until its line in the log is written. */
export class RequestContext {
  readonly requestId: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly #path: string
  readonly #options: EntranceOptions
  readonly #open: OpenRequests
  readonly #start = performance.now()
  /** Set if a peer handed the request over. */
  handed: HandedOver | undefined
  /** The request is a call. Draining waits for it, and it outlives the token that it came with. */
  calling = false
  #principal: Principal | undefined
  adapter: string | undefined
  /** The resource that the caller was allowed to use, for the audit log. */
  subject: Subject | undefined
  /**
   * The resource that the caller was refused by an answer that does not say so, for the audit log.
   */
  denied: Subject | undefined
  replica: string | undefined
  body: Buffer | null = null
  #stillMay: ((principal: Principal) => void) | undefined
  /** The request's place among the open requests of its caller. */
  #place: Share | undefined
  /** The bytes of the request's body. */
  #bodyBytes: Share | undefined
  #over = false
  /** The audit log has a record that the request opened a stream. */
  #opened = false

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    options: EntranceOptions,
    open: OpenRequests,
  ) {
    this.requestId = requestIdOf(request)
    this.request = request
    this.response = response
    this.#path = path
    this.#options = options
    this.#open = open
  }

  /** Defined once `enter` was called, which comes before anybody else gets the context. */
  get principal(): Principal {
    return this.#principal as Principal
  }

  /** Counts the request for its caller. @throws GatewayError if the caller has too many open */
  enter(principal: Principal): void {
    this.#principal = principal
    this.#place = this.#options.shares.requests.open(partyOf(principal))
    const shortage = this.#place.hold(1)
    if (shortage !== undefined) throw shortOf(shortage, 'open requests')
  }

  /** Counts the bytes of the request's body until the request ends. */
  openBody(): Share {
    return (this.#bodyBytes = this.#options.shares.bodyBytes.open(partyOf(this.principal)))
  }

  /**
   * Registers the check of the caller's right; `check` throws if it is lost. A method: V8 tenures a
   * function assigned to a property, and with it keeps the request until a full collection.
   */
  permittedBy(check: (principal: Principal) => void): void {
    this.#stillMay = check
  }

  /** @throws GatewayError if the caller no longer has the right */
  checkStillMay(principal: Principal): void {
    this.#stillMay?.(principal)
  }

  /**
   * The caller as of now. Only the first gateway checks a handed-over request again. A call
   * outlives its token, which ends after minutes, but not an API key, which ends when somebody
   * decides it.
   */
  callerOfNow(): Principal | Promise<Principal> {
    return this.handed !== undefined || (this.calling && this.principal.apiKey === undefined)
      ? this.principal
      : this.#options.authenticate(this.request)
  }

  /** @throws GatewayError `method_not_allowed` for methods that streamable HTTP does not have */
  checkMethod(): void {
    const { method } = this.request
    if (method === 'POST' || method === 'GET' || method === 'DELETE') return
    throw new GatewayError('method_not_allowed', { headers: { allow: 'POST, GET, DELETE' } })
  }

  /**
   * Reads the body, and checks that it is the one that a peer has signed. An error that `then`
   * throws becomes the answer.
   */
  readBody(then: (body: Buffer | null) => void): void {
    readBody(this.request, this.#options.bodyLimitBytes, this, (error, body) => {
      if (error !== undefined) return this.fail(error)
      this.body = body
      this.guard(() => {
        this.handed?.checkBody(body)
        if (this.request.method === 'POST') checkMessage(this.request, body)
        // The parts that end streams have drained by now, so a stream that opens later would hold
        // the gateway up.
        if (this.#open.draining && opensStream(this.request, body)) throw drained()
        if (performance.now() - this.#start <= this.#options.recheckMs) then(body)
        else this.#askedAgain(() => then(body))
      })
    })
  }

  /** Checks the right again after a slow body, because the caller may have lost it meanwhile. */
  #askedAgain(then: () => void): void {
    const goOn = (principal: Principal): void => {
      this.checkStillMay(principal)
      then()
    }
    const principal = this.callerOfNow()
    if (!(principal instanceof Promise)) return goOn(principal)
    principal.then(
      (found) =>
        this.guard(() => {
          if (this.response.destroyed) throw new GatewayError('client_closed_request')
          goOn(found)
        }),
      (error: unknown) => this.fail(error),
    )
  }

  /** For requests that the gateway answers itself, without forwarding. */
  answer(work: () => void): void {
    const { request, response } = this
    response.setHeader('x-request-id', this.requestId)
    countUnsent(response, this.#options.shares.heldBytes.open(partyOf(this.principal)))
    response.once('close', () =>
      this.finish(
        response.writableFinished ? undefined : new GatewayError('client_closed_request'),
      ),
    )
    // A modern listen stream ends with an answer, so its owner ends it when the gateway drains.
    const opens = this.#interruptStream(
      request.method === 'GET'
        ? () => response.end()
        : ({ code }) => (code === 'draining' ? undefined : response.destroy()),
    )
    if (!opens) this.flows(() => (response.headersSent ? response.destroy() : undefined))
    this.guard(work)
    if (opens) this.#recordOpening()
  }

  /**
   * Registers how to cut the answer to a call. Draining waits for the call, but its caller is
   * checked again and again.
   */
  flows(cut: (reason: GatewayError) => void): void {
    if (this.#open.interruptible.has(this)) return
    this.calling = true
    // A call in progress may have run, so it keeps its place.
    this.#place?.spare(undefined)
    this.#endBy(cut)
  }

  /** Does the work. An error that it throws becomes the answer. */
  guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  /**
   * Registers how to end the stream, if the request opens one. Draining does not wait for a stream,
   * and its caller is checked again and again.
   */
  streams(interrupt: (reason: GatewayError) => void): void {
    if (this.#interruptStream(interrupt)) this.#recordOpening()
  }

  #interruptStream(interrupt: (reason: GatewayError) => void): boolean {
    const opens = opensStream(this.request, this.body)
    this.interruptible(opens ? interrupt : undefined)
    return opens
  }

  /**
   * Records the opening, because a stream may be open for days and a killed gateway records no end.
   */
  #recordOpening(): void {
    if (this.#opened || this.#over || this.response.writableEnded) return
    this.#opened = true
    this.#audit(undefined, true)
  }

  /**
   * Registers how to end this request early: a stream, or a request that was not sent yet.
   * Undefined once draining must wait for it.
   */
  interruptible(interrupt: ((reason: GatewayError) => void) | undefined): void {
    // Another caller that holds less may need the place.
    this.#place?.spare(
      interrupt === undefined ? undefined : () => interrupt(shortOf('caller', 'open requests')),
    )
    this.#endBy(interrupt)
  }

  #endBy(interrupt: ((reason: GatewayError) => void) | undefined): void {
    const { interruptible, draining } = this.#open
    if (interrupt === undefined) return void interruptible.delete(this)
    if (!interruptible.has(this)) this.response.once('close', () => interruptible.delete(this))
    interruptible.set(this, interrupt)
    if (draining && !this.calling) interrupt(drained())
  }

  /** Answers with the error and ends the request. */
  fail(thrown: unknown): void {
    const refusal = toGatewayError(thrown)
    const error = this.#options.challenge?.(this.request, refusal) ?? refusal
    if (!this.response.headersSent && !this.response.destroyed)
      sendRpcError(
        this.response,
        error,
        this.requestId,
        error.isUnread ? 'null' : requestedId(this.body),
      )
    this.finish(error)
  }

  finish(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    this.#place?.release()
    this.#bodyBytes?.release()
    this.#audit(error)
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
      ...(error === undefined
        ? {}
        : { error: error.code, ...(error.cause === undefined ? {} : { cause: error.cause }) }),
    })
  }

  #audit(error: GatewayError | undefined, opening = false): void {
    const { request, requestId, body, subject, denied, handed } = this
    this.#options.audit?.({
      request,
      requestId,
      body,
      principal: this.#principal,
      subject,
      denied,
      error,
      handed: handed !== undefined,
      opening,
    })
  }
}

/**
 * Refuses a body that is no JSON, or that the gateway and a server could read differently.
 * @throws GatewayError `unsupported_media_type`, `invalid_json`, `ambiguous_message`
 */
function checkMessage(request: IncomingMessage, body: Buffer | null): void {
  checkContentHeaders(request)
  checkMessageBody(body ?? nothing)
  if (body !== null && isArray(body)) checkLength(body)
}

/** Each message of a batch needs its own audit record, so that no call hides behind others. */
function checkLength(batch: Buffer): void {
  if (elements(batch, { start: 0, end: batch.length }).length > mostOfBatch)
    throw new GatewayError('invalid_request', {
      detail: `The batch has more than ${mostOfBatch} messages. Send them in several batches.`,
    })
}

/** The raw id of the request in a body, which may hold anything. */
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
