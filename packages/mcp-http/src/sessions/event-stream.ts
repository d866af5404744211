import type { ServerResponse } from 'node:http'
import { encodeEvent, keepAliveComment } from '@mcp-gateway/protocol'
import type { Share } from '../shares/shares.ts'
import { checkUnsent, writeText } from '../shares/unsent.ts'

/** The events that a session keeps for clients that reconnect. All its streams share the bytes. */
export class EventHistory {
  readonly #maxBytes: number
  readonly #share: Share | undefined
  readonly #events: {
    readonly stream: EventStream
    readonly seq: number
    readonly text: string
    readonly bytes: number
  }[] = []
  #bytes = 0

  /** `share` counts the bytes for the caller of the session. */
  constructor(maxBytes: number, share?: Share) {
    this.#maxBytes = maxBytes
    this.#share = share
    share?.spare(() => this.#clear())
  }

  add(stream: EventStream, seq: number, text: string): void {
    const bytes = Buffer.byteLength(text)
    this.#events.push({ stream, seq, text, bytes })
    this.#bytes += bytes
    while (this.#bytes > this.#maxBytes || this.#share?.hold(this.#bytes) !== undefined) {
      const dropped = this.#events.shift()
      if (dropped === undefined) break
      this.#bytes -= dropped.bytes
    }
  }

  /** Drops the events under memory pressure. A client that reconnects then misses them. */
  #clear(): void {
    this.#events.splice(0)
    this.#bytes = 0
    this.#share?.spare(() => this.#clear())
  }

  /** Releases the share when the session ends. */
  end(): void {
    this.#share?.spare(undefined)
    this.#share?.release()
  }

  /** The kept events of a stream after the event numbered `seq`. */
  after(stream: EventStream, seq: number): string[] {
    return this.#events
      .filter((event) => event.stream === stream && event.seq > seq)
      .map(({ text }) => text)
  }
}

/**
 * An event stream that outlives its connection: events wait until a client reconnects with
 * `Last-Event-ID` (MCP 2025-11-25, transports, resumability). Event ids are `{stream}-{number}`.
 */
export class EventStream {
  readonly id: number
  readonly #history: EventHistory
  readonly #drained: () => void
  #response: ServerResponse | undefined
  #seq = 0
  #ended = false

  /** Calls `drained` when a slow client has caught up or has left. */
  constructor(id: number, history: EventHistory, drained: () => void) {
    this.id = id
    this.#history = history
    this.#drained = drained
  }

  get attached(): boolean {
    return this.#response !== undefined
  }

  get ended(): boolean {
    return this.#ended
  }

  /**
   * Sends the stream to a client from now on, after replaying the events that follow event `after`.
   */
  attach(
    response: ServerResponse,
    headers: Readonly<Record<string, string>>,
    options: { readonly priming: boolean; readonly after?: number },
  ): void {
    this.#response?.end()
    this.#response = undefined
    // The client may already have left, so that `close` was emitted and will not come again.
    if (response.destroyed) return

    this.#response = response
    response.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    })

    response.on('drain', this.#drained)
    response.once('close', () => {
      if (this.#response === response) this.#response = undefined
      this.#drained()
    })

    if (options.priming) {
      this.#seq += 1
      response.write(`id: ${this.id}-${this.#seq}\ndata: \n\n`)
    }

    if (options.after !== undefined)
      for (const text of this.#history.after(this, options.after)) writeText(response, text)
    // Clients wait for the headers.
    response.flushHeaders()
    if (this.#ended) response.end()
  }

  /**
   * Sends one message. Returns false if the client reads too slowly, so the server should be
   * paused.
   */
  send(data: string): boolean {
    this.#seq += 1
    const text = encodeEvent(`${this.id}-${this.#seq}`, data)
    this.#history.add(this, this.#seq, text)
    const response = this.#response
    if (response === undefined || writeText(response, text)) return true
    // A slow client loses its connection where the server cannot be paused. The client can
    // reconnect.
    checkUnsent(response)
    return response.destroyed
  }

  keepAlive(): void {
    this.#response?.write(keepAliveComment)
  }

  /** Ends the stream after its last message. */
  end(): void {
    this.#ended = true
    this.#response?.end()
    this.#response = undefined
  }
}
