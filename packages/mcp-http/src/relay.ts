import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'

/** How far a request had come: nothing was sent, it may have run, or its answer had begun. */
export type Stage = 'unsent' | 'sent' | 'begun'

export interface RelayOptions {
  /**
   * The headers for the client, as name, value, name, value. Undefined when the answer is not for
   * the client: the request ends, and whoever was asked has answered.
   */
  readonly head: (status: number, raw: readonly Buffer[]) => readonly string[] | undefined
  /** There is no whole answer. One that has begun is broken off afterwards. */
  readonly failed: (error: NodeJS.ErrnoException, stage: Stage) => void
}

const nothing = Buffer.alloc(0)

/** Streams an answer to a client: each side feels the pace and the end of the other. */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #options: RelayOptions
  #abort: ((reason?: Error) => void) | undefined
  /** The client has gone, or got another answer. */
  #over = false

  constructor(response: ServerResponse, options: RelayOptions) {
    this.#response = response
    this.#options = options
    response.once('close', () => {
      if (!response.writableFinished) this.#end(new Error('the client has gone'))
    })
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    if (this.#over) abort(new Error('the client has gone'))
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (status < 200) return true
    const headers = this.#options.head(status, raw)
    if (headers === undefined) {
      this.#end(new Error('the answer is not for the client'))
      return true
    }
    this.#response.on('drain', resume)
    this.#response.writeHead(status, [...headers])
    // A stream may stay silent for long, and clients wait for its headers. flushHeaders would write letters beyond ASCII in UTF-8.
    this.#response.write(nothing)
    return true
  }

  onData(chunk: Buffer): boolean {
    return this.#response.write(chunk)
  }

  onComplete(): void {
    this.#response.end()
  }

  onError(error: NodeJS.ErrnoException): void {
    if (this.#over) return
    const begun = this.#response.headersSent
    this.#options.failed(error, begun ? 'begun' : this.#abort === undefined ? 'unsent' : 'sent')
    if (begun) this.#breakOff()
  }

  /** An orderly end would look like a whole answer; HTTP/1.0 has no chunks, so that only a reset tells it from one. */
  #breakOff(): void {
    if (this.#response.req.httpVersionMinor === 0) this.#response.socket?.resetAndDestroy()
    else this.#response.destroy()
  }

  #end(reason: Error): void {
    this.#over = true
    this.#abort?.(reason)
  }
}
