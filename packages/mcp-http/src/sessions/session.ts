import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import {
  elements,
  emptyAnswer,
  errorAnswer,
  errorCode,
  idKey,
  isArray,
  notificationMessage,
  notifiedProgressToken,
  outline,
  replaceSlices,
  requestedProgressToken,
  sameToServers,
  sliceText,
  survivesDoubles,
  Table,
  valueAt,
  wantsPrimingEvent,
  type MessageOutline,
  type Slice,
} from '@mcp-gateway/protocol'
import { EventHistory, EventStream } from './event-stream.ts'
import type { Share } from '../shares/shares.ts'
import { sendJson, sendRpcError, takesEvents } from '../answers.ts'

/** Bytes. A server with more unread bytes than this gets no further requests. */
export const maxUnread = 32 * 1024 * 1024
/** The reason that clients get when a server does not read its input. */
export const deaf = 'The server does not read what it is sent.'

/** The path of a session's messages to a server: a child of its own, or a shared one. */
export interface Link {
  /** Sends one message. */
  send(message: Uint8Array): void
  /** Bytes that the server has not read yet. */
  readonly unread: number
  pause(): void
  resume(): void
  close(): void
}

/** The error that open requests get when their session ends. */
export interface SessionEnd {
  readonly status: number
  readonly code: number
  readonly message: string
  readonly data?: { readonly code: string }
}

/** The error when a server or its host ended the session. Its open requests may have run. */
export function brokenOff(message: string): SessionEnd {
  return { status: 502, code: errorCode.internal, message }
}

/**
 * The client ended the session, so open requests get the same error as requests to an ended
 * session.
 */
export const endedByClient: SessionEnd = {
  status: 404,
  code: errorCode.sessionNotFound,
  message: 'The client ended this session while the request was open.',
  data: { code: 'session_not_found' },
}

export interface SessionOptions {
  readonly id: string
  readonly link: Link
  readonly eventBufferBytes: number
  /** Counts the kept events for the caller of the session. */
  readonly events?: Share | undefined
  /** Milliseconds that the server may be silent about a request. Unset: no bound. */
  readonly answerTimeoutMs?: number | undefined
  readonly now: () => number
}

/** A request of the client that the server has not answered. */
interface Pending {
  /** Raw JSON, as the client wrote it. */
  readonly id: string
  /**
   * Raw JSON, as the server knows it. It differs where a server could not return the client's id.
   */
  readonly serverId: string
  /** Raw JSON, as the client wrote it. */
  readonly progressToken: string | undefined
  readonly response: ServerResponse
  readonly since: number
  /** The time of the server's last message about this request. */
  heardAt: number
  readonly headers: Readonly<Record<string, string>>
  /**
   * The stream of the answer. It is set once a message precedes the answer, or the answer is late.
   */
  stream: EventStream | undefined
  /** Counts the open requests of the same POST (batches of 2025-03-26). */
  readonly batch: Batch | undefined
}

interface Batch {
  open: number
  /** Answers that the client gets together. */
  readonly answers: string[]
}

/** The most messages that wait for a client to open its GET stream. */
const longestBacklog = 1000
/** The most bytes of these messages. */
const mostBacklogBytes = 1024 * 1024
/** The most requests that one session may have open. */
const mostOpen = 1000

/**
 * One legacy session (2025-03-26 to 2025-11-25), between the HTTP exchanges of a client and the
 * message lines of a server.
 */
export class Session {
  readonly id: string
  readonly createdAt: number
  readonly #link: Link
  readonly #now: () => number
  /** By `idKey` of the client's id. */
  readonly #pending = new Table<Pending>()
  /** The key of a pending request, by the substitute id that its server knows. */
  readonly #replaced = new Table<string>()
  readonly #history: EventHistory
  readonly #streams: EventStream[] = []
  readonly #backlog: string[] = []
  #backlogBytes = 0
  #listening: EventStream | undefined
  #version: string | undefined
  #lastUsed: number
  #ended = false
  #answered = false
  readonly #answerTimeoutMs: number

  constructor(options: SessionOptions) {
    this.#answerTimeoutMs = options.answerTimeoutMs ?? Infinity
    this.id = options.id
    this.#link = options.link
    this.#now = options.now
    this.#history = new EventHistory(options.eventBufferBytes, options.events)
    this.createdAt = this.#lastUsed = options.now()
  }

  /** `working`: a request is open. `listening`: only the GET stream is open. */
  get state(): 'idle' | 'listening' | 'working' {
    if (this.#pending.size > 0) return 'working'
    return this.#listening?.attached === true ? 'listening' : 'idle'
  }

  /** True once the server has answered a request. */
  get answered(): boolean {
    return this.#answered
  }

  /** The time of the last request, by the clock of the options. */
  get lastUsed(): number {
    return this.#lastUsed
  }

  /** Handles a POST whose body is valid JSON. */
  post(
    body: Uint8Array,
    response: ServerResponse,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    this.#lastUsed = this.#now()
    const message = outline(body)

    if (this.#link.unread > maxUnread)
      return sendRpcError(response, 503, {
        id: message.id,
        code: errorCode.internal,
        message: deaf,
        headers: { 'retry-after': '1' },
      })
    if (isArray(body)) return this.#postBatch(body, response)
    if (message.method === undefined || message.id === undefined) {
      if (message.method === undefined && !message.isResponse)
        return sendRpcError(response, 400, {
          id: message.id,
          code: errorCode.invalidRequest,
          message: 'The body is no JSON-RPC message.',
        })

      this.#tell(body, message)
      response.writeHead(202).end()
      return
    }

    if (this.#refusesMore(1, message.id, response)) return
    this.#request(body, message, { response, headers, batch: undefined })
  }

  /**
   * Serves the GET stream for messages outside of requests, or resumes a broken stream after
   * `lastEventId`.
   */
  get(response: ServerResponse, lastEventId: string | undefined): void {
    this.#lastUsed = this.#now()
    const resumed = /^(\d+)-(\d+)$/.exec(lastEventId ?? '')
    const stream =
      resumed === null ? undefined : this.#streams.find(({ id }) => id === Number(resumed[1]))
    if (stream !== undefined && resumed !== null)
      return stream.attach(response, {}, { priming: false, after: Number(resumed[2]) })
    // A client whose stream broke unnoticed opens another, so the newest stream replaces the older.
    this.#listening ??= this.#newStream()
    this.#listening.attach(response, {}, { priming: wantsPrimingEvent(this.#version) })
    this.#backlogBytes = 0
    for (const data of this.#backlog.splice(0)) this.#listening.send(data)
  }

  /**
   * Handles a line from the server. `related` is the raw id of its request, where the id is known.
   */
  receive(line: Uint8Array, message: MessageOutline, related?: string): void {
    if (message.method === undefined) return this.#answer(line, message)
    const { stream, data } = this.#route(line, message, related)
    if (message.method === 'ping' && message.id !== undefined && stream?.attached !== true)
      return this.#link.send(Buffer.from(emptyAnswer(message.id)))
    if (stream !== undefined) {
      if (!stream.send(data)) this.#link.pause()
    } else this.#keep(data)
  }

  /** Answers a request of the client, whose raw id is `id`, with a message. */
  answer(id: string, message: string): void {
    const key = idKey(id)
    const pending = this.#pending.get(key)
    if (pending?.id !== id) {
      const line = Buffer.from(message)
      return this.#answer(line, outline(line))
    }
    this.#answered = true
    this.#forget(key, pending)
    this.#finish(pending, message)
  }

  /** Keeps a message for a client that opens its GET stream later. */
  #keep(data: string): void {
    const bytes = Buffer.byteLength(data)
    const tooLong = this.#backlogBytes + bytes > mostBacklogBytes
    if (tooLong || this.#backlog.length >= longestBacklog) return
    this.#backlog.push(data)
    this.#backlogBytes += bytes
  }

  /** Refuses `count` more requests if they are too many. Returns true after it has answered. */
  #refusesMore(count: number, id: string | undefined, response: ServerResponse): boolean {
    if (this.#pending.size + count <= mostOpen) return false

    sendRpcError(response, 429, {
      id,
      code: errorCode.invalidRequest,
      message: `One session may have ${mostOpen} requests open. Wait for answers first.`,
      headers: { 'retry-after': '1' },
    })
    return true
  }

  /**
   * Turns requests without an answer into event streams and comments on silent streams, so that no
   * intermediary closes them. Gives up requests that the server has ignored for too long.
   */
  keepAlive(silentMs: number): void {
    const now = this.#now()
    for (const [key, pending] of this.#pending.entries()) {
      if (now - pending.heardAt > this.#answerTimeoutMs) this.#giveUp(key, pending)
      else if (pending.stream === undefined && now - pending.since > silentMs)
        this.#streamOf(pending)
    }
    for (const stream of this.#streams) stream.keepAlive()
  }

  /** Ends the session. Open requests get an error with the reason. */
  end({ status, code, message, data }: SessionEnd): void {
    if (this.#ended) return
    this.#ended = true
    for (const { stream, response, id, batch } of this.#pending.values()) {
      const answer = errorAnswer(id, code, message, data)
      if (stream !== undefined) stream.send(answer)
      else if (batch !== undefined) answerBatch(batch, response, answer)
      else if (!response.headersSent && !response.destroyed)
        sendJson(response, status, Buffer.from(answer), {})
    }
    this.#pending.clear()
    for (const stream of this.#streams) stream.end()
    this.#history.end()
    this.#link.close()
  }

  #postBatch(body: Uint8Array, response: ServerResponse): void {
    const slices = elements(body, { start: 0, end: body.length })
    const messages = slices.map((slice) => ({ slice, message: outline(body, slice) }))
    const requests = messages.filter(
      ({ message }) => message.method !== undefined && message.id !== undefined,
    )

    if (
      messages.length === 0 ||
      messages.some(({ message }) => message.method === undefined && !message.isResponse)
    ) {
      return sendRpcError(response, 400, {
        code: errorCode.invalidRequest,
        message: 'The batch is empty or holds something that is no JSON-RPC message.',
      })
    }

    if (this.#refusesMore(requests.length, undefined, response)) return

    const keys = requests.map(({ message }) => idKey(message.id ?? 'null'))
    if (
      new Set(keys).size < keys.length ||
      keys.some((key) => this.#pending.get(key) !== undefined)
    )
      return sendRpcError(response, 400, {
        code: errorCode.invalidRequest,
        message:
          'The batch has an id twice, or one of a request that is still open in this session.',
      })

    const batch: Batch = { open: requests.length, answers: [] }
    let stream: EventStream | undefined
    if (requests.length > 0 && takesEvents(response)) {
      stream = this.#newStream()
      stream.attach(response, {}, { priming: false })
    }

    for (const { slice, message } of messages) {
      const part = body.subarray(slice.start, slice.end)
      if (message.method !== undefined && message.id !== undefined)
        this.#request(part, outline(part), { response, headers: {}, batch, stream })
      else {
        this.#tell(part, outline(part))
      }
    }

    if (requests.length === 0) response.writeHead(202).end()
  }

  #request(
    body: Uint8Array,
    message: MessageOutline,
    via: {
      response: ServerResponse
      headers: Readonly<Record<string, string>>
      batch: Batch | undefined
      stream?: EventStream | undefined
    },
  ): void {
    const { id = 'null' } = message
    const key = idKey(id)
    if (this.#pending.get(key) !== undefined)
      return sendRpcError(via.response, 400, {
        id,
        code: errorCode.invalidRequest,
        message: 'A request with this id is still open in this session.',
      })

    if (message.method === 'initialize') this.#version = requestedVersion(body, message)
    const token = requestedProgressToken(body, message)
    const serverId = survivesDoubles(id) ? id : `"${randomUUID()}"`

    this.#pending.set(key, {
      id,
      serverId,
      progressToken: token === undefined ? undefined : sliceText(body, token),
      since: this.#now(),
      heardAt: this.#now(),
      stream: undefined,
      ...via,
    })

    if (serverId === id || message.idSlice === undefined) return this.#link.send(body)
    this.#replaced.set(serverId, key)
    this.#link.send(replaceSlices(body, [{ slice: message.idSlice, by: Buffer.from(serverId) }]))
  }

  /**
   * Forwards messages that need no answer: notifications, and answers to the server's questions.
   */
  #tell(body: Uint8Array, message: MessageOutline): void {
    if (message.method !== 'notifications/cancelled') return this.#link.send(body)
    const slice =
      message.paramsSlice === undefined
        ? undefined
        : valueAt(body, ['requestId'], message.paramsSlice)
    const key = slice === undefined ? undefined : idKey(sliceText(body, slice))
    const pending = key === undefined ? undefined : this.#pending.get(key)

    this.#link.send(
      slice === undefined || pending === undefined || pending.serverId === pending.id
        ? body
        : replaceSlices(body, [{ slice, by: Buffer.from(pending.serverId) }]),
    )
    if (key !== undefined && pending !== undefined) this.#cancelled(key, pending)
  }

  #answer(line: Uint8Array, { id, idSlice }: MessageOutline): void {
    // With one open request, an error that names no request can only be about that one.
    const only = id === 'null' && this.#pending.size === 1 ? this.#pending.keys()[0] : undefined
    const key = only ?? (id === undefined ? undefined : this.#keyOf(id))
    const pending = key === undefined ? undefined : this.#pending.get(key)
    // The request was cancelled, was answered before, or never existed, so no client waits.
    if (pending === undefined || key === undefined || idSlice === undefined) return
    this.#answered = true
    this.#forget(key, pending)
    const answer =
      id === pending.id
        ? line
        : replaceSlices(line, [{ slice: idSlice, by: Buffer.from(pending.id) }])
    this.#finish(pending, answer)
  }

  #finish({ stream, batch, response, headers }: Pending, answer: Uint8Array | string): void {
    if (stream === undefined)
      return batch === undefined
        ? sendJson(response, 200, answer, headers)
        : answerBatch(batch, response, textOf(answer))
    if (!stream.send(textOf(answer))) this.#link.pause()
    if (batch !== undefined && (batch.open -= 1) > 0) return
    stream.end()
  }

  /** Ends a request about which the server is silent, and cancels it at the server. */
  #giveUp(key: string, pending: Pending): void {
    const reason = saidNothingFor(this.#answerTimeoutMs)
    this.#forget(key, pending)
    const params = `{"requestId":${pending.serverId},"reason":${JSON.stringify(reason)}}`
    this.#link.send(Buffer.from(notificationMessage('notifications/cancelled', params)))
    this.#finish(pending, Buffer.from(errorAnswer(pending.id, errorCode.internal, reason)))
  }

  /** The server need not answer a cancelled request, but the POST of that request must end. */
  #cancelled(key: string, pending: Pending): void {
    this.#forget(key, pending)
    this.#finish(
      pending,
      Buffer.from(
        errorAnswer(
          pending.id,
          errorCode.requestCancelled,
          'The request was cancelled by the client.',
        ),
      ),
    )
  }

  /** The key of a request, by the id that the server knows. */
  #keyOf(serverId: string): string {
    const key = idKey(serverId)
    return this.#replaced.get(key) ?? key
  }

  #forget(key: string, { id, serverId }: Pending): void {
    this.#pending.delete(key)
    if (serverId !== id) this.#replaced.delete(serverId)
  }

  /**
   * Stdio messages do not name their request. A token matches progress. Others, except list
   * changes, go to the only open request if there is exactly one, and otherwise to the GET stream.
   */
  #route(
    line: Uint8Array,
    message: MessageOutline,
    related: string | undefined,
  ): { stream: EventStream | undefined; data: string } {
    const owner = related === undefined ? undefined : this.#pending.get(this.#keyOf(related))
    if (owner !== undefined) return { stream: this.#heard(owner), data: textOf(line) }
    if (message.method === 'notifications/progress') {
      const slice = notifiedProgressToken(line, message)
      const token = slice === undefined ? undefined : sliceText(line, slice)

      for (const pending of this.#pending.values()) {
        const { progressToken: wanted } = pending
        if (slice === undefined || token === undefined || wanted === undefined) continue
        if (!sameToServers(token, wanted)) continue

        const as =
          token === wanted ? line : replaceSlices(line, [{ slice, by: Buffer.from(wanted) }])
        return { stream: this.#heard(pending), data: textOf(as) }
      }
    } else if (this.#pending.size === 1 && !isListChanged(message.method)) {
      for (const only of this.#pending.values())
        return { stream: this.#heard(only), data: textOf(line) }
    }

    return { stream: this.#listening, data: textOf(line) }
  }

  /** The stream of a request, after noting that the server has said something about the request. */
  #heard(pending: Pending): EventStream | undefined {
    pending.heardAt = this.#now()
    return this.#streamOf(pending)
  }

  /**
   * The stream of a request. A client that accepts only JSON has none, so messages before its
   * answer go to the GET stream.
   */
  #streamOf(pending: Pending): EventStream | undefined {
    if (pending.stream !== undefined) return pending.stream
    if (!takesEvents(pending.response)) return this.#listening
    const stream = this.#newStream()
    pending.stream = stream
    stream.attach(pending.response, pending.headers, { priming: wantsPrimingEvent(this.#version) })
    return stream
  }

  #newStream(): EventStream {
    const stream = new EventStream((this.#nextStream += 1), this.#history, () =>
      this.#link.resume(),
    )
    this.#streams.push(stream)
    // Ended streams are kept for clients that reconnect, but only a bounded number of them.
    const oldest = this.#streams.findIndex(({ ended }) => ended)
    if (this.#streams.length > 64 && oldest !== -1) this.#streams.splice(oldest, 1)
    return stream
  }
  #nextStream = 0
}

/** The reason for giving up a request. */
export function saidNothingFor(ms: number): string {
  return `The server has said nothing of this request for ${ms / 1000} s. It may still run.`
}

function textOf(message: Uint8Array | string): string {
  if (typeof message === 'string') return message
  const { buffer, byteOffset, byteLength } = message
  return Buffer.from(buffer, byteOffset, byteLength).toString()
}

function answerBatch(batch: Batch, response: ServerResponse, answer: string): void {
  if (batch.answers.push(answer) < batch.open) return
  if (!response.headersSent && !response.destroyed)
    sendJson(response, 200, Buffer.from(`[${batch.answers.join(',')}]`), {})
}

function isListChanged(method: string | undefined): boolean {
  return method?.endsWith('/list_changed') === true || method === 'notifications/resources/updated'
}

function requestedVersion(body: Uint8Array, { paramsSlice }: MessageOutline): string | undefined {
  if (paramsSlice === undefined) return undefined
  const { protocolVersion } = JSON.parse(sliceText(body, paramsSlice as Slice)) as {
    protocolVersion?: unknown
  }
  return typeof protocolVersion === 'string' ? protocolVersion : undefined
}
