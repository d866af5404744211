import {
  errorAnswer,
  errorCode,
  idKey,
  notifiedProgressToken,
  outline,
  replaceSlices,
  requestedProgressToken,
  sliceText,
  Table,
  valueAt,
  type MessageOutline,
  type Slice,
} from '@mcp-gateway/protocol'
import type { Link, Session } from './session.ts'
import type { Child } from './child.ts'

/** A request of a client, as the client knows it. */
interface Asked {
  readonly session: Session
  /** Raw JSON. */
  readonly id: string
  /** Raw JSON. */
  readonly progressToken: string | undefined
}

/**
 * One child for all sessions. Ids and progress tokens of different clients may be equal, so the child sees numbers of our own,
 * replaced in the raw bytes; the first `initialize` is the child's, later ones are answered as that was.
 */
export class SharedChild {
  readonly #child: Child
  readonly #sessions = new Set<Session>()
  /** By our own number, which is the id and the progress token that the child sees. */
  readonly #asked = new Table<Asked>()
  /** Requests of the child that are not answered: whom they were given to, by `idKey`. */
  readonly #questions = new Table<Session>()
  /** The child's answer to `initialize`; asked for, but not there; or not asked for. */
  #initialize:
    | { readonly answer: Uint8Array; readonly idSlice: Slice }
    | { readonly number: string; readonly waiting: (() => void)[] }
    | undefined
  #initializedSent = false
  #next = 0

  constructor(child: Child, ended: (reason: string) => void) {
    this.#child = child
    child.listen({
      line: (line, message) => this.#receive(line, message),
      ended: (reason) => {
        for (const session of this.#sessions) session.end(reason)
        ended(reason)
      },
    })
  }

  /** How a session talks to the child. */
  link(sessionOf: () => Session): Link {
    const child = this.#child
    return {
      send: (message) => this.#send(sessionOf(), message),
      get unread() {
        return child.unread
      },
      // One slow client must not stop the others; its own stream is bounded by its socket.
      pause: () => undefined,
      resume: () => undefined,
      close: () => this.#leave(sessionOf()),
    }
  }

  #send(session: Session, message: Uint8Array): void {
    this.#sessions.add(session)
    const { id, idSlice, method } = outline(message)
    if (id === undefined || idSlice === undefined) return this.#notify(session, message, method)
    if (method === undefined) return this.#answerQuestion(session, message, id)
    if (method === 'initialize') return this.#open(session, message, id, idSlice)
    this.#ask(session, message, id, idSlice)
  }

  #ask(session: Session, message: Uint8Array, id: string, idSlice: Slice): string {
    const number = String((this.#next += 1))
    const by = Buffer.from(number)
    const token = requestedProgressToken(message, outline(message))
    this.#asked.set(number, {
      session,
      id,
      progressToken: token === undefined ? undefined : sliceText(message, token),
    })
    const slices =
      token === undefined ? [idSlice] : [idSlice, token].toSorted((a, b) => a.start - b.start)
    this.#child.send(
      replaceSlices(
        message,
        slices.map((slice) => ({ slice, by })),
      ),
    )
    return number
  }

  #notify(session: Session, message: Uint8Array, method: string | undefined): void {
    if (method === 'notifications/initialized') {
      if (this.#initializedSent) return
      this.#initializedSent = true
    } else if (method === 'notifications/cancelled') return this.#cancel(session, message)
    this.#child.send(message)
  }

  /** `notifications/cancelled` names the request by the client's id; that of another client is not its to cancel. */
  #cancel(session: Session, message: Uint8Array): void {
    const slice = valueAt(message, ['params', 'requestId'])
    if (slice === undefined) return
    const theirs = idKey(sliceText(message, slice))
    for (const [number, asked] of this.#asked.entries())
      if (asked.session === session && idKey(asked.id) === theirs)
        this.#child.send(replaceSlices(message, [{ slice, by: Buffer.from(number) }]))
  }

  #answerQuestion(session: Session, message: Uint8Array, id: string): void {
    if (this.#questions.get(idKey(id)) !== session) return
    this.#questions.delete(idKey(id))
    this.#child.send(message)
  }

  #open(session: Session, message: Uint8Array, id: string, idSlice: Slice): void {
    const answer = (): void => {
      if (this.#initialize === undefined || !('answer' in this.#initialize)) return
      const line = replaceSlices(this.#initialize.answer, [
        { slice: this.#initialize.idSlice, by: Buffer.from(id) },
      ])
      session.receive(line, outline(line))
    }
    if (this.#initialize === undefined)
      this.#initialize = { number: this.#ask(session, message, id, idSlice), waiting: [] }
    else if ('answer' in this.#initialize) queueMicrotask(answer)
    else this.#initialize.waiting.push(answer)
  }

  #receive(line: Uint8Array, message: MessageOutline): void {
    if (message.method === undefined) return this.#answered(line, message)
    if (message.id !== undefined) return this.#question(line, message, message.id)
    if (message.method === 'notifications/progress') return this.#progress(line, message)
    for (const session of this.#sessions) session.receive(line, message)
  }

  #answered(line: Uint8Array, { id, idSlice }: MessageOutline): void {
    const number = id === undefined ? '' : idKey(id)
    if (idSlice === undefined) return
    if (
      this.#initialize !== undefined &&
      !('answer' in this.#initialize) &&
      this.#initialize.number === number
    ) {
      const { waiting } = this.#initialize
      this.#initialize = { answer: Buffer.from(line), idSlice }
      for (const answer of waiting) answer()
    }
    const asked = this.#asked.get(number)
    if (asked === undefined) return
    this.#asked.delete(number)
    const answer = replaceSlices(line, [{ slice: idSlice, by: Buffer.from(asked.id) }])
    asked.session.receive(answer, outline(answer))
  }

  #progress(line: Uint8Array, message: MessageOutline): void {
    const slice = notifiedProgressToken(line, message)
    const asked = slice === undefined ? undefined : this.#asked.get(idKey(sliceText(line, slice)))
    if (slice === undefined || asked?.progressToken === undefined) return
    const told = replaceSlices(line, [{ slice, by: Buffer.from(asked.progressToken) }])
    asked.session.receive(told, outline(told))
  }

  /** A request of the server: whose call it serves is known only if one session alone has calls open. */
  #question(line: Uint8Array, message: MessageOutline, id: string): void {
    const waiting = new Set(this.#asked.values().map(({ session }) => session))
    const [owner] = waiting.size === 1 ? waiting : this.#sessions.size === 1 ? this.#sessions : []
    if (owner !== undefined) {
      this.#questions.set(idKey(id), owner)
      owner.receive(line, message)
      return
    }
    const mistake =
      'Several clients share this server, and it is not known whom this is for. MCP_ISOLATION=session gives each a server of its own.'
    this.#child.send(Buffer.from(errorAnswer(id, errorCode.internal, mistake)))
  }

  /** Nobody waits any more for what the session asked, nor answers what it was asked. */
  #leave(session: Session): void {
    this.#sessions.delete(session)
    for (const [number, asked] of this.#asked.entries()) {
      if (asked.session !== session) continue
      // The answer to `initialize` serves others too.
      if (
        this.#initialize !== undefined &&
        'number' in this.#initialize &&
        this.#initialize.number === number
      )
        continue
      this.#asked.delete(number)
      this.#child.send(
        Buffer.from(
          `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${number},"reason":"The client has gone."}}`,
        ),
      )
    }
    for (const [key, asked] of this.#questions.entries()) {
      if (asked !== session) continue
      this.#questions.delete(key)
      this.#child.send(Buffer.from(errorAnswer(key, errorCode.internal, 'The client has gone.')))
    }
  }
}
