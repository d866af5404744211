import type { IncomingMessage, ServerResponse } from 'node:http'
import { countUnsent, type Share } from '@mcp-gateway/mcp-http'
import type { Subject } from '../audit/decision.ts'
import type { InnerAct } from '../audit/inner-act.ts'
import type { McpRequest } from '../audit/mcp-requests.ts'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import { shortOf, type CallerShares } from '../core/shares.ts'
import { requestIdOf } from '../http/edge.ts'
import { sendRpcError } from '../http/refuse.ts'
import type { FinishedRequest } from '../telemetry/access-log.ts'
import { checkMessage, opensStream, readBody, requestedId } from './body.ts'
import type { HandedOver } from './peer-hop.ts'

export interface ExchangeOptions {
  /**
   * Finds the caller, without a promise if no look-up is needed. @throws GatewayError, or rejects
   * with one
   */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  /** Adds to a refusal the challenge that tells the client how to sign in. Unset: no challenge. */
  readonly challenge?: (request: IncomingMessage, refusal: GatewayError) => GatewayError
  readonly bodyLimitBytes: number
  readonly shares: Pick<CallerShares, 'requests' | 'bodyBytes' | 'heldBytes'>
  /** Milliseconds between two checks that the callers of open streams still have the right. */
  readonly recheckMs: number
  readonly requestFinished: (request: FinishedRequest) => void
  /** Unset: MCP requests are not audited. */
  readonly audit: ((request: McpRequest) => void) | undefined
}

/** The exchanges that are open. */
export interface OpenExchanges {
  /** The exchanges that can be interrupted, each with the function that ends it. */
  readonly interruptible: Map<Exchange, (reason: GatewayError) => void>
  draining: boolean
}

/**
 * How far an exchange has come. `waiting`: no server has got it, so the gateway may give it up.
 * `call`: it may have run. `stream`: it stays open, and its client can open it again.
 */
type Stage = 'waiting' | 'call' | 'stream'

/** Facts about an exchange that its line in the log and its audit record tell. */
export interface Notes {
  /** The adapter that the request names, if there is one. */
  readonly adapter?: string | undefined
  /** The replica, tool gateway or other way by which the request goes on. */
  readonly replica?: string
  /** The resource that the caller was allowed to use. */
  readonly subject?: Subject
  /** The resource that the caller was refused by an answer that does not say so. */
  readonly denied?: Subject
  /** One more message that reaches a member of a virtual server. */
  readonly inner?: InnerAct
}

/** Shared, because most requests have no acts. */
const none: InnerAct[] = []
/** Acts that one request keeps. A batch has fewer messages. */
const mostActs = 1000

/**
 * One MCP request and its answer, from its admission until its line in the log is written. Other
 * rooms read it, act by its methods, and add facts by `note` alone.
 */
export class Exchange {
  readonly requestId: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly #path: string
  readonly #options: ExchangeOptions
  readonly #open: OpenExchanges
  readonly #start = performance.now()
  #principal: Principal | undefined
  #handed: HandedOver | undefined
  #body: Buffer | null = null
  #stage: Stage = 'waiting'
  #adapter: string | undefined
  #replica: string | undefined
  #subject: Subject | undefined
  #denied: Subject | undefined
  /** Empty unless the request is for a virtual server. */
  #inner: InnerAct[] = none
  #stillMay: ((principal: Principal) => void) | undefined
  /** The exchange's place among the open requests of its caller. */
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
    options: ExchangeOptions,
    open: OpenExchanges,
  ) {
    this.requestId = requestIdOf(request)
    this.request = request
    this.response = response
    this.#path = path
    this.#options = options
    this.#open = open
  }

  /** Defined once `enter` was called, which comes before any other room gets the exchange. */
  get principal(): Principal {
    return this.#principal as Principal
  }

  /** True if a peer handed the request over. */
  get isHandedOver(): boolean {
    return this.#handed !== undefined
  }

  /** The request is a call. Draining waits for it, and it outlives the token that it came with. */
  get calling(): boolean {
    return this.#stage === 'call'
  }

  /** The answer is decided, and the shares of the request are free again. */
  get over(): boolean {
    return this.#over
  }

  /** Null until it was read, for a request without a body, and once the request is over. */
  get body(): Buffer | null {
    return this.#body
  }

  /**
   * Adds facts for the log and the audit record. A later fact replaces the one before; acts are
   * collected.
   */
  note({ adapter, replica, subject, denied, inner }: Notes): void {
    if (adapter !== undefined) this.#adapter = adapter
    if (replica !== undefined) this.#replica = replica
    if (subject !== undefined) this.#subject = subject
    if (denied !== undefined) this.#denied = denied
    if (inner === undefined) return
    if (this.#inner === none) this.#inner = []
    if (this.#inner.length < mostActs) this.#inner.push(inner)
  }

  /**
   * Takes the caller, and counts the request for it. `handed` is set if a peer handed it over.
   * @throws GatewayError if the caller has too many open
   */
  enter(principal: Principal, handed: HandedOver | undefined): void {
    this.#principal = principal
    this.#handed = handed
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
    return this.isHandedOver || (this.calling && this.principal.apiKey === undefined)
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

      this.#body = body
      this.guard(() => {
        this.#handed?.checkBody(body)
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
    if (!opensStream(request, this.#body)) {
      this.#become('call', () => (response.headersSent ? response.destroy() : undefined))
      return this.guard(work)
    }

    this.#become(
      'stream',
      request.method === 'GET'
        ? () => response.end()
        : ({ code }) => (code === 'draining' ? undefined : response.destroy()),
    )
    this.guard(work)
    this.#recordOpening()
  }

  /** Does the work. An error that it throws becomes the answer. */
  guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  /** Registers how to give the request up, which waits and which no server has got. */
  waits(giveUp: (reason: GatewayError) => void): void {
    this.response.once('close', () => {
      if (this.#stage === 'waiting') giveUp(new GatewayError('client_closed_request'))
    })
    this.#become('waiting', giveUp)
  }

  /**
   * Registers how to cut the answer to a call. Draining waits for the call, but its caller is
   * checked again and again.
   */
  flows(cut: (reason: GatewayError) => void): void {
    if (this.#stage !== 'stream') this.#become('call', cut)
  }

  /**
   * The request is on its way to a server. Registers how to end the stream, if it opens one.
   * Draining does not wait for a stream, and its caller is checked again and again.
   */
  sent(interrupt: (reason: GatewayError) => void): void {
    if (opensStream(this.request, this.#body)) {
      this.#become('stream', interrupt)
      this.#recordOpening()
    } else if (this.#stage === 'waiting') this.#become('call', undefined)
  }

  /**
   * Moves the exchange on. `cut` ends it early; undefined if nothing may. Another caller that holds
   * less may need the place, unless the request may have run.
   */
  #become(stage: Stage, cut: ((reason: GatewayError) => void) | undefined): void {
    if (this.#over) return
    this.#stage = stage
    this.#place?.spare(
      stage === 'call' || cut === undefined
        ? undefined
        : () => cut(shortOf('caller', 'open requests')),
    )

    const { interruptible, draining } = this.#open
    if (cut === undefined) return void interruptible.delete(this)
    interruptible.set(this, cut)
    if (draining && stage !== 'call') cut(drained())
  }

  /**
   * Records the opening, because a stream may be open for days and a killed gateway records no end.
   */
  #recordOpening(): void {
    if (this.#opened || this.#over || this.response.writableEnded) return
    this.#opened = true
    this.#audit(undefined, true)
  }

  /** Answers with the error and ends the request. */
  fail(thrown: unknown): void {
    const { request, response, requestId } = this
    const refusal = toGatewayError(thrown)
    const error = this.#options.challenge?.(request, refusal) ?? refusal
    if (!response.headersSent && !response.destroyed)
      sendRpcError(response, error, requestId, error.isUnread ? 'null' : requestedId(this.#body))
    this.finish(error)
  }

  /** Frees the shares of the request, and writes its audit record and its line in the log, once. */
  finish(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    this.#open.interruptible.delete(this)
    this.#place?.release()
    this.#bodyBytes?.release()
    this.#audit(error)

    // A session may refer to the exchange for long, but its bytes are no longer counted.
    const bytesIn = this.#body?.length ?? 0
    this.#body = null
    this.#options.requestFinished({
      requestId: this.requestId,
      method: this.request.method ?? '',
      path: this.#path,
      status: error?.status ?? this.response.statusCode,
      durationMs: Math.round((performance.now() - this.#start) * 100) / 100,
      bytesIn,
      principal: this.#principal?.id,
      adapter: this.#adapter,
      replica: this.#replica,
      error: error?.code,
      cause: error?.cause,
    })
  }

  #audit(error: GatewayError | undefined, opening = false): void {
    this.#options.audit?.({
      request: this.request,
      requestId: this.requestId,
      body: this.#body,
      principal: this.#principal,
      subject: this.#subject,
      denied: this.#denied,
      inner: this.#inner,
      error,
      handed: this.isHandedOver,
      opening,
    })
  }
}

export function drained(): GatewayError {
  return new GatewayError('draining', { headers: { 'retry-after': '1', connection: 'close' } })
}
