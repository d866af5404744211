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
  /** Who calls; at once where that is known without asking. @throws GatewayError, or rejects with one */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  /** Adds to a refusal what tells the client how to be let in; unset: nothing does. */
  readonly challenge?: (request: IncomingMessage, refusal: GatewayError) => GatewayError
  readonly hop: Hop
  readonly bodyLimitBytes: number
  readonly shares: Pick<CallerShares, 'requests' | 'bodyBytes' | 'heldBytes'>
  /** How often the callers of open streams are asked again whether they may. */
  readonly recheckMs: number
  readonly requestFinished: (request: FinishedRequest) => void
  /** Unset: MCP requests are not audited. */
  readonly audit: ((request: McpRequest) => void) | undefined
}

/** What is open. */
interface OpenRequests {
  /** What can be interrupted, and how. */
  readonly interruptible: Map<RequestContext, (reason: GatewayError) => void>
  draining: boolean
}

/** Where every MCP request comes in and goes out, whichever endpoint it is for: its caller, its body, its error, its one line in the log. */
export class Entrance implements Disposable {
  readonly #options: EntranceOptions
  readonly #open: OpenRequests = { interruptible: new Map(), draining: false }
  readonly #recheck: NodeJS.Timeout

  constructor(options: EntranceOptions) {
    this.#options = options
    this.#recheck = setInterval(() => this.askAgain(), options.recheckMs).unref()
  }

  /** Lets a request in. `proceed` is called once its caller is known; what it throws is the answer. `path` is for the log. */
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

  /** New requests are refused, and what can be interrupted is; calls in progress go on. */
  drain(): void {
    this.#open.draining = true
    for (const [{ calling }, interrupt] of this.#open.interruptible)
      if (!calling) interrupt(drained())
  }

  /** A stream outlives the token, the key or the role that it was opened with; its client is to come again and be refused. */
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

/** Whether a request opens a stream that stays open: the GET stream of a session, and its modern counterpart. */
function opensStream({ method, headers }: IncomingMessage, body: Buffer | null): boolean {
  if (method === 'GET' || headers['mcp-method'] === listen) return true
  // Servers need not insist on the header, and names may be escaped.
  return (
    body !== null && (body.includes('listen') || body.includes('\\u')) && methodOf(body) === listen
  )
}

/** One MCP request, from when it is let in until its line in the log is written. */
export class RequestContext {
  readonly requestId: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly #path: string
  readonly #options: EntranceOptions
  readonly #open: OpenRequests
  readonly #start = performance.now()
  /** Set when a peer hands the request over. */
  handed: HandedOver | undefined
  /** The request is a call. Draining waits for it, and it outlives the token that it came with. */
  calling = false
  #principal: Principal | undefined
  adapter: string | undefined
  /** What the caller was allowed to use, for the audit log. */
  subject: Subject | undefined
  /** What the caller was refused in an answer that does not say so, for the audit log. */
  denied: Subject | undefined
  replica: string | undefined
  body: Buffer | null = null
  #stillMay: ((principal: Principal) => void) | undefined
  /** The request among the open ones of its caller. */
  #place: Share | undefined
  /** The bytes of its body. */
  #bodyBytes: Share | undefined
  #over = false
  /** The audit log knows that it has opened a stream. */
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

  /** Known to whoever is given the context. */
  get principal(): Principal {
    return this.#principal as Principal
  }

  /** Counts the request for its caller. @throws GatewayError when the caller has too many open */
  enter(principal: Principal): void {
    this.#principal = principal
    this.#place = this.#options.shares.requests.open(partyOf(principal))
    const shortage = this.#place.hold(1)
    if (shortage !== undefined) throw shortOf(shortage, 'open requests')
  }

  /** Counts the bytes of its body until the request ends. */
  openBody(): Share {
    return (this.#bodyBytes = this.#options.shares.bodyBytes.open(partyOf(this.principal)))
  }

  /**
   * How it is found out whether a caller still may do what it does; `check` throws when not. A method because V8 makes a function that is
   * assigned to a property for a long life, and with it everything that a request holds outlives the request until the next full collection.
   */
  permittedBy(check: (principal: Principal) => void): void {
    this.#stillMay = check
  }

  /** @throws GatewayError when the caller may no longer do what it does */
  checkStillMay(principal: Principal): void {
    this.#stillMay?.(principal)
  }

  /**
   * The caller as it is now. The gateway that took a handed-over request in asks. Tokens end by
   * themselves in minutes, which is no reason to cut a long call; API keys end when somebody says so.
   */
  callerOfNow(): Principal | Promise<Principal> {
    return this.handed !== undefined || (this.calling && this.principal.apiKey === undefined)
      ? this.principal
      : this.#options.authenticate(this.request)
  }

  /** @throws GatewayError `method_not_allowed` for what streamable HTTP does not know */
  checkMethod(): void {
    const { method } = this.request
    if (method === 'POST' || method === 'GET' || method === 'DELETE') return
    throw new GatewayError('method_not_allowed', { headers: { allow: 'POST, GET, DELETE' } })
  }

  /** Reads the body, which is to be the one that a peer has signed. What `then` throws is the answer. */
  readBody(then: (body: Buffer | null) => void): void {
    readBody(this.request, this.#options.bodyLimitBytes, this, (error, body) => {
      if (error !== undefined) return this.fail(error)
      this.body = body
      this.guard(() => {
        this.handed?.checkBody(body)
        if (this.request.method === 'POST') checkMessage(this.request, body)
        // One that was let in before would be opened behind the back of who ends them, and hold the gateway up.
        if (this.#open.draining && opensStream(this.request, body)) throw drained()
        if (performance.now() - this.#start <= this.#options.recheckMs) then(body)
        else this.#askedAgain(() => then(body))
      })
    })
  }

  /** A body may be long in coming, and its caller lose the right meanwhile. */
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

  /** For what answers by itself, not by forwarding. */
  answer(work: () => void): void {
    const { request, response } = this
    response.setHeader('x-request-id', this.requestId)
    countUnsent(response, this.#options.shares.heldBytes.open(partyOf(this.principal)))
    response.once('close', () =>
      this.finish(
        response.writableFinished ? undefined : new GatewayError('client_closed_request'),
      ),
    )
    // Whoever answers ends listen streams of the modern era when the gateway drains, because these end with an answer.
    const opens = this.#interruptStream(
      request.method === 'GET'
        ? () => response.end()
        : ({ code }) => (code === 'draining' ? undefined : response.destroy()),
    )
    if (!opens) this.flows(() => (response.headersSent ? response.destroy() : undefined))
    this.guard(work)
    if (opens) this.#recordOpening()
  }

  /** How the answer to a call is cut. Draining waits for it, but its caller is asked again and again. */
  flows(cut: (reason: GatewayError) => void): void {
    if (this.#open.interruptible.has(this)) return
    this.calling = true
    // A call in progress may have run, so its place is not given to others.
    this.#place?.spare(undefined)
    this.#endBy(cut)
  }

  /** Does the work, of which an error is the answer. */
  guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  /** How the stream that the request opens is ended, if it opens one: draining does not wait for it, and its caller is asked again and again. */
  streams(interrupt: (reason: GatewayError) => void): void {
    if (this.#interruptStream(interrupt)) this.#recordOpening()
  }

  #interruptStream(interrupt: (reason: GatewayError) => void): boolean {
    const opens = opensStream(this.request, this.body)
    this.interruptible(opens ? interrupt : undefined)
    return opens
  }

  /** A stream may be open for days, and a killed gateway records no end. */
  #recordOpening(): void {
    if (this.#opened || this.#over || this.response.writableEnded) return
    this.#opened = true
    this.#audit(undefined, true)
  }

  /** How what draining need not wait for is ended: streams, and requests that were not sent yet. Undefined: it waits from now on. */
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

  /** Answers with the error and ends. */
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
 * Refuses a message that the gateway would decide and record in one reading, and a server run in
 * another. What is let in is JSON.
 * @throws GatewayError `unsupported_media_type`, `invalid_json`, `ambiguous_message`
 */
function checkMessage(request: IncomingMessage, body: Buffer | null): void {
  checkContentHeaders(request)
  checkMessageBody(body ?? nothing)
  if (body !== null && isArray(body)) checkLength(body)
}

/** Each message of a batch has a record, so that no call hides behind others. */
function checkLength(batch: Buffer): void {
  if (elements(batch, { start: 0, end: batch.length }).length > mostOfBatch)
    throw new GatewayError('invalid_request', {
      detail: `The batch has more than ${mostOfBatch} messages. Send them in several batches.`,
    })
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
