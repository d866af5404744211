import type { ServerResponse } from 'node:http'
import { encodeEvent, keepAliveComment } from '@mcp-gateway/protocol'

/** Bytes of events that a session keeps for clients that come back, shared by all its streams. */
export class EventHistory {
  readonly #maxBytes: number
  readonly #events: { readonly stream: EventStream; readonly seq: number; readonly text: string }[] = []
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  add(stream: EventStream, seq: number, text: string): void {
    this.#events.push({ stream, seq, text })
    this.#bytes += text.length
    while (this.#bytes > this.#maxBytes) {
      const dropped = this.#events.shift()
      if (dropped === undefined) break
      this.#bytes -= dropped.text.length
    }
  }

  /** Events of a stream after the one numbered `seq`. */
  after(stream: EventStream, seq: number): string[] {
    return this.#events.filter((event) => event.stream === stream && event.seq > seq).map(({ text }) => text)
  }
}

/**
 * An event stream that outlives its connection: events that find no client wait in the history until one comes back with
 * `Last-Event-ID` (MCP 2025-11-25, transports, resumability). Event ids are `{stream}-{number}`.
 */
export class EventStream {
  readonly id: number
  readonly #history: EventHistory
  #response: ServerResponse | undefined
  #seq = 0
  #ended = false

  constructor(id: number, history: EventHistory) {
    this.id = id
    this.#history = history
  }

  get attached(): boolean {
    return this.#response !== undefined
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Sends the stream to a client from now on, first what it has missed after event `after`. */
  attach(
    response: ServerResponse,
    headers: Readonly<Record<string, string>>,
    options: { readonly priming: boolean; readonly after?: number },
  ): void {
    this.#response?.end()
    this.#response = response
    response.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    })
    response.once('close', () => {
      if (this.#response === response) this.#response = undefined
    })
    if (options.priming) {
      this.#seq += 1
      response.write(`id: ${this.id}-${this.#seq}\ndata: \n\n`)
    }
    if (options.after !== undefined) for (const text of this.#history.after(this, options.after)) response.write(text)
    // Clients wait for the headers.
    response.flushHeaders()
    if (this.#ended) response.end()
  }

  /** Sends one message. False when the client reads slower than that; `drained` is called when it has caught up. */
  send(data: string, drained: () => void): boolean {
    this.#seq += 1
    const text = encodeEvent(`${this.id}-${this.#seq}`, data)
    this.#history.add(this, this.#seq, text)
    const response = this.#response
    if (response === undefined || response.write(text)) return true
    response.once('drain', drained)
    response.once('close', drained)
    return false
  }

  keepAlive(): void {
    this.#response?.write(keepAliveComment)
  }

  /** No more will come. Cuts the connection off instead when `hard`. */
  end(): void {
    this.#ended = true
    this.#response?.end()
    this.#response = undefined
  }
}
