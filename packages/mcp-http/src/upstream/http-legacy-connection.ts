import {
  Bag,
  errorAnswer,
  errorCode,
  errorData,
  hasJsonNumbers,
  initializedMessage,
  readObject,
  type ConnectionListener,
  type LegacyConnection,
  Table,
} from '@mcp-gateway/protocol'
import { legacyPostHeaders, sendHttp, type HttpUpstream } from './http-upstream.ts'
import { looksLikeAnswer, readMessages, unreadableAnswer } from './message-reader.ts'
import { knowsSession } from './session-check.ts'
import { monotonicNow } from '../clock.ts'

const reconnectMs = 1000
const maxReconnectMs = 30_000
const minReconnectMs = 100
/** Milliseconds by which an answer may overtake messages that the server wrote before it. */
const overtakenMs = 50
const notification = '{"jsonrpc":"2.0","method":"notifications/'
const cancelled = `${notification}cancelled"`
/** Milliseconds. A server has nothing to do for a notification but to take it. */
const notifiedMs = 60_000

type End = Parameters<Parameters<typeof readMessages>[0]['end']>[0]

interface Call {
  readonly method: 'POST' | 'GET'
  readonly headers: readonly string[]
  readonly body?: string | undefined
  /** The raw id of a request that awaits an answer. */
  readonly via?: string | undefined
  readonly message: (text: string, status: number) => void
  readonly end: (end: End, resumed: boolean) => void
  /** True once the call needs no more messages. */
  readonly complete: () => boolean
  /** The id of the last event before this exchange, which resumes a stream. */
  readonly resumeFrom?: string
}

/**
 * One session with a legacy server over streamable HTTP (2025-03-26 to 2025-11-25). It sends each
 * message as a POST, holds the server's GET stream, and resumes streams that end early.
 */
export class HttpLegacyConnection implements LegacyConnection {
  readonly #upstream: HttpUpstream
  readonly #listener: ConnectionListener
  readonly #answerTimeoutMs: number
  readonly #open = new Bag<{ abort(): void }>()
  /** Cancels the exchange or timer of each unanswered request, by the raw id of the request. */
  readonly #requests = new Table<() => void>()
  readonly #timers = new Set<NodeJS.Timeout>()
  /**
   * POSTs can overtake each other, so messages wait until the server has answered the POST of
   * `notifications/initialized`.
   */
  #waiting: [message: string, request: string | undefined][] | undefined
  #session: string | undefined
  #version: string | undefined
  #closed = false

  constructor(upstream: HttpUpstream, listener: ConnectionListener, answerTimeoutMs: number) {
    this.#upstream = upstream
    this.#listener = listener
    this.#answerTimeoutMs = answerTimeoutMs
  }

  get leaving(): boolean {
    return this.#upstream.leaving?.() === true
  }

  send(message: string, request?: { readonly id: string; readonly method: string }): void {
    if (this.#closed) return
    const cancels = message.startsWith(cancelled)
      ? readObject(readObject(message)?.get('params'))?.get('requestId')
      : undefined

    if (this.#waiting !== undefined) {
      const unsent = this.#waiting.findIndex(([, id]) => id !== undefined && id === cancels)
      if (unsent === -1) this.#waiting.push([message, request?.id])
      else this.#waiting.splice(unsent, 1)
      return
    }

    if (message === initializedMessage) this.#waiting = []
    this.#post(message, request?.id)
    if (cancels === undefined) return

    // The server need not answer a cancelled request, and some servers leave its stream open.
    this.#requests.get(cancels)?.()
    this.#requests.delete(cancels)
  }

  /**
   * Each stream has its own connection, so an answer can overtake earlier messages. Waits for them.
   */
  afterOthers(callback: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, overtakenMs)
    this.#timers.add(timer)
  }

  negotiated(version: string): void {
    this.#version = version
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const exchange of this.#open.values()) exchange.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    if (this.#session === undefined) return
    const ended = sendHttp(
      this.#upstream,
      { method: 'DELETE', headers: this.#headers(), answerTimeoutMs: 5000 },
      { head: () => ended.finish(), chunk: () => undefined, end: () => undefined },
    )
  }

  #headers(): string[] {
    return [
      ...(this.#session === undefined ? [] : ['mcp-session-id', this.#session]),
      ...(this.#version === undefined ? [] : ['mcp-protocol-version', this.#version]),
    ]
  }

  /** `request` is the raw id of a request that awaits an answer. */
  #post(message: string, request: string | undefined): void {
    let answered = false
    const session = this.#session
    const withheld: string[] = []

    const receive = (text: string): void => {
      if (!this.#listener.receive(text, request)) return
      answered = true
      this.#requests.delete(request ?? '')
    }

    this.#exchange({
      method: 'POST',
      headers: legacyPostHeaders,
      body: message,
      via: request,
      message: (text, status) => {
        if (status === 400 && session !== undefined) withheld.push(text)
        else receive(text)
      },
      end: ({ status, failure }, resumed) => {
        this.#requests.delete(request ?? '')
        // The server did not run a request that it refused for its session. A resumed request may
        // have run.
        const lost = (): void =>
          this.#lost('The session ended at the server.', resumed ? undefined : request)
        if (status === 404 && this.#session !== undefined) return lost()

        const finish = (): void => {
          for (const text of withheld) receive(text)
          if (message === initializedMessage) this.#initialized()
          if (request === undefined || answered) return

          const reason = failure?.message ?? `The server gave no answer (HTTP ${status}).`
          const data = errorData(failure ?? {})
          this.#listener.receive(errorAnswer(request, errorCode.internal, reason, data), request)
        }

        if (status !== 400 || session === undefined) return finish()
        void knowsSession(this.#upstream, session, this.#version).then((known) => {
          if (this.#closed) return
          if (known) finish()
          else lost()
        })
      },
      complete: () => answered,
    })
  }

  /** Sends the waiting messages, then opens the GET stream for messages outside of requests. */
  #initialized(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const [message, request] of waiting) this.#post(message, request)
    this.#listen(undefined, reconnectMs)
  }

  #listen(lastId: string | undefined, waitMs: number): void {
    if (this.#closed) return
    const startedAt = monotonicNow()
    this.#exchange({
      method: 'GET',
      headers: [
        'accept',
        'text/event-stream',
        ...(lastId === undefined ? [] : ['last-event-id', lastId]),
      ],
      message: (text) => this.#listener.receive(text),
      end: ({ status, lastId: last = lastId, retryMs = waitMs }) => {
        // 405: the server offers no stream. 404: the session is gone, which the next request
        // detects.
        if (status >= 400 && status < 500) return
        const next = monotonicNow() - startedAt > 5000 ? reconnectMs : retryMs * 2
        this.#later(retryMs, () => this.#listen(last, next))
      },
      complete: () => true,
    })
  }

  /**
   * One HTTP exchange. If its stream ends before `complete`, further exchanges resume the stream
   * (MCP 2025-11-25, transports, resumability).
   */
  #exchange(call: Call): void {
    const { method, headers, body, via } = call
    let status = 0

    const exchange = sendHttp(
      this.#upstream,
      {
        method,
        headers: [...this.#headers(), ...headers],
        ...(body === undefined ? {} : { body }),
        answerTimeoutMs: body?.startsWith(notification)
          ? Math.min(notifiedMs, this.#answerTimeoutMs)
          : this.#answerTimeoutMs,
      },
      readMessages(
        {
          head: (code, given) => {
            status = code
            this.#session ??= given('mcp-session-id')
            // The status alone answers a notification.
            if (method === 'POST' && via === undefined) exchange.finish()
          },
          message: (text) => {
            if (this.#take(text, status, call)) exchange.finish()
          },
          end: (how) => {
            this.#open.delete(open)
            if (!this.#closed) this.#over(how, call)
          },
        },
        () => exchange.abort(),
      ),
    )

    const open = this.#open.add(exchange)
    if (via !== undefined)
      this.#requests.set(via, () => {
        exchange.abort()
        this.#open.delete(open)
      })
  }

  /** True if the exchange has nothing more to give. */
  #take(text: string, status: number, { via, message, complete }: Call): boolean {
    if (this.#closed) return false
    try {
      if (!hasJsonNumbers(text)) throw new SyntaxError('no JSON')
      message(text, status)
      return via !== undefined && complete()
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      // This text is the answer to the request, and its client could not read it.
      if (via === undefined || !looksLikeAnswer(text)) return false
      message(errorAnswer(via, errorCode.internal, unreadableAnswer), status)
      return true
    }
  }

  /** Ends a call whose exchange is over, or resumes its stream. */
  #over(how: End, call: Call): void {
    const { via, end, complete, resumeFrom } = call
    // A resumed stream may end before it has any new event, so the last id still holds.
    const lastId =
      how.lastId ?? (how.status === 200 && how.failure === undefined ? resumeFrom : undefined)
    if (complete() || lastId === undefined || via === undefined)
      return end(how, resumeFrom !== undefined)

    const headers = ['accept', 'text/event-stream', 'last-event-id', lastId]
    const goOn = (): void =>
      this.#exchange({ ...call, method: 'GET', headers, body: undefined, resumeFrom: lastId })
    const timer = this.#later(how.retryMs ?? reconnectMs, goOn)
    this.#requests.set(via, () => this.#forget(timer))
  }

  #lost(reason: string, refused: string | undefined): void {
    if (this.#closed) return
    this.#session = undefined
    this.close()
    this.#listener.lost(reason, refused)
  }

  /**
   * Waits as long as the server asks, within bounds that avoid floods and endless waits. Node
   * timers overflow at 2³¹ ms.
   */
  #later(ms: number, callback: () => void): NodeJS.Timeout {
    const wait = Math.min(maxReconnectMs, Math.max(minReconnectMs, ms))
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      if (!this.#closed) callback()
    }, wait).unref()
    this.#timers.add(timer)
    return timer
  }

  #forget(timer: NodeJS.Timeout): void {
    clearTimeout(timer)
    this.#timers.delete(timer)
  }
}
