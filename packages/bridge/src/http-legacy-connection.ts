import {
  errorAnswer,
  errorCode,
  readMessage,
  readObject,
  readString,
  type ConnectionListener,
  type LegacyConnection,
} from '@mcp-gateway/protocol'
import { sendHttp, type HttpUpstream } from './http-upstream.ts'
import { readMessages } from './message-reader.ts'

const reconnectMs = 1000
const maxReconnectMs = 30_000

/**
 * One session with a legacy server over streamable HTTP (2025-03-26 to 2025-11-25), as the translation speaks to it: each message a POST,
 * the stream of the server beside them, and streams that end early taken up again where they ended.
 */
export class HttpLegacyConnection implements LegacyConnection {
  readonly #upstream: HttpUpstream
  readonly #listener: ConnectionListener
  readonly #answerTimeoutMs: number
  readonly #open = new Set<{ abort(): void }>()
  readonly #timers = new Set<NodeJS.Timeout>()
  /** What waits for `initialize` and then `notifications/initialized` to have arrived, as POSTs overtake each other. */
  #waiting: string[] | undefined
  #session: string | undefined
  #version: string | undefined
  #closed = false

  constructor(upstream: HttpUpstream, listener: ConnectionListener, answerTimeoutMs: number) {
    this.#upstream = upstream
    this.#listener = listener
    this.#answerTimeoutMs = answerTimeoutMs
  }

  send(message: string): void {
    if (this.#closed) return
    if (this.#waiting !== undefined) return void this.#waiting.push(message)
    const outline = readObject(message)
    const method = readString(outline?.get('method'))
    if (method === 'notifications/initialized') this.#waiting = []
    this.#post(message, method, outline?.get('id'))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const exchange of this.#open) exchange.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    if (this.#session === undefined) return
    const done = { head: () => undefined, chunk: () => undefined, end: () => undefined }
    sendHttp(this.#upstream, { method: 'DELETE', headers: this.#headers(), answerTimeoutMs: 5000 }, done)
  }

  #headers(): Record<string, string> {
    return {
      ...(this.#session === undefined ? {} : { 'mcp-session-id': this.#session }),
      ...(this.#version === undefined ? {} : { 'mcp-protocol-version': this.#version }),
    }
  }

  #post(message: string, method: string | undefined, id: string | undefined): void {
    // A request awaits an answer; what else is posted does not.
    const request = method === undefined ? undefined : id
    let answered = false
    this.#exchange(
      'POST',
      { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      message,
      request,
      (text) => {
        const received = readMessage(text)
        const from = readString(received?.get('method'))
        if (from === undefined && received?.get('id') === request) answered = true
        if (method === 'initialize' && from === undefined)
          this.#version = readString(readObject(received?.get('result'))?.get('protocolVersion'))
        this.#listener.receive(text, request)
      },
      ({ status, failure }) => {
        if (status === 404 && this.#session !== undefined) return this.#lost('The session ended at the server.')
        if (method === 'notifications/initialized') this.#initialized()
        if (request === undefined || answered) return
        const reason = failure?.message ?? `The server gave no answer (HTTP ${status}).`
        this.#listener.receive(errorAnswer(request, errorCode.internal, reason), request)
      },
      () => answered,
    )
  }

  /** What the server says outside of requests comes on a stream of its own, if it offers one. */
  #initialized(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const message of waiting) this.send(message)
    this.#listen(undefined, reconnectMs)
  }

  #listen(lastId: string | undefined, waitMs: number): void {
    if (this.#closed) return
    const startedAt = Date.now()
    this.#exchange(
      'GET',
      { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
      undefined,
      undefined,
      (text) => this.#listener.receive(text),
      ({ status, lastId: last = lastId, retryMs = waitMs }) => {
        // 405: there is none; 404: the session is gone, which the next request finds out.
        if (status >= 400 && status < 500) return
        const next = Date.now() - startedAt > 5000 ? reconnectMs : Math.min(maxReconnectMs, retryMs * 2)
        this.#later(retryMs, () => this.#listen(last, next))
      },
      () => true,
    )
  }

  /** One HTTP exchange, and those that take it up again when its stream ends before `complete` (MCP 2025-11-25, transports, resumability). */
  #exchange(
    method: 'POST' | 'GET',
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    via: string | undefined,
    message: (text: string) => void,
    end: (end: Parameters<Parameters<typeof readMessages>[0]['end']>[0]) => void,
    complete: () => boolean,
  ): void {
    const exchange = sendHttp(
      this.#upstream,
      {
        method,
        headers: { ...this.#headers(), ...headers },
        ...(body === undefined ? {} : { body }),
        answerTimeoutMs: this.#answerTimeoutMs,
      },
      readMessages(
        {
          head: (_status, given) => {
            this.#session ??= given.get('mcp-session-id')
          },
          message: (text) => {
            if (this.#closed) return
            try {
              message(text)
            } catch (error) {
              // The server broke the rules of JSON; its request ends without an answer.
              if (!(error instanceof SyntaxError)) throw error
            }
          },
          end: (how) => {
            this.#open.delete(exchange)
            if (this.#closed) return
            if (complete() || how.lastId === undefined || via === undefined) return end(how)
            const { lastId } = how
            const resume = { accept: 'text/event-stream', 'last-event-id': lastId }
            this.#later(how.retryMs ?? reconnectMs, () => this.#exchange('GET', resume, undefined, via, message, end, complete))
          },
        },
        () => exchange.abort(),
      ),
    )
    this.#open.add(exchange)
  }

  #lost(reason: string): void {
    if (this.#closed) return
    this.#session = undefined
    this.close()
    this.#listener.lost(reason)
  }

  #later(ms: number, callback: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!this.#closed) callback()
    }, ms).unref()
    this.#timers.add(timer)
  }
}
