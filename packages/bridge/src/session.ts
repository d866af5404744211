import type { ServerResponse } from 'node:http'
import {
  elements,
  errorAnswer,
  errorCode,
  notifiedProgressToken,
  onOneLine,
  outline,
  requestedProgressToken,
  sliceText,
  wantsPrimingEvent,
  type MessageOutline,
  type Slice,
} from '@mcp-gateway/protocol'
import { EventHistory, EventStream } from './event-stream.ts'
import { sendJson, sendRpcError } from './answers.ts'

/** Where a session's messages go: a child of its own, or a shared one. */
export interface Link {
  /** One message, on one line. False when its reader is slow. */
  send(message: Uint8Array): boolean
  whenDrained(listener: () => void): void
  pause(): void
  resume(): void
  close(): void
}

export interface SessionOptions {
  readonly id: string
  readonly link: Link
  readonly eventBufferBytes: number
  readonly now: () => number
}

/** A request of the client that the server has not answered. */
interface Pending {
  /** Raw JSON. */
  readonly id: string
  readonly progressToken: string | undefined
  readonly response: ServerResponse
  readonly since: number
  readonly headers: Readonly<Record<string, string>>
  /** The stream that its answer goes to, once something came before the answer, or it was long in coming. */
  stream: EventStream | undefined
  /** The requests of the same POST that are still open (batches of 2025-03-26). */
  readonly batch: { open: number } | undefined
}

/** Messages that wait for a client to open its GET stream. */
const longestBacklog = 1000

/** One legacy session (2025-03-26 to 2025-11-25): the client's HTTP exchanges on one side, one conversation of lines on the other. */
export class Session {
  readonly id: string
  readonly createdAt: number
  readonly #link: Link
  readonly #now: () => number
  readonly #pending = new Map<string, Pending>()
  readonly #history: EventHistory
  readonly #streams: EventStream[] = []
  readonly #backlog: string[] = []
  #listening: EventStream | undefined
  #version: string | undefined
  #lastUsed: number
  #ended = false
  readonly #drained = (): void => this.#link.resume()

  constructor(options: SessionOptions) {
    this.id = options.id
    this.#link = options.link
    this.#now = options.now
    this.#history = new EventHistory(options.eventBufferBytes)
    this.createdAt = this.#lastUsed = options.now()
  }

  get busy(): boolean {
    return this.#pending.size > 0 || this.#listening?.attached === true
  }

  /** Milliseconds since the epoch of the last request. */
  get lastUsed(): number {
    return this.#lastUsed
  }

  /** Takes a POST whose body is valid JSON. */
  post(body: Uint8Array, response: ServerResponse, headers: Readonly<Record<string, string>> = {}): void {
    this.#lastUsed = this.#now()
    if (firstByte(body) === 0x5b) return this.#postBatch(body, response)
    const message = outline(body)
    if (message.method === undefined || message.id === undefined) {
      if (message.method === undefined && !message.isResponse)
        return sendRpcError(response, 400, message.id, errorCode.invalidRequest, 'The body is no JSON-RPC message.')
      this.#forward(body)
      return void response.writeHead(202).end()
    }
    this.#request(body, message, { response, headers, batch: undefined })
  }

  /** The GET stream: what the server says outside of requests, or a stream that broke off, from `lastEventId` on. */
  get(response: ServerResponse, lastEventId: string | undefined): void {
    this.#lastUsed = this.#now()
    const resumed = /^(\d+)-(\d+)$/.exec(lastEventId ?? '')
    const stream = resumed === null ? undefined : this.#streams.find(({ id }) => id === Number(resumed[1]))
    if (stream !== undefined && resumed !== null) return stream.attach(response, {}, { priming: false, after: Number(resumed[2]) })
    // A client that lost its stream without our noticing opens another: the newest is the one that lives.
    this.#listening ??= this.#newStream()
    this.#listening.attach(response, {}, { priming: wantsPrimingEvent(this.#version) })
    for (const data of this.#backlog.splice(0)) this.#listening.send(data, this.#drained)
  }

  /** A line from the server. */
  receive(line: Uint8Array): void {
    const message = outline(line)
    if (message.method === undefined) return this.#answer(line, message)
    const data = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString()
    const stream = this.#streamFor(line, message)
    if (stream !== undefined) {
      if (!stream.send(data, this.#drained)) this.#link.pause()
    } else if (this.#backlog.length < longestBacklog) this.#backlog.push(data)
  }

  /** Requests that have been silent for long become event streams, and silent streams get a comment, so that nothing between gives up. */
  keepAlive(silentMs: number): void {
    const now = this.#now()
    for (const pending of this.#pending.values()) {
      if (pending.stream === undefined && now - pending.since > silentMs) this.#open(pending)
    }
    for (const stream of this.#streams) stream.keepAlive()
  }

  /** Ends the conversation. Open requests get an error that says why. */
  end(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    for (const pending of this.#pending.values()) {
      if (pending.stream === undefined) sendRpcError(pending.response, 502, pending.id, errorCode.internal, reason)
      else {
        pending.stream.send(errorAnswer(pending.id, errorCode.internal, reason), this.#drained)
        pending.stream.end()
      }
    }
    this.#pending.clear()
    for (const stream of this.#streams) stream.end()
    this.#link.close()
  }

  #postBatch(body: Uint8Array, response: ServerResponse): void {
    const slices = elements(body, { start: 0, end: body.length })
    const messages = slices.map((slice) => ({ slice, message: outline(body, slice) }))
    const requests = messages.filter(({ message }) => message.method !== undefined && message.id !== undefined)
    if (messages.length === 0 || messages.some(({ message }) => message.method === undefined && !message.isResponse)) {
      return sendRpcError(
        response,
        400,
        undefined,
        errorCode.invalidRequest,
        'The batch is empty or holds something that is no JSON-RPC message.',
      )
    }
    const batch = { open: requests.length }
    let stream: EventStream | undefined
    if (requests.length > 0) {
      stream = this.#newStream()
      stream.attach(response, {}, { priming: false })
    }
    for (const { slice, message } of messages) {
      const part = body.subarray(slice.start, slice.end)
      if (message.method !== undefined && message.id !== undefined)
        this.#request(part, outline(part), { response, headers: {}, batch, stream })
      else this.#forward(part)
    }
    if (requests.length === 0) response.writeHead(202).end()
  }

  #request(
    body: Uint8Array,
    message: MessageOutline,
    via: {
      response: ServerResponse
      headers: Readonly<Record<string, string>>
      batch: { open: number } | undefined
      stream?: EventStream | undefined
    },
  ): void {
    const id = message.id ?? 'null'
    if (this.#pending.has(id))
      return sendRpcError(via.response, 400, id, errorCode.invalidRequest, 'A request with this id is still open in this session.')
    if (message.method === 'initialize') this.#version = requestedVersion(body, message)
    const token = requestedProgressToken(body, message)
    this.#pending.set(id, {
      id,
      progressToken: token === undefined ? undefined : sliceText(body, token),
      since: this.#now(),
      stream: undefined,
      ...via,
    })
    this.#forward(body)
  }

  #forward(message: Uint8Array): void {
    this.#link.send(onOneLine(message))
  }

  #answer(line: Uint8Array, { id }: MessageOutline): void {
    const pending = id === undefined ? undefined : this.#pending.get(id)
    // Cancelled, answered twice, or never asked: nobody waits for it.
    if (pending === undefined || id === undefined) return
    this.#pending.delete(id)
    const { stream, batch, response } = pending
    if (stream === undefined) return sendJson(response, 200, line, pending.headers)
    if (!stream.send(Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString(), this.#drained)) this.#link.pause()
    if (batch !== undefined && (batch.open -= 1) > 0) return
    stream.end()
  }

  /**
   * Stdio says nothing of which request a message belongs to. Progress is known by its token; anything else belongs to the only open
   * request if there is but one, otherwise to the GET stream.
   */
  #streamFor(line: Uint8Array, message: MessageOutline): EventStream | undefined {
    let owner: Pending | undefined
    if (message.method === 'notifications/progress') {
      const slice = notifiedProgressToken(line, message)
      const token = slice === undefined ? undefined : sliceText(line, slice)
      for (const pending of this.#pending.values())
        if (pending.progressToken !== undefined && pending.progressToken === token) owner = pending
      // Progress after the answer is of no use to anybody.
      if (owner === undefined) return this.#listening
    } else if (this.#pending.size === 1) {
      const [only] = this.#pending.values()
      // The answer to initialize comes first, whatever the server says before.
      if (only !== undefined && !isListChanged(message.method)) owner = only
    }
    return owner === undefined ? this.#listening : (owner.stream ?? this.#open(owner))
  }

  #open(pending: Pending): EventStream {
    const stream = this.#newStream()
    pending.stream = stream
    stream.attach(pending.response, pending.headers, { priming: wantsPrimingEvent(this.#version) })
    return stream
  }

  #newStream(): EventStream {
    const stream = new EventStream((this.#nextStream += 1), this.#history)
    this.#streams.push(stream)
    // Streams that have ended are kept for clients that come back, but not without bound.
    const oldest = this.#streams.findIndex(({ ended }) => ended)
    if (this.#streams.length > 64 && oldest !== -1) this.#streams.splice(oldest, 1)
    return stream
  }
  #nextStream = 0
}

function firstByte(bytes: Uint8Array): number | undefined {
  return bytes.find((byte) => byte > 0x20)
}

function isListChanged(method: string | undefined): boolean {
  return method?.endsWith('/list_changed') === true || method === 'notifications/resources/updated'
}

function requestedVersion(body: Uint8Array, { paramsSlice }: MessageOutline): string | undefined {
  if (paramsSlice === undefined) return undefined
  const { protocolVersion } = JSON.parse(sliceText(body, paramsSlice as Slice)) as { protocolVersion?: unknown }
  return typeof protocolVersion === 'string' ? protocolVersion : undefined
}
