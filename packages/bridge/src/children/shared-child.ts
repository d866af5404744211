import { randomUUID } from 'node:crypto'
import { brokenOff, monotonicNow, type Link, type Session } from '@mcp-gateway/mcp-http'
import {
  emptyAnswer,
  errorAnswer,
  errorCode,
  idKey,
  noSuchTask,
  notificationMessage,
  notifiedProgressToken,
  outline,
  readArray,
  readObject,
  readString,
  replaceSlices,
  requestedProgressToken,
  requestMessage,
  sliceText,
  SubscribedUris,
  Table,
  TaskOwners,
  valueAt,
  type MessageOutline,
  type Slice,
} from '@mcp-gateway/protocol'
import type { Child } from './child.ts'

/** A request of a client, as the client knows it. */
interface Asked {
  readonly session: Session
  /** Raw JSON. */
  readonly id: string
  /** Raw JSON. */
  readonly progressToken: string | undefined
  /** Set if the request asks for a task, or for the list of tasks. */
  readonly about: 'task' | 'tasks' | undefined
}

/** A request of the child, and the session that received it. */
interface Question {
  readonly session: Session
  /** Raw JSON. */
  readonly progressToken: string | undefined
}

/**
 * Milliseconds. A server need not answer a cancelled request, but may still ask or log for it.
 */
const lingersMs = 30_000

/** The `initialize` that the child has not answered yet. */
interface OpenInitialize {
  readonly ownId: string
  readonly by: Session
  /** When the child got it, by `monotonicNow`. */
  readonly at: number
  /** Sessions that wait for the same answer. */
  readonly waiting: { readonly session: Session; readonly again: () => void }[]
}

/**
 * One child for all sessions. Clients may use equal ids and progress tokens, so the child sees
 * random ones, which no client can guess. Later `initialize`s get the answer to the first.
 */
export class SharedChild {
  readonly #child: Child
  readonly #sessions = new Set<Session>()
  /** By the bridge's own id in raw JSON, which is also the progress token for the child. */
  readonly #asked = new Table<Asked>()
  /** Cancelled requests that the child may still work on, by the bridge's own id, oldest first. */
  readonly #lingering = new Map<string, { readonly session: Session; readonly until: number }>()
  /** Requests of the child without an answer, by `idKey`. */
  readonly #questions = new Table<Question>()
  /** The child's answer to `initialize`, or the open request, or undefined if there was none. */
  #initialize: { readonly answer: Uint8Array; readonly idSlice: Slice } | OpenInitialize | undefined
  /** Callers that got no answer to an `initialize` in time. */
  readonly #silentFor = new Set<string>()
  #initializedSent = false
  /** Sessions that have subscribed to a resource, by its URI. */
  readonly #subscribers = new Map<string, Set<Session>>()
  /** The subscribed URIs of each session, whose share is bounded. */
  readonly #uris = new WeakMap<Session, SubscribedUris>()
  /** Task owners are callers, because a caller may return to a task in another session. */
  readonly #tasks = new TaskOwners<string>()
  readonly #callers = new WeakMap<Session, string>()

  readonly #retryMs: number

  /**
   * `said` is called for each message of the child, which has at least `retryMs` to answer an
   * `initialize`.
   */
  constructor(child: Child, retryMs: number, said: () => void, ended: (reason: string) => void) {
    this.#child = child
    this.#retryMs = retryMs
    child.listen({
      line: (line, message) => {
        said()
        this.#receive(line, message)
      },
      ended: (reason) => {
        for (const session of this.#sessions) session.end(brokenOff(reason))
        ended(reason)
      },
    })
  }

  /**
   * Handles a session whose `initialize` has no answer in time. The child may drop requests of one
   * caller, so a session of another caller asks next. The child is `dead` if it answers neither, or
   * if no other caller waits.
   */
  silent(session: Session): 'waits' | 'ends' | 'dead' {
    const open = this.#initialize
    if (open === undefined || 'answer' in open) return 'ends'
    if (monotonicNow() - open.at < this.#retryMs) return 'waits'
    if (open.by !== session && this.#sessions.has(open.by)) return 'ends'

    this.#silentFor.add(this.#callers.get(open.by) ?? '')
    const isOther = (each: Session): boolean =>
      this.#sessions.has(each) && !this.#silentFor.has(this.#callers.get(each) ?? '')
    const next = open.waiting.find((each) => isOther(each.session))
    if (next === undefined || this.#silentFor.size > 1) return 'dead'

    this.#asked.delete(open.ownId)
    this.#initialize = undefined
    next.again()
    for (const each of open.waiting) if (each !== next) each.again()
    return next.session === session ? 'waits' : 'ends'
  }

  stop(): Promise<void> {
    return this.#child.stop()
  }

  /**
   * Links a session to the child. `caller` is undefined if callers cannot be told apart: each
   * session then counts as a caller.
   */
  link(sessionOf: () => Session, caller: string | undefined): Link {
    const child = this.#child
    return {
      send: (message) => {
        const session = sessionOf()
        this.#callers.set(session, caller ?? session.id)
        this.#send(session, message)
      },
      get unread() {
        return child.unread
      },
      // One slow client must not stop the others. The socket bounds the client's own stream.
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
    if (method === 'initialize')
      return isWholeInitialize(message)
        ? this.#open(session, message, id, idSlice)
        : this.#answer(session, errorAnswer(id, errorCode.invalidParams, notWhole))
    const followed = this.#follows(session, message, method)
    if (followed !== 'pass')
      return this.#answer(
        session,
        followed === 'done' ? emptyAnswer(id) : errorAnswer(id, errorCode.internal, followed.not),
      )
    if (this.#isTaskOfAnother(session, message, method))
      return this.#answer(session, errorAnswer(id, errorCode.invalidParams, noSuchTask))

    this.#ask(session, message, id, idSlice)
  }

  /** True if a task belongs to another caller. This caller must not see that task. */
  #isTaskOfAnother(session: Session, message: Uint8Array, method: string): boolean {
    return (
      ofTasks.test(method) &&
      method !== 'tasks/list' &&
      this.#tasks.ownerOf(textAt(message, ['params', 'taskId'])) !== this.#callers.get(session)
    )
  }

  #ask(session: Session, message: Uint8Array, id: string, idSlice: Slice): string {
    const ownId = `"${randomUUID()}"`
    const by = Buffer.from(ownId)
    const outlined = outline(message)
    const token = requestedProgressToken(message, outlined)

    this.#asked.set(ownId, {
      session,
      id,
      progressToken: token === undefined ? undefined : sliceText(message, token),
      about: aboutTasks(message, outlined),
    })

    const slices =
      token === undefined ? [idSlice] : [idSlice, token].toSorted((a, b) => a.start - b.start)
    this.#child.send(
      replaceSlices(
        message,
        slices.map((slice) => ({ slice, by })),
      ),
    )

    return ownId
  }

  #notify(session: Session, message: Uint8Array, method: string | undefined): void {
    if (method === 'notifications/initialized') {
      if (this.#initializedSent) return
      this.#initializedSent = true
    } else if (method === 'notifications/cancelled') return this.#cancel(session, message)
    // A client could name a task of another client here, so the child gets no such notification.
    else if (ofTasks.test(method ?? '')) return
    else if (method === 'notifications/progress' && !this.#isAsked(session, message)) return
    this.#child.send(message)
  }

  /** True if a session reports progress on a question that the server asked that session. */
  #isAsked(session: Session, message: Uint8Array): boolean {
    const token = notifiedProgressToken(message, outline(message))
    const raw = token === undefined ? undefined : sliceText(message, token)
    return this.#questions
      .values()
      .some(
        (question) =>
          question.session === session &&
          raw !== undefined &&
          question.progressToken !== undefined &&
          idKey(question.progressToken) === idKey(raw),
      )
  }

  /**
   * Records the subscribers of a resource. `done` answers an unsubscribe that the child must not
   * see: another session still subscribes, and the child knows only one subscriber.
   */
  #follows(
    session: Session,
    message: Uint8Array,
    method: string,
  ): 'pass' | 'done' | { readonly not: string } {
    if (method !== 'resources/subscribe' && method !== 'resources/unsubscribe') return 'pass'
    const uri = uriOf(message)
    if (uri === undefined) return 'pass'

    const subscribers = this.#subscribers.get(uri) ?? new Set()
    if (method === 'resources/subscribe') {
      const not = this.#urisOf(session).add(uri)
      if (not !== undefined) return { not }
      this.#subscribers.set(uri, subscribers.add(session))
      return 'pass'
    }

    this.#urisOf(session).delete(uri)
    subscribers.delete(session)
    if (subscribers.size > 0) return 'done'

    this.#subscribers.delete(uri)
    return 'pass'
  }

  #urisOf(session: Session): SubscribedUris {
    const uris = this.#uris.get(session) ?? new SubscribedUris()
    this.#uris.set(session, uris)
    return uris
  }

  /**
   * Forwards a cancellation, which names the request by the client's id. A client cannot cancel
   * requests of another, nor the `initialize` that serves all. No answer need follow.
   */
  #cancel(session: Session, message: Uint8Array): void {
    const slice = valueAt(message, ['params', 'requestId'])
    if (slice === undefined) return
    const theirs = idKey(sliceText(message, slice))
    for (const [ownId, asked] of this.#asked.entries()) {
      if (asked.session !== session || idKey(asked.id) !== theirs) continue
      if (this.#isOpenInitialize(ownId)) continue

      this.#linger(ownId, session)
      this.#child.send(replaceSlices(message, [{ slice, by: Buffer.from(ownId) }]))
    }
  }

  /** Forgets a cancelled request, except that its session still counts as asking for a while. */
  #linger(ownId: string, session: Session): void {
    this.#asked.delete(ownId)
    this.#forgetLingering()
    this.#lingering.set(ownId, { session, until: monotonicNow() + lingersMs })
  }

  #forgetLingering(): void {
    const now = monotonicNow()
    for (const [ownId, { until }] of this.#lingering) {
      if (until > now) return
      this.#lingering.delete(ownId)
    }
  }

  #isOpenInitialize(ownId: string): boolean {
    const open = this.#initialize
    return open !== undefined && 'ownId' in open && open.ownId === ownId
  }

  /** Answers a request that the child does not see. */
  #answer(session: Session, text: string): void {
    queueMicrotask(() => {
      const answer = Buffer.from(text)
      session.receive(answer, outline(answer))
    })
  }

  #answerQuestion(session: Session, message: Uint8Array, id: string): void {
    if (this.#questions.get(idKey(id))?.session !== session) return
    this.#questions.delete(idKey(id))
    this.#child.send(message)
  }

  #open(session: Session, message: Uint8Array, id: string, idSlice: Slice): void {
    const opened = this.#initialize
    if (opened === undefined)
      this.#initialize = {
        ownId: this.#ask(session, message, id, idSlice),
        by: session,
        at: monotonicNow(),
        waiting: [],
      }
    else if ('answer' in opened)
      queueMicrotask(() => {
        const by = Buffer.from(id)
        const line = replaceSlices(opened.answer, [{ slice: opened.idSlice, by }])
        session.receive(line, outline(line))
      })
    else
      opened.waiting.push({
        session,
        again: () => {
          if (this.#sessions.has(session)) this.#open(session, message, id, idSlice)
        },
      })
  }

  #receive(line: Uint8Array, message: MessageOutline): void {
    if (message.method === undefined) return this.#answered(line, message)
    if (message.id !== undefined) return this.#question(line, message, message.id)
    if (message.method === 'notifications/progress') return this.#progress(line, message)
    for (const session of this.#addressees(line, message)) session.receive(line, message)
  }

  /**
   * The sessions that get a notification. List changes go to all, updates to subscribers, task
   * states to owners. The rest may hold a caller's data, so only a sole session with calls gets it.
   */
  #addressees(line: Uint8Array, { method = '' }: MessageOutline): Iterable<Session> {
    if (method.endsWith('/list_changed')) return this.#sessions
    if (method === 'notifications/resources/updated')
      return this.#subscribers.get(uriOf(line) ?? '') ?? []
    if (method === 'notifications/tasks/status') {
      const owner = this.#tasks.ownerOf(textAt(line, ['params', 'taskId']))
      return [...this.#sessions].filter(
        (session) => owner !== undefined && this.#callers.get(session) === owner,
      )
    }
    if (method === 'notifications/cancelled') return this.#cancelledQuestion(line)

    const asking = this.#asking()
    return asking.size === 1 ? [...asking].filter((each) => this.#sessions.has(each)) : []
  }

  /** The child cancels its question, which only one session knows. */
  #cancelledQuestion(line: Uint8Array): Session[] {
    const slice = valueAt(line, ['params', 'requestId'])
    const key = slice === undefined ? '' : idKey(sliceText(line, slice))
    const question = this.#questions.get(key)
    this.#questions.delete(key)
    return question === undefined ? [] : [question.session]
  }

  #asking(): Set<Session> {
    const asking = new Set(this.#asked.values().map(({ session }) => session))
    this.#forgetLingering()
    for (const { session } of this.#lingering.values())
      if (![...asking].some((each) => this.#haveOneCaller(each, session))) asking.add(session)

    return asking
  }

  #haveOneCaller(one: Session, other: Session): boolean {
    return this.#callers.get(one) === this.#callers.get(other)
  }

  #answered(line: Uint8Array, { id, idSlice }: MessageOutline): void {
    // With one open request, an error that names no request can only be about that one.
    const isAlone = this.#asked.size === 1 && this.#lingering.size === 0
    const only = id === 'null' && isAlone ? this.#asked.keys()[0] : undefined
    const ownId = only ?? (id === undefined ? '' : idKey(id))
    if (idSlice === undefined) return

    this.#lingering.delete(ownId)
    if (
      this.#initialize !== undefined &&
      !('answer' in this.#initialize) &&
      this.#initialize.ownId === ownId
    ) {
      const { waiting } = this.#initialize
      // A refusal concerns the request of one client, so waiting clients ask for themselves.
      const isRefusal = valueAt(line, ['error']) !== undefined
      this.#initialize = isRefusal ? undefined : { answer: Buffer.from(line), idSlice }
      this.#silentFor.clear()
      for (const { again } of waiting) again()
    }

    const asked = this.#asked.get(ownId)
    if (asked === undefined) return

    this.#asked.delete(ownId)
    const own = replaceSlices(line, [{ slice: idSlice, by: Buffer.from(asked.id) }])
    const answer = asked.about === undefined ? own : this.#ofTasks(asked, own)
    asked.session.receive(answer, outline(answer))
  }

  /** Records the owner of a new task, and removes the tasks of other callers from a list. */
  #ofTasks({ session, about }: Asked, answer: Uint8Array): Uint8Array {
    const caller = this.#callers.get(session) ?? ''
    const made = about === 'task' ? textAt(answer, ['result', 'task', 'taskId']) : undefined
    if (made !== undefined) this.#tasks.made(made, caller)
    const list = about === 'tasks' ? valueAt(answer, ['result', 'tasks']) : undefined
    if (list === undefined) return answer

    const kept = (readArray(sliceText(answer, list)) ?? []).filter(
      (raw) => this.#tasks.ownerOf(readString(readObject(raw)?.get('taskId'))) === caller,
    )
    return replaceSlices(answer, [{ slice: list, by: Buffer.from(`[${kept.join(',')}]`) }])
  }

  #progress(line: Uint8Array, message: MessageOutline): void {
    const slice = notifiedProgressToken(line, message)
    const asked = slice === undefined ? undefined : this.#asked.get(idKey(sliceText(line, slice)))
    if (slice === undefined || asked?.progressToken === undefined) return
    const told = replaceSlices(line, [{ slice, by: Buffer.from(asked.progressToken) }])
    asked.session.receive(told, outline(told))
  }

  /**
   * The only session of those that wait, or else the only session of all. One that has left is
   * replaced by the only session if both have the same caller.
   */
  #onlyOf(waiting: ReadonlySet<Session>): Session | undefined {
    const [session] = this.#sessions.size === 1 ? this.#sessions : []
    const [asking] = waiting
    if (asking === undefined) return session
    if (waiting.size > 1) return undefined
    if (this.#sessions.has(asking)) return asking
    return session !== undefined && this.#haveOneCaller(session, asking) ? session : undefined
  }

  /**
   * Gives a request of the server to the only session with open calls, or else to the only session.
   */
  #question(line: Uint8Array, message: MessageOutline, id: string): void {
    // A ping asks if the peer lives, and the peer is this bridge.
    if (message.method === 'ping') return this.#child.send(Buffer.from(emptyAnswer(id)))
    const waiting = this.#asking()
    if (ofTasks.test(message.method ?? '')) waiting.clear()
    const owner = this.#onlyOf(waiting)
    if (owner !== undefined) {
      const token = requestedProgressToken(line, message)
      this.#questions.set(idKey(id), {
        session: owner,
        progressToken: token === undefined ? undefined : sliceText(line, token),
      })
      owner.receive(line, message)
      return
    }
    const mistake =
      'Several clients share this server, and it is not known whom this is for. ' +
      'MCP_ISOLATION=session gives each a server of its own.'
    this.#child.send(Buffer.from(errorAnswer(id, errorCode.internal, mistake)))
  }

  /**
   * Cancels the requests of a session at the child, and answers the child's questions with errors.
   */
  #leave(session: Session): void {
    this.#sessions.delete(session)
    this.#unsubscribe(session)

    for (const [ownId, asked] of this.#asked.entries()) {
      if (asked.session !== session) continue
      // The answer to `initialize` serves other sessions too.
      if (this.#isOpenInitialize(ownId)) continue

      this.#linger(ownId, session)
      this.#child.send(cancellation(ownId, 'The client has gone.'))
    }

    for (const [key, question] of this.#questions.entries()) {
      if (question.session !== session) continue
      this.#questions.delete(key)
      this.#child.send(Buffer.from(errorAnswer(key, errorCode.internal, 'The client has gone.')))
    }
  }

  /** Unsubscribes at the child from updates that no other session wants. */
  #unsubscribe(session: Session): void {
    for (const [uri, subscribers] of this.#subscribers) {
      if (!subscribers.delete(session) || subscribers.size > 0) continue
      this.#subscribers.delete(uri)
      const params = JSON.stringify({ uri })
      const message = requestMessage(`"${randomUUID()}"`, 'resources/unsubscribe', params)
      this.#child.send(Buffer.from(message))
    }
  }
}

/** `requestId` is raw JSON. */
function cancellation(requestId: string, reason: string): Buffer {
  const params = `{"requestId":${requestId},"reason":${JSON.stringify(reason)}}`
  return Buffer.from(notificationMessage('notifications/cancelled', params))
}

/**
 * Methods about tasks (MCP 2025-11-25) in upper or lower case, because some servers ignore case.
 */
const ofTasks = /^\s*(notifications\/)?tasks\//i

function aboutTasks(
  message: Uint8Array,
  { method, paramsSlice }: MessageOutline,
): 'task' | 'tasks' | undefined {
  if (method === 'tasks/list') return 'tasks'
  return paramsSlice !== undefined && valueAt(message, ['task'], paramsSlice) !== undefined
    ? 'task'
    : undefined
}

/** The URI of a resource that a message is about. */
function uriOf(message: Uint8Array): string | undefined {
  return textAt(message, ['params', 'uri'])
}

/** The string at a path of a message. */
function textAt(message: Uint8Array, path: readonly string[]): string | undefined {
  const slice = valueAt(message, path)
  const raw = slice === undefined ? '' : sliceText(message, slice)
  return raw.startsWith('"') ? (JSON.parse(raw) as string) : undefined
}

const notWhole =
  'The initialize needs a protocolVersion, capabilities and clientInfo. Send all three.'

/**
 * True if an `initialize` is complete (MCP 2025-11-25, lifecycle). The first one serves all
 * sessions, so the server must not be able to drop it.
 */
function isWholeInitialize(message: Uint8Array): boolean {
  const starts = (name: string, first: string): boolean => {
    const value = valueAt(message, ['params', name])
    return value !== undefined && message[value.start] === first.charCodeAt(0)
  }
  return starts('protocolVersion', '"') && starts('capabilities', '{') && starts('clientInfo', '{')
}
