import type { IncomingMessage, ServerResponse } from 'node:http'
import { knowsSession, placeOf, rawHeader, redirectsElsewhere } from '@mcp-gateway/mcp-http'
import { errorCode, legacyVersions } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import { GatewayError, unknownSession } from '../core/errors.ts'
import { chunkPassed } from './chunk-garbage.ts'
import { isEventStream, requestHeaders, responseHeaders, type HeaderRules } from './headers.ts'
import type { Outgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { type Session } from '../ingress/session-sealer.ts'

/** An answer whose head has come, and of which nothing has been passed on. */
export interface HeldAnswer {
  readonly passOn: () => void
  /** Nothing of it is passed on: the caller answers in another way. */
  readonly leave: () => void
}

/** One request that is to be carried to one replica, and its answer back. */
export interface Forwarding {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly requestId: string
  readonly outgoing: Outgoing
  readonly headerRules: HeaderRules
  /** What sends it. */
  readonly via: Pick<Dispatcher, 'dispatch'>
  /** Path and query at the replica. */
  readonly path: string
  readonly body: Buffer | null
  readonly session: Session | undefined
  /** The id by which the client knows the session. */
  readonly sealed: string | undefined
  readonly answerTimeoutMs: number
  /** Of a request to a server that is not known to answer: until its first message. */
  readonly handshakeMs: number | undefined
  /** The caller is told where a server redirects to. */
  readonly tellsRedirects: () => boolean
  /** Seals an id that the server has just given. */
  readonly seal: (upstreamId: string, upstream: Upstream) => string
  /**
   * Asked when an `initialize` opens no session: the server refuses it (4xx, or as of an unknown
   * version), or gives no session id. The answer waits until one of the two is called.
   */
  readonly refused?: ((status: number, held: HeldAnswer) => void) | undefined
  /** Told how an answer is cut that is long, or of which nobody knows how long it is. */
  readonly flows: (cut: (reason: GatewayError) => void) => void
  /** The answer has been passed on whole, or was cut off with `error`; nothing can be written any more. */
  readonly finished: (error?: GatewayError) => void
  /** Nothing has been written to the client: the caller answers, or tries elsewhere when `unsent`. */
  readonly failed: (error: GatewayError, unsent: boolean) => void
}

/**
 * Sends the request to the replica and streams the answer back: raw bytes both ways, each side's pace felt by the other,
 * each side's end felt by the other. Gives what interrupts it: an event stream ends in order then, what has no answer yet fails with the
 * reason, and any other answer is cut, unless the gateway only drains.
 */
export function forward(
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
  const exchange = new Exchange(upstream, forwarding)
  upstream.inFlight += 1
  forwarding.via.dispatch(
    {
      method: request.method as Dispatcher.HttpMethod,
      path: forwarding.path,
      headers,
      body: forwarding.body,
      headersTimeout: forwarding.answerTimeoutMs,
    },
    exchange,
  )
  return (reason) => exchange.interrupt(reason)
}

/** The beginning of an answer that is kept back. */
interface Peeked {
  readonly passOn: () => void
  readonly chunks: Buffer[]
  /** It comes as a stream of events. */
  readonly events: boolean
}

const nothing = Buffer.alloc(0)
/** An answer of so many bytes is over before anybody could lose the right to it. */
const longestAtOnce = 64 * 1024

/**
 * The status text of an answer that the gateway itself gives in the server's place. It is never
 * sent.
 */
export const answeredHere = 'Answered by the gateway'

/** It is undici's handler itself, because this is the hot path. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #upstream: Upstream
  readonly #forwarding: Forwarding
  readonly #onClientGone = (): void => this.#clientGone()
  #abort: ((reason: Error) => void) | undefined
  /** The request may have reached the server. */
  #sent = false
  #answered = false
  #ended = false
  /** The answer is a stream of events, which may end after any of them. */
  #events = false
  /** Why it is being given up, be there a connection by then or not. */
  #stopped: GatewayError | undefined
  #interrupted = false
  #leftToCaller = false
  #settled = false
  /** Bytes that the answer still has to bring, when its length is known. */
  #left = -1
  /** The answer to an `initialize`, until it tells whether the server refuses it. */
  #peeked: Peeked | undefined
  #refusalAsked = false
  #patience: NodeJS.Timeout | undefined

  constructor(upstream: Upstream, forwarding: Forwarding) {
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
    // 100 and 103 are between the server and us.
    if (status < 200) return true
    const { session } = this.#forwarding
    if (status === 400 && session !== undefined && statusText !== answeredHere) {
      // Not every server says 404 for a session it does not know (MCP 2025-11-25, transports).
      const { startedAt = 0 } = this.#upstream.replica
      if (startedAt > session.issuedAt + 1000) this.#abort?.(unknownSession())
      else this.#checkSession(session, this.#hold(status, raw, resume))
      return false
    }
    if (status === 401) {
      // Passed on, it would tell the client that its own credential is bad, and send it to sign in at the gateway again.
      this.#abort?.(
        new GatewayError('upstream_unauthorized', {
          detail: 'The server wants a credential that the gateway does not have for it.',
        }),
      )
      return false
    }
    if (status >= 300 && status < 400 && status !== 304) {
      const place = placeOf(rawHeader(raw, 'location'))
      const told = this.#forwarding.tellsRedirects() ? place : undefined
      this.#abort?.(
        new GatewayError('upstream_redirects', {
          detail: redirectsElsewhere(status, told),
          cause: redirectsElsewhere(status, place),
        }),
      )
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
      // It may have been decided at once.
      return this.#answered || this.#peeked !== undefined
    }
    if (peeks) {
      this.#peeking(status, raw, resume)()
      return true
    }
    this.#begin(status, raw, resume)
    return true
  }

  /** Gives what reads on until the answer is there, and then passes it on. */
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

  /** Keeps the answer back. Gives what passes it on, once it is clear that it is the client's. */
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

  /** The caller answers in another way, so nothing of the answer is passed on. */
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
    // What threw until here can still be told to the client.
    this.#answered = true
    this.#events = isEventStream(rawHeader(raw, 'content-type'))
    response.on('drain', resume)
    // An event stream may stay silent for long, and clients wait for its headers. `flushHeaders` would write letters beyond ASCII in UTF-8.
    if (length === undefined) response.write(nothing)
    if (length === undefined || this.#left > longestAtOnce)
      this.#forwarding.flows((reason) => this.interrupt(reason))
  }

  /** Passes the answer on when the server still knows the session. */
  #checkSession({ upstreamId }: Session, passOn: () => void): void {
    const { request, outgoing, via: pool } = this.#forwarding
    const { host, replica } = this.#upstream
    // A wrong version of the client must not make the question a bad request too.
    const version = legacyVersions.find((each) => each === request.headers['mcp-protocol-version'])
    const headers = ['host', host, ...outgoing.headers]
    const upstream = { pool, path: replica.path, headers: () => headers }
    void knowsSession(upstream, upstreamId, version).then((known) => {
      if (known) passOn()
      else if (!this.#settled) this.#abort?.(unknownSession())
    })
  }

  /** Some servers give a session id with an `initialize` that they refuse. */
  #peek(chunk: Buffer, { passOn, chunks }: Peeked): boolean {
    chunks.push(Buffer.from(chunk))
    const text = Buffer.concat(chunks).toString()
    const { refused } = this.#forwarding
    if (refused === undefined && anyMessage.test(text)) {
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
    // The stream gave its connection up for another caller, and may end after any event.
    const givenUp = this.#events && error.code === 'too_many_connections'
    if (this.#interrupted || givenUp) {
      response.end()
      return this.#forwarding.finished()
    }
    // The client must see that the answer is not whole: an orderly end would look like success.
    // HTTP/1.0 has no chunks, so that only a reset tells it from one.
    if (request.httpVersionMinor === 0) request.socket.resetAndDestroy()
    else response.destroy()
    this.#forwarding.finished(error)
  }

  interrupt(reason: GatewayError): void {
    const whole = this.#answered && !this.#events
    // Draining waits for an answer that ends by itself. A caller who lost the right gets no more of
    // any.
    if (whole && reason.code === 'draining') return
    this.#interrupted = !whole
    this.#stop(reason)
  }

  /** The id that the client is to use: its own again when the server repeats the id of the session. */
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

/** Whether the type of an answer is one that MCP has. */
function holdsMessages(raw: readonly Buffer[]): boolean {
  const type = rawHeader(raw, 'content-type') ?? ''
  return isEventStream(type) || /application\/json/i.test(type)
}

const anyMessage = /"(jsonrpc|result|error)"/

/** Whether an answer has ended and holds none. A stream with ids may be gone on with. */
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
    detail: `The server answered ${what} (HTTP ${status}) where MCP has a message. Check its address and its log.`,
  })
}

/** Servers also refuse an `initialize` by an error inside a 200, or refuse only what follows it. */
function opensNothing(status: number, raw: readonly Buffer[]): boolean {
  return status < 300
    ? rawHeader(raw, 'mcp-session-id') === undefined
    : status >= 400 && status < 500
}

/** The answer to an `initialize` is small; what is longer is none, or no refusal. */
const longestRefusal = 16_384

/**
 * Whether the beginning of an answer refuses a version. Undefined when it is too short to tell. It
 * may guess, as the server is asked then.
 */
function refusesVersion(text: string): boolean | undefined {
  if (text.includes('"result"') || text.length > longestRefusal) return false
  const code = /"error"[^]*"code"\s*:\s*(-?\d+)\D/.exec(text)?.[1]
  return code === undefined ? undefined : Number(code) === errorCode.unsupportedVersion
}

/** As `response.writeHead`, which keeps only the last of several equal names once a header has been set before (CORS, by the edge). */
function writeHead(response: ServerResponse, status: number, headers: readonly string[]): void {
  if (!response.hasHeader('vary')) return void response.writeHead(status, headers as string[])
  for (let index = 0; index < headers.length; index += 2)
    response.appendHeader(headers[index] as string, headers[index + 1] as string)
  response.writeHead(status)
}

/** What a failure of the transport means for the caller; above all, whether the request may have run. */
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
