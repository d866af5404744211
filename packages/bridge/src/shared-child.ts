import {
  errorAnswer,
  errorCode,
  eachMember,
  notifiedProgressToken,
  outline,
  replaceSlices,
  requestedProgressToken,
  sliceText,
  valueAt,
  type Slice,
} from '@mcp-gateway/protocol'
import type { Link, Session } from './session.ts'
import type { StdioChild } from './stdio-child.ts'

interface Asked {
  readonly session: Session
  /** Raw id by which the client knows the request. */
  readonly id: string
  readonly isInitialize: boolean
}

/**
 * One child for all sessions. Ids and progress tokens of different clients may be equal, so the child sees ids of our own,
 * replaced in the raw bytes; the first `initialize` is the child's, later ones are answered with its result.
 */
export class SharedChild {
  readonly #child: StdioChild
  readonly #sessions = new Set<Session>()
  readonly #asked = new Map<string, Asked>()
  /** Raw token of the client, by our own. */
  readonly #tokens = new Map<string, { readonly session: Session; readonly token: string; readonly request: string }>()
  /** The child's InitializeResult as raw JSON. */
  #initialized: string | undefined
  #initializing: (() => void)[] | undefined
  #initializedSent = false
  #next = 0

  constructor(child: StdioChild, ended: (reason: string) => void) {
    this.#child = child
    child.listen({
      line: (line) => this.#receive(line),
      ended: (reason) => {
        for (const session of this.#sessions) session.end(reason)
        ended(reason)
      },
    })
  }

  /** How a session talks to the child. */
  link(sessionOf: () => Session): Link {
    return {
      send: (message) => this.#send(sessionOf(), message),
      whenDrained: (listener) => this.#child.whenDrained(listener),
      // One slow client must not stop the others; its own stream is bounded by its socket.
      pause: () => undefined,
      resume: () => undefined,
      close: () => {
        const session = sessionOf()
        this.#sessions.delete(session)
        for (const [id, asked] of this.#asked) if (asked.session === session) this.#asked.delete(id)
      },
    }
  }

  #send(session: Session, message: Uint8Array): boolean {
    this.#sessions.add(session)
    const { id, idSlice, method } = outline(message)
    if (method === 'initialize' && id !== undefined && idSlice !== undefined) return this.#initialize(session, message, id, idSlice)
    if (method === 'notifications/initialized') {
      if (this.#initializedSent) return true
      this.#initializedSent = true
    }
    if (method === undefined) return this.#child.send(message)
    if (id === undefined || idSlice === undefined)
      return this.#child.send(method === 'notifications/cancelled' ? this.#cancelled(session, message) : message)
    return this.#ask(session, message, id, idSlice, false)
  }

  #ask(session: Session, message: Uint8Array, id: string, idSlice: Slice, isInitialize: boolean): boolean {
    const own = String((this.#next += 1))
    this.#asked.set(own, { session, id, isInitialize })
    const changes = [{ slice: idSlice, by: Buffer.from(own) }]
    const token = requestedProgressToken(message, outline(message))
    if (token !== undefined) {
      this.#tokens.set(own, { session, token: sliceText(message, token), request: own })
      changes.push({ slice: token, by: Buffer.from(own) })
    }
    return this.#child.send(
      replaceSlices(
        message,
        changes.toSorted((a, b) => a.slice.start - b.slice.start),
      ),
    )
  }

  #initialize(session: Session, message: Uint8Array, id: string, idSlice: Slice): boolean {
    const answer = (): void => session.receive(Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":${this.#initialized ?? '{}'}}`))
    if (this.#initialized !== undefined) {
      queueMicrotask(answer)
      return true
    }
    if (this.#initializing !== undefined) {
      this.#initializing.push(answer)
      return true
    }
    this.#initializing = []
    return this.#ask(session, message, id, idSlice, true)
  }

  /** `notifications/cancelled` names the request by the client's id. */
  #cancelled(session: Session, message: Uint8Array): Uint8Array {
    const slice = valueAt(message, ['params', 'requestId'])
    if (slice === undefined) return message
    const theirs = sliceText(message, slice)
    const own = [...this.#asked].find(([, asked]) => asked.session === session && asked.id === theirs)?.[0]
    return own === undefined ? message : replaceSlices(message, [{ slice, by: Buffer.from(own) }])
  }

  #receive(line: Uint8Array): void {
    const message = outline(line)
    if (message.method === undefined) return this.#answered(line)
    if (message.method === 'notifications/progress') {
      const slice = notifiedProgressToken(line, message)
      const found = slice === undefined ? undefined : this.#tokens.get(sliceText(line, slice))
      if (found !== undefined && slice !== undefined) found.session.receive(replaceSlices(line, [{ slice, by: Buffer.from(found.token) }]))
      return
    }
    const waiting = new Set([...this.#asked.values()].map(({ session }) => session))
    if (message.id !== undefined) {
      // A request of the server: whose call it serves is known only if one session alone has calls open.
      const [owner] = waiting.size === 1 ? waiting : this.#sessions.size === 1 ? this.#sessions : []
      if (owner !== undefined) owner.receive(line)
      else
        this.#child.send(
          Buffer.from(
            errorAnswer(
              message.id,
              errorCode.internal,
              'Several clients share this server, and it is not known whom this is for. MCP_ISOLATION=session gives each a server of its own.',
            ),
          ),
        )
      return
    }
    for (const session of this.#sessions) session.receive(line)
  }

  #answered(line: Uint8Array): void {
    const { id, idSlice } = outline(line)
    const asked = id === undefined ? undefined : this.#asked.get(id)
    if (asked === undefined || id === undefined || idSlice === undefined) return
    this.#asked.delete(id)
    this.#tokens.delete(id)
    if (asked.isInitialize) this.#keepInitializeResult(line)
    asked.session.receive(replaceSlices(line, [{ slice: idSlice, by: Buffer.from(asked.id) }]))
  }

  #keepInitializeResult(line: Uint8Array): void {
    eachMember(line, { start: 0, end: line.length }, (name, value) => {
      if (name === 'result') this.#initialized = Buffer.from(line.subarray(value.start, value.end)).toString()
    })
    const waiting = this.#initializing ?? []
    this.#initializing = undefined
    for (const answer of waiting) answer()
  }
}
