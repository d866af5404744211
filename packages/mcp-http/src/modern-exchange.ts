import type { ServerResponse } from 'node:http'
import { encodeEvent, keepAliveComment, type Exchange } from '@mcp-gateway/protocol'
import { takesEvents } from './answers.ts'
import { monotonicNow } from './clock.ts'
import { checkUnsent, countable, writeText } from './shares/unsent.ts'

/**
 * HTTP exchange of a modern request: JSON, or an event stream from the first notification on (MCP
 * 2026-07-28, transports). A client that accepts only JSON gets no notifications.
 */
export class ModernExchange implements Exchange {
  readonly #response: ServerResponse
  readonly #since: number
  #streaming = false
  #heardAt: number

  constructor(response: ServerResponse, now: number) {
    this.#response = response
    this.#since = this.#heardAt = now
  }

  /** The time of the server's last message about the request. */
  get heardAt(): number {
    return this.#heardAt
  }

  answer(status: number, message: string): void {
    const response = this.#response
    if (response.destroyed) return
    if (this.#streaming) response.end(countable(encodeEvent(undefined, message)))
    else {
      // As text, the body goes out with the head in one write.
      const length = Buffer.byteLength(message)
      response.writeHead(status, {
        'content-type': 'application/json',
        'content-length': length,
      })
      response.end(countable(message, length))
    }
    checkUnsent(response)
  }

  tell(message: string): void {
    const response = this.#response
    this.#heardAt = monotonicNow()
    if (response.destroyed || !takesEvents(response)) return
    this.#stream()
    // The server cannot be paused.
    if (!writeText(response, encodeEvent(undefined, message))) checkUnsent(response)
  }

  /** Sends a comment now and then, so that no intermediary closes a silent request. */
  keepAlive(now: number, silentMs: number): void {
    if (this.#response.destroyed || !takesEvents(this.#response)) return
    if (!this.#streaming && now - this.#since < silentMs) return
    this.#stream()
    this.#response.write(keepAliveComment)
  }

  #stream(): void {
    if (this.#streaming) return
    this.#streaming = true
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    })
  }
}
