import type { Dispatcher } from 'undici'
import { rawHeader } from '../raw-header.ts'
import { placeOf, redirectsElsewhere } from './redirects.ts'
import type { Share } from '../shares/shares.ts'

/** The headers of each POST to a legacy server (MCP 2025-11-25, transports). */
export const legacyPostHeaders: readonly string[] = [
  'content-type',
  'application/json',
  'accept',
  'application/json, text/event-stream',
]

/** An MCP server over HTTP, as the translation uses it. */
export interface HttpUpstream {
  readonly pool: Pick<Dispatcher, 'dispatch'>
  readonly path: string
  /**
   * Headers of each request, as name, value, name, value: the caller's identity, the Host. Read for
   * each request, because tokens expire. @throws Error when a credential cannot be read
   */
  readonly headers: () => readonly string[]
  /** True if the replica is about to end, or has ended. */
  readonly leaving?: () => boolean
  /** True if the error may name the address to which the server redirects. */
  readonly tellsRedirects?: boolean
  /** Counts the bytes that one answer holds until it is complete. Unset: not counted. */
  readonly held?: () => Share
}

/** The reason why an answer is missing or incomplete. */
export interface HttpFailure {
  readonly message: string
  /** True if the server cannot have run the request. */
  readonly unsent: boolean
  /** A stable code, where the code says more than the message. */
  readonly code?: string
  /** True if the request may be sent again unchanged. Undefined if unknown. */
  readonly retry?: boolean
}

export interface HttpAnswer {
  /** `header` returns the first value of a header. Its name is in lower case. */
  head(status: number, header: (name: string) => string | undefined): void
  chunk(bytes: Buffer): void
  /** Bytes that the reader holds until a message or the body is complete. */
  held?(): number
  /** The answer is complete, or `failure` says why it is not. */
  end(failure?: HttpFailure): void
}

export interface SentRequest {
  /** Cancels the request. No callback of the answer follows. */
  abort(): void
  /**
   * Ends the request after all relevant messages have come. If the server does not end the answer
   * within a short grace, this side does.
   */
  finish(): void
}

/**
 * Milliseconds. Without this bound, a server that never ends its answer would keep the connection.
 */
const graceMs = 1000

/** Sends one request. Never throws: `answer` receives a failure after this function returns. */
export function sendHttp(
  upstream: HttpUpstream,
  request: {
    readonly method: 'POST' | 'GET' | 'DELETE'
    readonly headers: readonly string[]
    readonly body?: string
    readonly answerTimeoutMs: number
  },
  answer: HttpAnswer,
): SentRequest {
  const { pool, path, tellsRedirects = false } = upstream
  const exchange = new HttpExchange(answer, upstream.held?.(), tellsRedirects)
  // Missing credentials and closed pools fail at once, before the caller has the exchange.
  queueMicrotask(() => {
    if (exchange.over) return
    try {
      const options = {
        method: request.method,
        path,
        // Some servers compress unless the request forbids compression.
        headers: [...upstream.headers(), ...request.headers, 'accept-encoding', 'identity'],
        body: request.body ?? null,
        headersTimeout: request.answerTimeoutMs,
      }

      pool.dispatch(options, exchange)
    } catch (error) {
      exchange.onError(error as Error)
    }
  })

  return exchange
}

class HttpExchange implements Dispatcher.DispatchHandler, SentRequest {
  readonly #answer: HttpAnswer
  readonly #tellsRedirects: boolean
  #grace: NodeJS.Timeout | undefined
  #abort: ((reason?: Error) => void) | undefined
  #leave: (() => void) | undefined
  readonly #share: Share | undefined
  #sent = false
  #over = false

  constructor(answer: HttpAnswer, share: Share | undefined, tellsRedirects: boolean) {
    this.#answer = answer
    this.#tellsRedirects = tellsRedirects
    this.#share = share
    share?.spare(() => this.#giveUp())
  }

  /** True once the exchange has ended. */
  get over(): boolean {
    return this.#over
  }

  abort(): void {
    if (!this.#end()) return
    this.#leave?.()
    this.#abort?.(new Error('aborted'))
  }

  finish(): void {
    if (this.#over) return
    this.#grace ??= setTimeout(() => {
      this.abort()
      this.#answer.end()
    }, graceMs).unref()
  }

  /** Ends the exchange once. Returns false if the exchange had already ended. */
  #end(): boolean {
    if (this.#over) return false
    this.#over = true
    clearTimeout(this.#grace)
    this.#share?.spare(undefined)
    this.#share?.release()
    return true
  }

  /** The request waits for a connection, until `leave` is called. */
  onWait(leave: () => void): void {
    this.#leave = leave
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    this.#sent = true
    if (this.#over) abort(new Error('aborted'))
  }

  onHeaders(status: number, raw: Buffer[]): boolean {
    if (status < 200 || this.#over) return true
    if (status >= 300 && status < 400) return this.#redirected(status, raw)
    this.#answer.head(status, (name) => rawHeader(raw, name))
    return true
  }

  /**
   * A redirect that `followRedirects` did not follow is an error: it may lead to another server.
   */
  #redirected(status: number, raw: readonly Buffer[]): boolean {
    const place = this.#tellsRedirects ? placeOf(rawHeader(raw, 'location')) : undefined
    const message = redirectsElsewhere(status, place)
    if (this.#end()) this.#answer.end({ message, unsent: false })
    this.#abort?.(new Error('redirected'))
    return false
  }

  onData(chunk: Buffer): boolean {
    if (this.#over) return true
    this.#answer.chunk(chunk)
    if (this.#over || this.#share === undefined) return true
    if (this.#share.hold(this.#answer.held?.() ?? 0) !== undefined) this.#giveUp()
    return true
  }

  /** Drops an answer that takes more memory than its caller has left. */
  #giveUp(): void {
    if (!this.#end()) return
    this.#abort?.(new Error('no room'))
    const message =
      'The answer takes more memory than is left for you, so the gateway dropped it. ' +
      'The request may have run: check before you repeat it.'
    this.#answer.end({ message, unsent: false, code: 'answer_dropped', retry: false })
  }

  onComplete(): void {
    if (this.#end()) this.#answer.end()
  }

  onError(error: NodeJS.ErrnoException & { readonly retry?: boolean }): void {
    if (!this.#end()) return
    const { code = '', message, retry } = error
    const unsent = !this.#sent
    // Codes in lower case mark the gateway's own errors, whose messages clients may read.
    if (/^[a-z]/.test(code))
      this.#answer.end({ message, unsent, code, ...(retry === undefined ? {} : { retry }) })
    else {
      const failed = unsent ? 'upstream_unreachable' : 'upstream_failed'
      // Errors without a code are mistakes of this program, which the next attempt repeats.
      const known = code === '' || isLate(error) ? {} : { code: failed, retry: unsent }
      this.#answer.end({ message: whyNoAnswer('The server', error, this.#sent), unsent, ...known })
    }
  }
}

/** True if the server received the request but did not answer in time. */
export function isLate({ code }: NodeJS.ErrnoException): boolean {
  return code === 'UND_ERR_HEADERS_TIMEOUT'
}

/**
 * The reason for a missing or incomplete answer. Messages of undici and the system name hosts and
 * ports, which stay private.
 */
export function whyNoAnswer(server: string, error: NodeJS.ErrnoException, sent: boolean): string {
  if (isLate(error)) return `${server} did not answer in time.`
  const { code = error.name } = error
  return sent
    ? `${server} broke off, or its answer is not HTTP (${code}).`
    : `${server} could not be reached (${code}).`
}
