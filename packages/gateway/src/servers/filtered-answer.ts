import { rawHeader, type Share, type Shortage } from '@mcp-gateway/mcp-http'
import { encodeEvent, errorAnswer, EventRewriter, Pieces } from '@mcp-gateway/protocol'
import type { Dispatcher } from 'undici'
import { GatewayError } from '../core/errors.ts'
import { answerDropped, heldBytes, shortOf } from '../core/shares.ts'
import { isEventStream } from '../lib/http/event-stream-type.ts'
import { withoutTools, type ListedTool } from './ruled-messages.ts'

export interface AnswerFilter {
  /** True if the request asks for a list of tools. */
  readonly lists: boolean
  /** Returns a function that judges the tools of one message: true lets a tool through. */
  readonly judge: () => (tool: ListedTool) => boolean
  /** True if other callers may get another list. */
  readonly restricted: boolean
  /** Raw ids of the requests that the answer is for. */
  readonly ids: readonly string[]
  /** True if the request can be repeated without harm. */
  readonly repeatable: boolean
  /** Counts the bytes that are held until an answer or event is whole. */
  readonly share: Share
}

/** Bytes of the longest list and of the longest event that the gateway reads. */
const longest = 64 * 1024 * 1024

/**
 * Passes a server's answer on without the tools that the rules hold back.
 * A list is passed on when it is whole, a stream event by event, and anything else as it comes.
 */
export class FilteredAnswer implements Dispatcher.DispatchHandler {
  readonly #handler: Dispatcher.DispatchHandler
  readonly #filter: AnswerFilter
  #abort: ((reason?: Error) => void) | undefined
  #aborted: Error | undefined
  /** The handler knows that the answer has ended. */
  #over = false
  #events: EventRewriter | undefined
  /** A list that is not whole yet. */
  #list:
    | {
        readonly status: number
        readonly headers: Buffer[]
        readonly body: Pieces
      }
    | undefined

  constructor(handler: Dispatcher.DispatchHandler, filter: AnswerFilter) {
    this.#handler = handler
    this.#filter = filter
    filter.share.spare(() => void this.#giveUp('caller'))
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abort = abort
    this.#handler.onConnect?.((reason = new Error('aborted')) => {
      this.#aborted = reason
      this.#abort?.(reason)
    })
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, statusText: string): boolean {
    const pass = (headers: Buffer[]): boolean =>
      this.#handler.onHeaders?.(status, headers, resume, statusText) ?? true
    if (status < 200) return pass(raw)
    const events = isEventStream(rawHeader(raw, 'content-type'))
    if (!events && !this.#filter.lists) return pass(raw)
    if ((rawHeader(raw, 'content-encoding') ?? 'identity').toLowerCase() !== 'identity')
      return this.#fail('It is compressed, unasked.')
    if (events) {
      this.#events = new EventRewriter(longest, (data) => this.#filtered(data))
      return pass(withoutLength(raw))
    }
    this.#list = { status, headers: withoutLength(raw), body: new Pieces() }
    return true
  }

  onData(chunk: Buffer): boolean {
    if (this.#over) return false
    if (this.#events !== undefined) return this.#passEvents(this.#events, chunk)
    const list = this.#list
    if (list === undefined) return this.#handler.onData?.(chunk) ?? true
    if (list.body.length + chunk.length > longest) return this.#fail('It is too long.')
    list.body.push(Buffer.from(chunk))
    return this.#hold(list.body.length)
  }

  onComplete(trailers: string[] | null): void {
    if (this.#over) return
    this.#abort = undefined
    this.#filter.share.spare(undefined)
    if (
      this.#events !== undefined &&
      !this.#passEvents(this.#events, undefined) &&
      this.#aborted !== undefined
    )
      return this.#handler.onError?.(this.#aborted)
    const passed = this.#list === undefined || this.#passList(this.#list)
    this.#filter.share.release()
    if (!passed) return this.#handler.onError?.(this.#aborted as Error)
    this.#handler.onComplete?.(trailers)
  }

  onError(error: Error): void {
    this.#filter.share.release()
    if (this.#over) return
    this.#handler.onError?.(error)
  }

  /**
   * Passes on the events that `chunk` completes. An undefined `chunk` means that the stream has
   * ended.
   */
  #passEvents(events: EventRewriter, chunk: Buffer | undefined): boolean {
    let ready: Uint8Array
    try {
      ready = chunk === undefined ? events.end() : events.push(chunk)
    } catch (error) {
      if (error instanceof GatewayError) return this.#failWith(error)
      if (error instanceof RangeError || error instanceof SyntaxError)
        return this.#fail(error.message)
      throw error
    }
    if (!this.#hold(events.held)) return false
    if (ready.length === 0) return true
    return this.#handler.onData?.(Buffer.from(ready.buffer, ready.byteOffset, ready.length)) ?? true
  }

  #passList({
    status,
    headers,
    body: pieces,
  }: {
    readonly status: number
    readonly headers: Buffer[]
    readonly body: Pieces
  }): boolean {
    const given = pieces.take()
    let body = given
    try {
      const text = given.toString()
      const filtered = this.#filtered(text)
      if (filtered !== text) body = Buffer.from(filtered)
    } catch (error) {
      if (error instanceof GatewayError) return this.#failWith(error)
      if (!(error instanceof SyntaxError)) throw error
      // An error page holds no list. A client could still read a list out of any other text.
      if (status < 300) return this.#fail(error.message)
    }
    const length = [Buffer.from('content-length'), Buffer.from(String(body.length))]
    this.#handler.onHeaders?.(status, [...headers, ...length], () => undefined, '')
    if (this.#aborted !== undefined) return false
    if (body.length > 0) this.#handler.onData?.(body)
    return this.#aborted === undefined
  }

  #filtered(text: string): string {
    return withoutTools(text, this.#filter.judge(), this.#filter.restricted)
  }

  #hold(bytes: number): boolean {
    const shortage = this.#filter.share.hold(bytes)
    return shortage === undefined || this.#giveUp(shortage)
  }

  /**
   * Ends an answer for which there is no more memory. If a stream has begun, each of its requests
   * gets an error.
   */
  #giveUp(shortage: Shortage): false {
    const error = this.#filter.repeatable ? shortOf(shortage, heldBytes) : answerDropped(shortage)
    if (this.#events === undefined) return this.#failWith(error)
    if (this.#over) return false
    this.#over = true
    this.#abort?.(error)
    const data = { code: error.code, retryable: error.retry }
    for (const id of this.#filter.ids) {
      const answer = errorAnswer(id, error.rpcCode, error.message, data)
      this.#handler.onData?.(Buffer.from(encodeEvent(undefined, answer)))
    }
    this.#handler.onComplete?.([])
    return false
  }

  /** Stops an answer that the gateway cannot judge. The client gets no more of it. */
  #fail(reason: string): false {
    return this.#failWith(
      new GatewayError('upstream_failed', {
        detail:
          'What the server says of its tools cannot be read, ' +
          'so the rules for them cannot be applied.',
        cause: reason,
      }),
    )
  }

  #failWith(error: GatewayError): false {
    this.#aborted = error
    this.#abort?.(error)
    return false
  }
}

/** Drops the headers that the removal of tools makes wrong: the length, digests and the ETag. */
function withoutLength(raw: readonly Buffer[]): Buffer[] {
  return raw.filter(
    (_, index) => !ofBytes.test((raw[index - (index % 2)] as Buffer).toString('latin1')),
  )
}

const ofBytes = /^(content-length|content-md5|content-digest|repr-digest|digest|etag)$/i
