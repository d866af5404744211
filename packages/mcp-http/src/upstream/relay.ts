import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'

/** Progress of a failed request: nothing was sent, it may have run, or its answer had begun. */
export type Stage = 'unsent' | 'sent' | 'begun'

export interface RelayOptions {
  /**
   * Headers for the client, as name, value, name, value. Undefined ends the request unanswered: the
   * function has answered the client or will try elsewhere.
   */
  readonly head: (status: number, raw: readonly Buffer[]) => readonly string[] | undefined
  /** Called if there is no complete answer. The relay then breaks off an answer that has begun. */
  readonly failed: (error: NodeJS.ErrnoException, stage: Stage) => void
}

const nothing = Buffer.alloc(0)

/** Streams an answer to a client, and passes back-pressure and disconnects on to the other side. */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #options: RelayOptions
  #abort: ((reason?: Error) => void) | undefined
  /** The client has left, or gets another answer. */
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
    // Clients wait for the headers, and a stream may stay silent for long. flushHeaders would write
    // letters beyond ASCII in UTF-8.
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

  /**
   * An orderly end would look like a complete answer. HTTP/1.0 has no chunks, so only a reset shows
   * the difference.
   */
  #breakOff(): void {
    if (this.#response.req.httpVersionMinor === 0) this.#response.socket?.resetAndDestroy()
    else this.#response.destroy()
  }

  #end(reason: Error): void {
    this.#over = true
    this.#abort?.(reason)
  }
}
