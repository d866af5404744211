import type { IncomingMessage, ServerResponse } from 'node:http'
import { knowsSession, placeOf, rawHeader, redirectsElsewhere } from '@mcp-gateway/mcp-http'
import { errorCode, legacyVersions } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { mayWrite, type Permit } from '../core/permission.ts'
import type { Adapter } from '../core/resource.ts'
import { chunkPassed } from './chunk-garbage.ts'
import { isEventStream } from '../lib/http/event-stream-type.ts'
import { answeredHere } from '../servers/answered-here.ts'
import { requestHeaders, responseHeaders, type HeaderRules } from './headers.ts'
import type { Outgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Session } from '../ingress/session-sealer.ts'

/** An answer whose head has arrived. The client has got none of it yet. */
export interface HeldAnswer {
  readonly passOn: () => void
  /** Drops the answer: the caller answers in another way. */
  readonly leave: () => void
}

/** One request for one replica, and the way back for its answer. */
export interface Forwarding {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly requestId: string
  readonly outgoing: Outgoing
  readonly headerRules: HeaderRules
  /** Sends the request. */
  readonly via: Pick<Dispatcher, 'dispatch'>
  /** Path and query at the replica. */
  readonly path: string
  readonly body: Buffer | null
  readonly session: Session | undefined
  /** The sealed id by which the client knows the session. */
  readonly sealed: string | undefined
  readonly answerTimeoutMs: number
  /** Limit for the first message of the answer, in ms. Set if the server is not known to answer. */
  readonly handshakeMs: number | undefined
  /** Seals a session id that the server has just given. */
  readonly seal: (upstreamId: string, upstream: Upstream) => string
  /**
   * Called when an `initialize` opens no session: the server gives no session id, or refuses (4xx,
   * or an error for an unknown version). The answer waits for `passOn` or `leave`.
   */
  readonly refused?: ((status: number, held: HeldAnswer) => void) | undefined
  /** Receives the function that cuts an answer that is long or of unknown length. */
  readonly flows: (cut: (reason: GatewayError) => void) => void
  /**
   * The answer was passed on whole, or was cut off with `error`. Nothing can be written any more.
   */
  readonly finished: (error?: GatewayError) => void
  /** The client has got nothing yet. The caller answers, or tries another replica if `unsent`. */
  readonly failed: (error: GatewayError, unsent: boolean) => void
}

/**
 * Sends the request to the replica and streams the answer back as raw bytes. Each side slows down
 * with the other, and ends with the other. Returns the function that interrupts the exchange.
 */
export function forward(
  permit: Permit<'use', Adapter>,
  upstream: Upstream,
  forwarding: Forwarding,
): (reason: GatewayError) => void {
  const { request, outgoing, requestId, session } = forwarding
  const headers = requestHeaders(
    request.rawHeaders,
    request.headers.connection,
    {
      outgoing,
      requestId,
      upstreamSession: session?.upstreamId,
      remoteAddress: request.socket.remoteAddress,
      host: request.headers.host,
    },
    forwarding.headerRules,
  )
  headers.push('host', upstream.host)
  const handler = new ForwardHandler(permit, upstream, forwarding)
  upstream.inFlight += 1
  forwarding.via.dispatch(
    {
      method: request.method as Dispatcher.HttpMethod,
      path: forwarding.path,
      headers,
      body: forwarding.body,
      headersTimeout: forwarding.answerTimeoutMs,
    },
    handler,
  )
  return (reason) => handler.interrupt(reason)
}

/** The beginning of an answer that is kept back. */
interface Peeked {
  readonly passOn: () => void
  readonly chunks: Buffer[]
  /** The answer is a stream of events. */
  readonly events: boolean
}

const nothing = Buffer.alloc(0)
/** Bytes. A shorter answer is over before its caller could lose the right to it. */
const longestAtOnce = 64 * 1024

/** One attempt at a server. The class is undici's handler, because this is the hot path. */
class ForwardHandler implements Dispatcher.DispatchHandler {
  readonly #permit: Permit<'use', Adapter>
  readonly #upstream: Upstream
  readonly #forwarding: Forwarding
  readonly #onClientGone = (): void => this.#clientGone()
  #abort: ((reason: Error) => void) | undefined
  /** The request may have reached the server. */
  #sent = false
  #answered = false
  #ended = false
  /** The answer is a stream of events, which may end after any event. */
  #events = false
  /** The reason for giving up the exchange. It may come before there is a connection. */
  #stopped: GatewayError | undefined
  #interrupted = false
  #leftToCaller = false
  #settled = false
  /** Bytes of the answer that are still to come, or -1 if its length is unknown. */
  #left = -1
  /** The answer to an `initialize`, until the gateway can tell if the server refuses. */
  #peeked: Peeked | undefined
  #refusalAsked = false
  #patience: NodeJS.Timeout | undefined

  constructor(permit: Permit<'use', Adapter>, upstream: Upstream, forwarding: Forwarding) {
    this.#permit = permit
    this.#upstream = upstream
    this.#forwarding = forwarding
    forwarding.response.on('close', this.#onClientGone)
    const { handshakeMs } = forwarding
    if (handshakeMs !== undefined)
      this.#patience = setTimeout(() => this.#stop(noHandshake()), handshakeMs).unref()
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    this.#sent = true
    if (this.#stopped !== undefined) abort(this.#stopped)
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, statusText?: string): boolean {
    // Informational answers (100, 103) concern the server and the gateway only.
    if (status < 200) return true
    const { session } = this.#forwarding
    if (status === 400 && session !== undefined && statusText !== answeredHere) {
      // Some servers answer 400 instead of 404 for an unknown session (MCP 2025-11-25, transports).
      const { startedAt = 0 } = this.#upstream.replica
      if (startedAt > session.issuedAt + 1000) this.#abort?.(unknownSession())
      else this.#checkSession(session, this.#hold(status, raw, resume))
      return false
    }
    if (status === 401 || isRedirect(status)) {
      this.#abort?.(this.#misfit(status, raw))
      return false
    }
    const { refused, handshakeMs } = this.#forwarding
    const peeks = handshakeMs !== undefined && status < 300
    if (peeks && !holdsMessages(raw)) {
      this.#abort?.(notMcp(status, rawHeader(raw, 'content-type')))
      return false
    }
    if (refused !== undefined && opensNothing(status, raw)) {
      this.#refusalAsked = true
      const passOn = peeks ? this.#peeking(status, raw, resume) : this.#hold(status, raw, resume)
      refused(status, { passOn, leave: () => this.#leave() })
      // `refused` may have decided at once.
      return this.#answered || this.#peeked !== undefined
    }
    if (peeks) {
      this.#peeking(status, raw, resume)()
      return true
    }
    this.#begin(status, raw, resume)
    return true
  }

  /** The error in place of an answer that would mislead the client. */
  #misfit(status: number, raw: readonly Buffer[]): GatewayError {
    // A 401 would tell the client that its own credential is bad, and make it sign in at the
    // gateway again.
    if (status === 401)
      return new GatewayError('upstream_unauthorized', {
        detail: 'The server wants a credential that the gateway does not have for it.',
      })

    const place = placeOf(rawHeader(raw, 'location'))
    const told = mayWrite(this.#permit.principal, this.#permit.resource) ? place : undefined
    return new GatewayError('upstream_redirects', {
      detail: redirectsElsewhere(status, told),
      cause: redirectsElsewhere(status, place),
    })
  }

  /** Returns a function that reads on until the answer is there, and then passes it on. */
  #peeking(status: number, raw: Buffer[], resume: () => void): () => void {
    const chunks: Buffer[] = []
    const events = isEventStream(rawHeader(raw, 'content-type'))
    const passOn = this.#hold(status, raw, resume, chunks)
    return () => {
      if (this.#settled) return
      this.#peeked = { passOn, chunks, events }
      resume()
    }
  }

  /** Keeps the answer back. Returns a function that passes it on to the client. */
  #hold(
    status: number,
    raw: Buffer[],
    resume: () => void,
    chunks: readonly Buffer[] = [],
  ): () => void {
    const copies = raw.map((each) => Buffer.from(each))
    return () => {
      if (this.#settled) return
      try {
        this.#peeked = undefined
        this.#begin(status, copies, resume)
        for (const chunk of chunks) this.onData(chunk)
        resume()
      } catch (error) {
        this.#abort?.(error as Error)
      }
    }
  }

  /** Drops the answer, because the caller answers in another way. */
  #leave(): void {
    this.#leftToCaller = true
    this.#abort?.(new GatewayError('upstream_failed'))
  }

  /** Passes on the head of the answer. */
  #begin(status: number, raw: Buffer[], resume: () => void): void {
    clearTimeout(this.#patience)
    const { response, requestId, headerRules } = this.#forwarding
    const headers = responseHeaders(raw, requestId, this.#upstream.origin, headerRules)
    const given = rawHeader(raw, 'mcp-session-id')
    if (given !== undefined) headers.push('mcp-session-id', this.#clientSession(given))
    const length = rawHeader(raw, 'content-length')
    if (length !== undefined) this.#left = Number(length)
    writeHead(response, status, headers)
    // The client can still get an error for anything that was thrown above.
    this.#answered = true
    this.#events = isEventStream(rawHeader(raw, 'content-type'))
    response.on('drain', resume)
    // An event stream may stay silent for long, and clients wait for its headers. `flushHeaders`
    // would write letters beyond ASCII in UTF-8.
    if (length === undefined) response.write(nothing)
    if (length === undefined || this.#left > longestAtOnce)
      this.#forwarding.flows((reason) => this.interrupt(reason))
  }

  /** Passes the answer on if the server still knows the session. */
  #checkSession({ upstreamId }: Session, passOn: () => void): void {
    const { request, outgoing, via: pool } = this.#forwarding
    const { host, replica } = this.#upstream
    // A wrong version from the client must not make this question a bad request too.
    const version = legacyVersions.find((each) => each === request.headers['mcp-protocol-version'])
    const headers = ['host', host, ...outgoing.headers]
    const upstream = { pool, path: replica.path, headers: () => headers }
    void knowsSession(upstream, upstreamId, version).then((known) => {
      if (known) passOn()
      else if (!this.#settled) this.#abort?.(unknownSession())
    })
  }

  /**
   * Reads on until the answer has a message. Some servers give a session id with an `initialize`
   * that they refuse.
   */
  #peek(chunk: Buffer, { passOn, chunks }: Peeked): boolean {
    chunks.push(Buffer.from(chunk))
    const text = Buffer.concat(chunks).toString()
    const { refused } = this.#forwarding
    if (chunks.length > mostPeeked || (refused === undefined && anyMessage.test(text))) {
      passOn()
      return true
    }
    const refuses = refusesVersion(text)
    if (refuses === undefined) return true
    if (!refuses || refused === undefined || this.#refusalAsked) passOn()
    else {
      this.#refusalAsked = true
      refused(200, { passOn, leave: () => this.#leave() })
      return false
    }
    return true
  }

  onData(chunk: Buffer): boolean {
    if (this.#peeked !== undefined) return this.#peek(chunk, this.#peeked)
    const { response } = this.#forwarding
    chunkPassed(chunk.length)
    if (this.#left >= 0) {
      this.#left -= chunk.length
      if (this.#left === 0) {
        this.#ended = true
        response.end(chunk)
        return true
      }
    }
    return response.write(chunk)
  }

  onComplete(): void {
    if (this.#peeked !== undefined && isNoAnswer(this.#peeked)) {
      this.#settle()
      return this.#forwarding.failed(notMcp(200, undefined), false)
    }
    this.#peeked?.passOn()
    if (!this.#ended) this.#forwarding.response.end()
    this.#settle()
    this.#forwarding.finished()
  }

  onError(cause: Error): void {
    this.#settle()
    if (this.#leftToCaller) return
    const { request, response } = this.#forwarding
    const error = this.#stopped ?? toError(cause, this.#sent)
    if (!this.#answered) return this.#forwarding.failed(error, !this.#sent)
    // The stream gave up its connection for another caller, and may end after any event.
    const givenUp = this.#events && error.code === 'too_many_connections'
    if (this.#interrupted || givenUp) {
      response.end()
      return this.#forwarding.finished()
    }
    // The client must see that the answer is cut: an orderly end would look like success. HTTP/1.0
    // has no chunks, so only a reset shows the cut.
    if (request.httpVersionMinor === 0) request.socket.resetAndDestroy()
    else response.destroy()
    this.#forwarding.finished(error)
  }

  /**
   * Ends an event stream in order, fails a request that has no answer yet, and cuts any other
   * answer unless the gateway only drains.
   */
  interrupt(reason: GatewayError): void {
    const whole = this.#answered && !this.#events
    // Draining waits for an answer that ends by itself. A caller who has lost the right gets no
    // more of any answer.
    if (whole && reason.code === 'draining') return
    this.#interrupted = !whole
    this.#stop(reason)
  }

  /**
   * The session id for the client: its own id again if the server repeats the id of the session.
   */
  #clientSession(given: string): string {
    const { session, sealed, seal } = this.#forwarding
    return session !== undefined && sealed !== undefined && session.upstreamId === given
      ? sealed
      : seal(given, this.#upstream)
  }

  #clientGone(): void {
    // `close` also follows an answer that was written whole.
    if (!this.#forwarding.response.writableFinished)
      this.#stop(new GatewayError('client_closed_request'))
  }

  #stop(reason: GatewayError): void {
    this.#stopped ??= reason
    this.#abort?.(reason)
  }

  #settle(): void {
    this.#settled = true
    clearTimeout(this.#patience)
    this.#upstream.inFlight -= 1
    this.#forwarding.response.off('close', this.#onClientGone)
  }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400 && status !== 304
}

/** True if MCP has messages of this content type. */
function holdsMessages(raw: readonly Buffer[]): boolean {
  const type = rawHeader(raw, 'content-type') ?? ''
  return isEventStream(type) || /application\/json/i.test(type)
}

/**
 * Pieces of an answer. Each one is read with those before it, and a longer search is no refusal.
 */
const mostPeeked = 64

const anyMessage = /"(jsonrpc|result|error)"/

/**
 * True if an answer has ended without a message. A client can resume a stream that has event ids.
 */
function isNoAnswer({ chunks, events }: Peeked): boolean {
  const text = Buffer.concat(chunks).toString()
  if (events && /^id:/m.test(text)) return false
  return !anyMessage.test(text)
}

function noHandshake(): GatewayError {
  return new GatewayError('upstream_timeout', {
    detail: 'The server has not answered in time (proxy.handshakeTimeoutSeconds).',
  })
}

function notMcp(status: number, type: string | undefined): GatewayError {
  const what = type === undefined ? 'without a message' : `with '${type.slice(0, 100)}'`
  return new GatewayError('upstream_not_mcp', {
    detail:
      `The server answered ${what} (HTTP ${status}) where MCP has a message. ` +
      'Check its address and its log.',
  })
}

/**
 * True if the answer opens no session. Some servers refuse an `initialize` by an error inside a
 * 200, or refuse only the requests that follow.
 */
function opensNothing(status: number, raw: readonly Buffer[]): boolean {
  return status < 300
    ? rawHeader(raw, 'mcp-session-id') === undefined
    : status >= 400 && status < 500
}

/** Characters. The answer to an `initialize` is small, so a longer one is no refusal. */
const longestRefusal = 16_384

/**
 * True if the beginning of an answer refuses a version, undefined if the text is too short to tell.
 * A wrong guess does no harm, because the gateway then asks the server.
 */
function refusesVersion(text: string): boolean | undefined {
  if (text.includes('"result"') || text.length > longestRefusal) return false
  const code = /"error"[^]*"code"\s*:\s*(-?\d+)\D/.exec(text)?.[1]
  return code === undefined ? undefined : Number(code) === errorCode.unsupportedVersion
}

/**
 * `response.writeHead` that keeps repeated names. The original keeps only the last of them once the
 * edge has set a header (CORS).
 */
function writeHead(response: ServerResponse, status: number, headers: readonly string[]): void {
  if (!response.hasHeader('vary')) return void response.writeHead(status, headers as string[])
  for (let index = 0; index < headers.length; index += 2)
    response.appendHeader(headers[index] as string, headers[index + 1] as string)
  response.writeHead(status)
}

/**
 * Translates a failure of the transport. The caller learns above all if the request may have run.
 */
function toError(cause: Error, sent: boolean): GatewayError {
  if (cause instanceof GatewayError) return cause
  if (!sent)
    return new GatewayError('upstream_unreachable', {
      detail: 'The server could not be reached. The request was not run.',
      cause,
    })
  if ((cause as NodeJS.ErrnoException).code === 'UND_ERR_HEADERS_TIMEOUT')
    return new GatewayError('upstream_timeout', { cause })
  return new GatewayError('upstream_failed', {
    detail: 'The server broke off before its answer was whole. The request may have run.',
    cause,
  })
}
