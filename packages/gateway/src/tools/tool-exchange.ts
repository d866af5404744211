import type { Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import type { PatientHandler } from '../upstream/shared-connections.ts'

/** A request to a tool. */
export interface ToolRequest {
  readonly origin: string
  readonly path: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Null for none. */
  readonly body: string | null
  /** Absent: POST. */
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
}

/** The head of a tool's answer. */
export interface ToolResponse {
  readonly status: number
  /** Both headers as they came. */
  readonly contentType: string | undefined
  readonly retryAfter: string | undefined
}

/** Unread bytes at which the tool has to wait. */
const mostWaiting = 256 * 1024

/**
 * One request to a tool, and the body of its answer as it comes. The class is undici's handler
 * itself, because streams and signals for each call cost more than the call.
 */
export class ToolExchange implements PatientHandler, AsyncIterable<Buffer> {
  readonly #waiting: Buffer[] = []
  #length = 0
  #over = false
  #failure: Error | undefined
  #cancelled: Error | undefined
  #leave: (() => void) | undefined
  #abort: ((reason: Error) => void) | undefined
  #resume: (() => void) | undefined
  /**
   * Set while somebody waits for the head of the answer. `#more` is set during a wait for the body.
   */
  #answer: { resolve(response: ToolResponse): void; reject(error: Error): void } | undefined
  #more: (() => void) | undefined

  /** Resolves with the head of the answer. The caller must then read the body or cancel. */
  send(
    dispatcher: Pick<Dispatcher, 'dispatch'>,
    { origin, path, headers, body, method = 'POST' }: ToolRequest,
  ): Promise<ToolResponse> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)

    return new Promise((resolve, reject) => {
      this.#answer = { resolve, reject }
      dispatcher.dispatch(
        {
          origin,
          path,
          method,
          headers: headers as string[],
          body,
          headersTimeout: 0,
          bodyTimeout: 0,
        },
        this,
      )
    })
  }

  /** Ends the exchange, sent or not. A wait for its answer fails. */
  cancel(reason = new Error('The call was cancelled.')): void {
    if (this.#over) return
    // Nothing is sent before there is a connection.
    this.#cancelled = this.#abort === undefined ? new GatewayError('upstream_unreachable') : reason
    this.#leave?.()
    this.#abort?.(this.#cancelled)
    this.#fail(this.#cancelled)
  }

  onWait(leave: () => void): void {
    this.#leave = leave
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    if (this.#cancelled !== undefined) abort(this.#cancelled)
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) return true
    this.#resume = resume
    let contentType: string | undefined
    let retryAfter: string | undefined
    for (let index = 0; index < raw.length; index += 2) {
      const { length } = raw[index] as Buffer
      if (length !== 'content-type'.length && length !== 'retry-after'.length) continue
      const name = String(raw[index]).toLowerCase()
      if (name === 'content-type') contentType ??= (raw[index + 1] as Buffer).toString('latin1')
      else if (name === 'retry-after') retryAfter ??= (raw[index + 1] as Buffer).toString('latin1')
    }
    this.#answer?.resolve({ status, contentType, retryAfter })
    this.#answer = undefined
    return true
  }

  onData(chunk: Buffer): boolean {
    this.#waiting.push(chunk)
    this.#length += chunk.length
    this.#wake()
    return this.#length < mostWaiting
  }

  onComplete(): void {
    this.#over = true
    this.#wake()
  }

  onError(error: Error): void {
    this.#fail(error)
  }

  #fail(error: Error): void {
    this.#over = true
    this.#failure ??= error
    this.#answer?.reject(this.#failure)
    this.#wake()
  }

  #wake(): void {
    this.#more?.()
    this.#more = undefined
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Buffer> {
    for (;;) {
      const chunk = this.#waiting.shift()
      if (chunk !== undefined) {
        const held = this.#length >= mostWaiting
        this.#length -= chunk.length
        if (held && this.#length < mostWaiting) this.#resume?.()
        yield chunk
      } else if (this.#failure !== undefined) throw this.#failure
      else if (this.#over) return
      else await new Promise<void>((resolve) => (this.#more = resolve))
    }
  }
}
