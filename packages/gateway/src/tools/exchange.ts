import type { ServerResponse } from 'node:http'
import { encodeEvent, keepAliveComment, type Exchange } from '@mcp-gateway/protocol'
import { Dispatcher } from 'undici'

/** Where the HTTP answer to a modern request is written. */
export interface AnswerSink {
  /** No more is of use. */
  readonly gone: boolean
  /** Bytes that its reader has not taken. */
  readonly unread: number
  head(status: number, headers: Readonly<Record<string, string>>): void
  write(text: string): void
  end(text: string): void
  destroy(): void
}

/** Bytes that wait for a client that does not read. */
const maxUnread = 32 * 1024 * 1024

/** A modern request's HTTP exchange: JSON when the answer comes first, an event stream from the first notification on (MCP 2026-07-28, transports). */
export class HttpExchange implements Exchange {
  readonly #sink: AnswerSink
  readonly #since: number
  #streaming = false

  constructor(sink: AnswerSink, now: number) {
    this.#sink = sink
    this.#since = now
  }

  answer(status: number, message: string): void {
    if (this.#sink.gone) return
    if (this.#streaming) return this.#sink.end(encodeEvent(undefined, message))
    this.#sink.head(status, { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(message)) })
    this.#sink.end(message)
  }

  tell(message: string): void {
    this.#write(encodeEvent(undefined, message))
  }

  /** Something now and then, so that nothing between gives a silent request up. */
  keepAlive(now: number, silentMs: number): void {
    if (this.#streaming || now - this.#since >= silentMs) this.#write(keepAliveComment)
  }

  #write(text: string): void {
    const sink = this.#sink
    if (sink.gone) return
    if (!this.#streaming) {
      this.#streaming = true
      sink.head(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
    }
    sink.write(text)
    // A client that does not read loses its request rather than we our memory.
    if (sink.unread > maxUnread) sink.destroy()
  }
}

/** The answer to an HTTP client. */
export function responseSink(response: ServerResponse): AnswerSink {
  return {
    get gone() {
      return response.destroyed || response.writableEnded
    },
    get unread() {
      return response.writableLength
    },
    head: (status, headers) => void response.writeHead(status, headers),
    write: (text) => void response.write(text),
    end: (text) => void response.end(text),
    destroy: () => void response.destroy(),
  }
}

/** Takes a modern request that did not come over a socket. */
export type TakeRequest = (body: string, headers: Readonly<Record<string, string>>, sink: AnswerSink, cancelled: AbortSignal) => void

/** A modern server in this process for the engine that speaks HTTP to modern servers: requests are handed over, not sent. */
export class InProcessServer extends Dispatcher {
  readonly #take: TakeRequest

  constructor(take: TakeRequest) {
    super()
    this.#take = take
  }

  override dispatch({ body, headers }: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const cancelled = new AbortController()
    let over = false
    const sink: AnswerSink = {
      get gone() {
        return over
      },
      unread: 0,
      head(status, given) {
        const raw = Object.entries(given).flatMap((entry) => entry.map((text) => Buffer.from(text)))
        handler.onHeaders?.(status, raw, () => undefined, '')
      },
      write: (text) => void handler.onData?.(Buffer.from(text)),
      end(text) {
        handler.onData?.(Buffer.from(text))
        over = true
        handler.onComplete?.([])
      },
      destroy() {
        over = true
        handler.onError?.(new Error('The answer is not read.'))
      },
    }
    // Later, as from a socket: the sender has not taken note of its own request yet.
    queueMicrotask(() => {
      handler.onConnect?.(() => {
        if (over) return
        over = true
        cancelled.abort()
      })
      if (over) return
      try {
        this.#take(typeof body === 'string' ? body : '', tableOf(headers), sink, cancelled.signal)
      } catch (error) {
        over = true
        handler.onError?.(error as Error)
      }
    })
    return true
  }
}

/** Headers as undici takes them, an object or a flat list, as Node gives them. */
function tableOf(headers: Dispatcher.DispatchOptions['headers']): Record<string, string> {
  const table: Record<string, string> = {}
  if (Array.isArray(headers)) {
    for (let index = 0; index < headers.length; index += 2) table[String(headers[index]).toLowerCase()] = String(headers[index + 1])
  } else for (const [name, value] of Object.entries(headers ?? {})) table[name.toLowerCase()] = String(value)
  return table
}
