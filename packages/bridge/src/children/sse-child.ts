import { deaf, followRedirects, rawHeader } from '@mcp-gateway/mcp-http'
import { errorAnswer, errorCode, EventParser, outline } from '@mcp-gateway/protocol'
import type { Logger } from 'pino'
import { Pool, type Dispatcher } from 'undici'
import { mostUnread, type Child, type ChildListener, type Said } from './child.ts'
import { missingCredentials, type HeaderPair } from '../remote-headers.ts'
import { ServerLines } from './server-lines.ts'

export interface SseOptions {
  /** The address of the event stream: `https://example.com/sse`. */
  readonly url: URL
  /** Read for each request, because secrets rotate. @throws Error */
  readonly headers: () => readonly HeaderPair[]
  /** Called when the server refuses the headers. */
  readonly refused?: () => void
  readonly connectTimeoutMs: number
  /** Milliseconds until the response headers of the event stream. */
  readonly streamTimeoutMs: number
  /** Milliseconds. Some servers answer a POST only after the stream has answered its request. */
  readonly answerTimeoutMs: number
  readonly maxMessageBytes: number
  readonly log: Logger
}

interface SseRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
}

/** Takes an answer in pieces. `chunk` returns false to pause, and then calls `resume`. */
interface SseAnswer {
  head(status: number, contentType: string): void
  chunk(bytes: Buffer, resume: () => void): boolean
  end(failure?: string): void
}

/**
 * A connection to an HTTP+SSE server (MCP 2024-11-05, transports), used like a child on stdio. One
 * event stream brings its messages, and the first event names the address for POSTs.
 */
export class SseChild implements Child {
  readonly pid = undefined
  readonly #options: SseOptions
  readonly #connections: Pool
  readonly #pool: Pick<Dispatcher, 'dispatch'>
  readonly #lines: ServerLines
  readonly #ended: Promise<void>
  readonly #waiting: Uint8Array[] = []
  readonly #unheard: Uint8Array[] = []
  #listener: ChildListener | undefined
  #endpoint: string | undefined
  #said: Said = 'nothing'
  #endedBecause: string | undefined
  #resume: (() => void) | undefined
  #paused = false
  #unread = 0
  #resolve: () => void = () => undefined

  constructor(options: SseOptions) {
    this.#options = options
    this.#ended = new Promise((resolve) => (this.#resolve = resolve))
    this.#connections = new Pool(options.url.origin, {
      connections: null,
      bodyTimeout: 0,
      connect: { timeout: options.connectTimeoutMs },
    })
    this.#pool = followRedirects(this.#connections, options.url.origin)

    this.#lines = new ServerLines({
      message: (line, message) => {
        this.#said = 'messages'
        this.#listener?.line(line, message)
      },
      noMessage: (event) => {
        if (this.#said === 'nothing') this.#said = 'text'
        options.log.warn(
          { event: Buffer.from(event.subarray(0, 500)).toString() },
          'the server sent an event that is no message',
        )
      },
    })

    this.#open()
  }

  get endedBecause(): string | undefined {
    return this.#endedBecause
  }

  get said(): Said {
    return this.#said
  }

  get unread(): number {
    return this.#unread
  }

  ended(): Promise<void> {
    return this.#ended
  }

  listen(listener: ChildListener): void {
    this.#listener = listener
    if (this.#endedBecause !== undefined)
      return queueMicrotask(() => listener.ended(this.#endedBecause ?? ''))
    for (const message of this.#unheard.splice(0)) this.#hear(message)
    this.resume()
  }

  unlisten(): void {
    this.#listener = undefined
  }

  send(message: Uint8Array): void {
    if (this.#unread > mostUnread) return this.#end(deaf)
    this.#lines.sent(message)
    this.#unread += message.length
    if (this.#endpoint === undefined) this.#waiting.push(message)
    else this.#post(this.#endpoint, message)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  async stop(): Promise<void> {
    this.#end('The connection was closed.')
    await this.#ended
  }

  #open(): void {
    const events = new EventParser(this.#options.maxMessageBytes, ({ event, data }) => {
      if (event === 'endpoint') this.#found(data)
      else this.#hear(Buffer.from(data))
    })
    const { pathname, search } = this.#options.url
    const headers = { accept: 'text/event-stream' }

    this.#dispatch(
      { method: 'GET', path: pathname + search, headers, body: null },
      {
        head: (status, type) => {
          if (status >= 300 && status < 400) this.#end(redirectsElsewhere('event stream', status))
          else if (status !== 200 || !type.startsWith('text/event-stream'))
            this.#end(`The server does not offer an event stream (HTTP ${status}).`)
        },
        chunk: (bytes, resume) => {
          try {
            events.push(bytes)
          } catch (error) {
            if (!(error instanceof RangeError)) throw error
            this.#end(error.message)
          }

          if (!this.#paused) return true
          this.#resume = resume
          return false
        },
        end: (failure) => this.#end(failure ?? 'The server closed its event stream.'),
      },
    )
  }

  /**
   * Accepts only an endpoint at the stream's origin. Otherwise a server could make the bridge call
   * any address.
   */
  #found(data: string): void {
    const endpoint = URL.canParse(data, this.#options.url.href)
      ? new URL(data, this.#options.url)
      : undefined
    if (endpoint?.origin !== this.#options.url.origin)
      return this.#end('The server named an endpoint of another origin.')
    this.#endpoint = endpoint.pathname + endpoint.search
    for (const message of this.#waiting.splice(0)) this.#post(this.#endpoint, message)
  }

  #post(path: string, message: Uint8Array): void {
    const headers = { 'content-type': 'application/json' }
    this.#dispatch(
      { method: 'POST', path, headers, body: Buffer.from(message) },
      {
        head: (status) => {
          if (status >= 500) this.#failed(message, `The server refused a message (HTTP ${status}).`)
          // The session has ended or never existed, so the server answers no later message.
          else if (status >= 400) this.#end(`The server refused a message (HTTP ${status}).`)
          else if (status >= 300) this.#end(redirectsElsewhere('message endpoint', status))
        },
        chunk: () => true,
        end: (failure) => {
          this.#unread -= message.length
          if (failure !== undefined) this.#failed(message, failure)
        },
      },
    )
  }

  /**
   * Fails one request whose message did not arrive, or may not have arrived. The session goes on.
   */
  #failed(message: Uint8Array, reason: string): void {
    if (this.#endedBecause !== undefined) return
    const { id, method } = outline(message)
    this.#options.log.warn({ method, reason }, 'a message to the server failed')
    if (id === undefined || method === undefined) return
    this.#hear(Buffer.from(errorAnswer(id, errorCode.internal, reason)))
  }

  #hear(message: Uint8Array): void {
    if (this.#endedBecause !== undefined) return
    if (this.#listener === undefined) return void this.#unheard.push(message)
    this.#lines.line(message)
  }

  #dispatch({ method, path, headers, body }: SseRequest, answer: SseAnswer): void {
    let own: Readonly<Record<string, string>>
    try {
      own = Object.fromEntries(this.#options.headers())
    } catch (error) {
      this.#options.log.error({ err: error }, 'a header for the remote server cannot be read')
      return queueMicrotask(() => this.#end(missingCredentials(error).message))
    }

    // Some servers compress unless the request forbids compression.
    const all = { ...own, ...headers, 'accept-encoding': 'identity' }
    const { answerTimeoutMs, streamTimeoutMs } = this.#options
    const headersTimeout = method === 'POST' ? answerTimeoutMs : streamTimeoutMs

    this.#pool.dispatch({ method, path, headers: all, body, headersTimeout }, this.#handler(answer))
  }

  #handler(answer: SseAnswer): Dispatcher.DispatchHandler {
    let resume: () => void = () => undefined
    return {
      onConnect: () => undefined,
      onHeaders: (status: number, raw: Buffer[], go: () => void) => {
        if (status < 200) return true
        if (status === 401) this.#options.refused?.()
        resume = go
        answer.head(status, rawHeader(raw, 'content-type') ?? '')
        return true
      },
      onData: (bytes: Buffer) => answer.chunk(bytes, resume),
      onComplete: () => answer.end(),
      onError: (error: NodeJS.ErrnoException) =>
        answer.end(`The server could not be reached or broke off (${error.code ?? error.name}).`),
    }
  }

  #end(reason: string): void {
    if (this.#endedBecause !== undefined) return
    this.#endedBecause = reason
    this.#lines.end()
    void this.#connections.destroy().catch(() => undefined)
    this.#listener?.ended(reason)
    this.#resolve()
  }
}

function redirectsElsewhere(what: string, status: number): string {
  return (
    `The server redirects its ${what} to another address (HTTP ${status}), ` +
    'which is not followed. MCP_PROXY_URL must be the final address.'
  )
}
