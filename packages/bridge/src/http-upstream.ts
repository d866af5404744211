import type { Dispatcher } from 'undici'

/** An MCP server over HTTP, as the translation uses it. */
export interface HttpUpstream {
  readonly pool: Dispatcher
  readonly path: string
  /** Sent with each request: the caller's identity, the Host. */
  readonly headers: Readonly<Record<string, string>>
}

export interface HttpAnswer {
  head(status: number, headers: ReadonlyMap<string, string>): void
  chunk(bytes: Buffer): void
  /** The answer is whole; or it is not, with a reason. `unsent` when the request can not have run. */
  end(failure?: { readonly message: string; readonly unsent: boolean }): void
}

/** Sends one request. Nothing is heard of it after `abort`. */
export function sendHttp(
  { pool, path, headers }: HttpUpstream,
  request: {
    readonly method: 'POST' | 'GET' | 'DELETE'
    readonly headers: Readonly<Record<string, string>>
    readonly body?: string
    readonly answerTimeoutMs: number
  },
  answer: HttpAnswer,
): { abort(): void } {
  const exchange = new HttpExchange(answer)
  pool.dispatch(
    {
      method: request.method,
      path,
      headers: { ...headers, ...request.headers },
      body: request.body ?? null,
      headersTimeout: request.answerTimeoutMs,
    },
    exchange,
  )
  return exchange
}

class HttpExchange implements Dispatcher.DispatchHandler {
  readonly #answer: HttpAnswer
  #abort: ((reason?: Error) => void) | undefined
  #sent = false
  #over = false

  constructor(answer: HttpAnswer) {
    this.#answer = answer
  }

  abort(): void {
    if (this.#over) return
    this.#over = true
    this.#abort?.(new Error('aborted'))
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    this.#sent = true
    if (this.#over) abort(new Error('aborted'))
  }

  onHeaders(status: number, raw: Buffer[]): boolean {
    if (status < 200 || this.#over) return true
    const headers = new Map<string, string>()
    for (let index = 0; index < raw.length; index += 2)
      headers.set(String(raw[index]).toLowerCase(), (raw[index + 1] as Buffer).toString('latin1'))
    this.#answer.head(status, headers)
    return true
  }

  onData(chunk: Buffer): boolean {
    if (!this.#over) this.#answer.chunk(chunk)
    return true
  }

  onComplete(): void {
    if (this.#over) return
    this.#over = true
    this.#answer.end()
  }

  onError(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#answer.end({ message: `The server could not be reached or broke off: ${error.message}`, unsent: !this.#sent })
  }
}
