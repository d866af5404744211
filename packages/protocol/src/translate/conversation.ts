import { errorAnswer, errorCode, errorData, idKey } from '../message.ts'
import { gravity, metaKey, type DeclaredHeader, type ModernRequest } from '../modern.ts'
import {
  readArray,
  readMessage,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import { notificationMessage, requestMessage, resultMessage, type Exchange } from './exchange.ts'
import { type ToolFacts } from './kept.ts'
import { Table } from '../table.ts'
import { latestLegacyVersion } from '../versions.ts'
import { declaredHeaders } from './param-headers.ts'
import {
  discoverResult,
  inputRequest,
  modernError,
  modernResult,
  withMember,
  withoutEnvelope,
} from './to-modern.ts'

/** A legacy connection: a session over HTTP, or a child on stdio. */
export interface LegacyConnection {
  /** The server is about to end: open calls may go on, but new calls need another connection. */
  readonly leaving?: boolean
  /** Sends one message. `request` is set if the message is a request that needs an answer. */
  send(message: string, request?: { readonly id: string; readonly method: string }): void
  /** Receives the negotiated version, before any message but `initialize` is sent. */
  negotiated?(version: string): void
  /**
   * Calls back once earlier messages of the server are read. Only transports with several streams
   * have it, because their streams overtake each other.
   */
  afterOthers?(callback: () => void): void
  close(): void
}

export interface ConnectionListener {
  /**
   * Takes a message of the server. `via` is the raw id of the request on whose stream it came, if
   * the transport tells. Returns true if the message answers that request.
   */
  receive(message: string, via?: string): boolean
  /**
   * The connection is lost. `refused` is the raw id of a request that the server has not run, if
   * the transport tells.
   */
  lost(reason: string, refused?: string): void
  /** True if nobody waits for an answer or listens, so that the connection may be closed. */
  readonly idle: boolean
}

/** A question of the server for the client of a call. */
export interface Question {
  readonly method: string
  /** Raw id that the server gave to the question. */
  readonly id: string
  /** The question as it stands in `inputRequests`. */
  readonly text: string
}

/** A request of a modern client on its way through a legacy server. */
export interface Call {
  readonly principal: string
  request: ModernRequest
  /** Undefined while the call waits for the answers of its client. */
  exchange: Exchange | undefined
  readonly questions: Map<string, Question>
  conversation: Conversation | undefined
  /**
   * Raw ids of the requests to the server that the call has open, more than one for a task. A
   * placeholder while the call waits.
   */
  readonly sentAs: Set<string>
  /** Raw id of the server's task that runs the call. */
  task: string | undefined
  /** True if the server may have begun to run the call. */
  delivered: boolean
}

/** The engine's handlers for the events of a conversation. */
export interface ConversationEvents {
  answered(call: Call, status: number, message: string): void
  /** A call has a result, which the handler may change. */
  returned(call: Call, result: RawObject): void
  question(call: Call, question: Question): void
  /**
   * Gets the unanswered calls of a lost connection. `late`: the server did not answer `initialize`
   * in time, so another connection would not help. `data` goes with the reason.
   */
  lost(calls: readonly Call[], reason: string, late: boolean, data?: object): void
  /** A call has ended, so a waiting call may begin. */
  freed(): void
  /** The server does not accept `initialize`, or does not accept it any more. */
  refused(): void
  /** The connection was lost before the server answered `initialize`. */
  unopened(): void
}

interface Listener {
  readonly exchange: Exchange
  readonly id: string
  /** The honoured part of its filter; undefined until it is known and acknowledged. */
  honoured: { readonly kinds: ReadonlySet<string>; readonly uris: ReadonlySet<string> } | undefined
  /** Gives up the subscriptions of the listener, agreed or not. */
  leave: () => void
}

/** A resource whose changes the server reports, for this number of listeners. */
interface Subscription {
  listeners: number
  /** Raw id of the request that subscribes. */
  readonly id: string
  /** Callbacks that wait for the server's answer; undefined once the server has agreed. */
  waiting: ((agreed: boolean) => void)[] | undefined
}

/** Most open questions for one call. The server gets an error for each question beyond. */
const maxQuestions = 100

/** The facts about a tool on which its calls depend. */
export interface KnownTool {
  readonly taskRequired: boolean
  readonly headers: readonly DeclaredHeader[]
}

/** Methods whose calls may ask the client for input. */
export const interactive: ReadonlySet<string> = new Set([
  'tools/call',
  'prompts/get',
  'resources/read',
])

const capabilityOf: Readonly<Record<string, string>> = {
  'elicitation/create': 'elicitation',
  'sampling/createMessage': 'sampling',
  'roots/list': 'roots',
}
/** Ends the handshake. Transports without an order of messages wait until the server has it. */
export const initializedMessage = notificationMessage('notifications/initialized', undefined)

/**
 * For each notification: the member of a listen filter that asks for it, and the capability by
 * which a server says that it sends it.
 */
const changes: Readonly<Record<string, { readonly kind: string; readonly capability: string }>> = {
  'notifications/tools/list_changed': { kind: 'toolsListChanged', capability: 'tools' },
  'notifications/prompts/list_changed': { kind: 'promptsListChanged', capability: 'prompts' },
  'notifications/resources/list_changed': { kind: 'resourcesListChanged', capability: 'resources' },
}

/** One legacy connection from its `initialize` on. Matches each message to its call or listener. */
export class Conversation {
  readonly #connection: LegacyConnection
  readonly #events: ConversationEvents
  readonly #capabilities: RawObject
  readonly #initialize: string
  readonly #pending = new Table<(message: RawObject) => void>()
  /** Each call, by each raw id under which it runs. */
  readonly #calls = new Table<Call>()
  readonly #listeners = new Set<Listener>()
  readonly #subscribed = new Map<string, Subscription>()
  readonly #tools: ToolFacts<KnownTool>
  /** Callbacks by call or listener until the connection is open; undefined once it is. */
  #waiting: Map<Call | Listener, () => void> | undefined = new Map()
  #initialized: RawObject = new Map()
  #server: RawObject = new Map()
  #level: number | undefined
  /** True if log messages come beside the stream of their call; undefined until that is known. */
  #logsBeside: boolean | undefined
  /** Answers that wait for log messages that the server may have sent before them. */
  readonly #late = new Set<() => void>()
  #next = 0
  #waits = 0
  #over = false
  idleSince: number
  readonly #createdAt: number

  constructor(
    connect: (listener: ConnectionListener) => LegacyConnection,
    events: ConversationEvents,
    options: {
      readonly capabilities: string
      readonly clientInfo: unknown
      readonly now: number
      /** Shared by connections that see the same lists. */
      readonly tools: ToolFacts<KnownTool>
    },
  ) {
    this.#events = events
    this.#capabilities = readObject(options.capabilities) ?? new Map<string, string>()
    this.idleSince = this.#createdAt = options.now
    this.#tools = options.tools
    this.#initialize = writeObject([
      ['protocolVersion', JSON.stringify(latestLegacyVersion)],
      ['capabilities', options.capabilities],
      ['clientInfo', JSON.stringify(options.clientInfo)],
    ])

    const isIdle = (): boolean => this.idle
    this.#connection = connect({
      receive: (message, via) => this.#receive(message, via),
      lost: (reason, refused) => {
        if (this.#waiting !== undefined && !this.#over) this.#events.unopened()
        this.#lost(reason, refused)
      },
      get idle() {
        return isIdle()
      },
    })

    this.#ask('initialize', this.#initialize, (message) => this.#opened(message))
  }

  /** The number of calls that may ask their client for input. */
  get interactiveCalls(): number {
    let count = 0
    for (const call of new Set(this.#calls.values()))
      if (interactive.has(call.request.method)) count += 1
    return count
  }

  get idle(): boolean {
    return this.#calls.size === 0 && this.#listeners.size === 0 && this.#waiting === undefined
  }

  /** True if new calls need another connection. */
  get leaving(): boolean {
    return this.#connection.leaving === true
  }

  /** True if the connection is lost or closed. */
  get over(): boolean {
    return this.#over
  }

  get serverInfo(): string | undefined {
    return this.#initialized.get('serverInfo')
  }

  /** Runs a call. Its answer comes through the events. */
  run(call: Call): void {
    call.conversation = this
    // A placeholder id makes the call count as open while it waits.
    const placeholder = `waiting ${(this.#waits += 1)}`
    call.sentAs.add(placeholder)
    this.#calls.set(placeholder, call)

    this.#whenOpen(call, () => {
      if (!call.sentAs.has(placeholder)) return
      const { method, params } = call.request
      if (method === 'server/discover')
        return this.#return(
          call,
          modernResult(method, discoverResult(this.#initialized), this.serverInfo),
        )

      const send = (): void => {
        if (call.sentAs.delete(placeholder)) this.#calls.delete(placeholder)
        else return
        this.#dispatch(call)
      }

      if (method === 'tools/call')
        this.#withTools(call, readString(params.get('name')) ?? '', () =>
          this.#withLevel(call, send),
        )
      else this.#withLevel(call, send)
    })
  }

  /** Sends the client's answer to a question of the server. */
  answerQuestion(question: Question, result: string): void {
    this.#connection.send(resultMessage(question.id, result))
  }

  /** Gives a call up: answers its open questions with the reason, and cancels it at the server. */
  abandon(call: Call, reason: string): void {
    for (const { id } of call.questions.values())
      this.#connection.send(errorAnswer(id, errorCode.internal, reason))
    call.questions.clear()
    if (call.task !== undefined)
      this.#ask('tasks/cancel', writeObject([['taskId', call.task]]), () => undefined)
    else for (const id of call.sentAs) if (!id.startsWith('waiting')) this.#cancel(id, reason)
    this.#forget(call)
  }

  /**
   * Opens a listen stream, which first gets the honoured part of its filter. Returns a function
   * that ends the stream silently.
   */
  listen(id: string, filter: RawObject, exchange: Exchange): () => void {
    const leave = (): void => void this.#waiting?.delete(listener)
    const listener: Listener = { exchange, id, honoured: undefined, leave }
    this.#listeners.add(listener)
    this.#whenOpen(listener, () => {
      if (!this.#listeners.has(listener)) return
      const wanted =
        readArray(filter.get('resourceSubscriptions'))?.flatMap((raw) => readString(raw) ?? []) ??
        []

      // Servers of the Python SDK 1.x declare no subscriptions, but subscribe when they are asked.
      const uris = this.#server.has('resources') ? [...new Set(wanted)] : []
      const kinds = Object.values(changes).filter(
        ({ kind, capability }) =>
          filter.get(kind) === 'true' && this.#has(capability, 'listChanged'),
      )

      this.#subscribe(listener, uris, (honoured) => {
        listener.honoured = {
          kinds: new Set(kinds.map(({ kind }) => kind)),
          uris: new Set(honoured),
        }

        const members: [string, string][] = kinds.map(({ kind }) => [kind, 'true'])
        if (honoured.length > 0) members.push(['resourceSubscriptions', JSON.stringify(honoured)])
        this.#tell(
          listener,
          'notifications/subscriptions/acknowledged',
          new Map([['notifications', writeObject(members)]]),
        )
        if (members.length === 0) this.#endListener(listener, '')
      })
    })

    return () => {
      if (this.#listeners.delete(listener)) listener.leave()
    }
  }

  /**
   * Ends the listen streams: in good order if they have begun, else with the reason as an error.
   */
  endListeners(reason: string): void {
    for (const listener of this.#listeners) {
      this.#endListener(listener, reason)
      listener.leave()
    }
  }

  /** The time of creation while the server has not answered `initialize`; undefined once it has. */
  get openingSince(): number | undefined {
    return this.#waiting === undefined ? undefined : this.#createdAt
  }

  /** Ends a connection whose server does not answer `initialize`. */
  giveUp(reason: string): void {
    this.#lost(reason, undefined, true)
    this.#connection.close()
  }

  /** Ends the connection. Open calls are lost. */
  close(reason: string, data?: object): void {
    if (this.#over) return
    this.#lost(reason, undefined, false, data)
    this.#connection.close()
  }

  #opened(message: RawObject): void {
    const result = readObject(message.get('result'))
    if (result === undefined) {
      const error = readObject(message.get('error'))
      const said = readString(error?.get('message')) ?? 'no reason'
      const data = readObject(error?.get('data'))
      const retry = { true: true, false: false }[data?.get('retryable') ?? '']

      this.#events.refused()
      return this.close(
        `The server refused to initialize: ${said}`,
        errorData({ code: readString(data?.get('code')), retry }),
      )
    }

    this.#initialized = result
    this.#server = readObject(result.get('capabilities')) ?? new Map<string, string>()
    this.#connection.negotiated?.(readString(result.get('protocolVersion')) ?? latestLegacyVersion)
    this.#connection.send(initializedMessage)

    const waiting = [...(this.#waiting?.values() ?? [])]
    this.#waiting = undefined
    for (const go of waiting) go()
  }

  #whenOpen(by: Call | Listener, go: () => void): void {
    if (this.#waiting === undefined) go()
    else this.#waiting.set(by, go)
  }

  #has(capability: string, feature: string): boolean {
    return readObject(this.#server.get(capability))?.get(feature) === 'true'
  }

  /** Returns the raw id of the request. */
  #ask(method: string, params: string | undefined, answered: (message: RawObject) => void): string {
    const id = String((this.#next += 1))
    this.#pending.set(id, answered)
    this.#connection.send(requestMessage(id, method, params), { id, method })
    return id
  }

  /** Sends a request that a call needs beforehand. It ends with the call. */
  #prepare(
    call: Call,
    method: string,
    params: string | undefined,
    answered: (message: RawObject) => void,
  ): void {
    const id = String(this.#next + 1)
    call.sentAs.add(id)
    this.#ask(method, params, (message) => {
      call.sentAs.delete(id)
      answered(message)
    })
  }

  #cancel(id: string, reason: string): void {
    const params = writeObject([
      ['requestId', id],
      ['reason', JSON.stringify(reason)],
    ])
    this.#connection.send(notificationMessage('notifications/cancelled', params))
  }

  /**
   * Lists the tools first if needed: only the list says which calls must be tasks, and which
   * arguments stand in headers too.
   */
  #withTools(call: Call, name: string, go: () => void): void {
    const tasks =
      readObject(readObject(this.#server.get('tasks'))?.get('requests'))?.has('tools') === true
    if (!tasks || this.#tools.has(name)) return go()
    const page = (cursor: string | undefined, pages: number): void => {
      this.#prepare(
        call,
        'tools/list',
        cursor === undefined ? undefined : writeObject([['cursor', cursor]]),
        (message) => {
          const result = readObject(message.get('result'))
          this.#learnTools(result)
          const next = result?.get('nextCursor')
          if (next === undefined || next === 'null' || pages > 100 || this.#tools.has(name)) go()
          else page(next, pages + 1)
        },
      )
    }
    page(undefined, 1)
  }

  #learnTools(result: RawObject | undefined): void {
    for (const raw of readArray(result?.get('tools')) ?? []) {
      const tool = readObject(raw)
      const name = readString(tool?.get('name'))
      if (tool === undefined || name === undefined) continue
      const taskRequired =
        readString(readObject(tool.get('execution'))?.get('taskSupport')) === 'required'
      this.#tools.set(name, { taskRequired, headers: declaredHeaders(tool.get('inputSchema')) })
    }
  }

  /**
   * Legacy log levels apply to a session, so the session gets the most verbose level that any call
   * has asked for.
   */
  #withLevel(call: Call, go: () => void): void {
    const name = readString(call.request.meta.get(metaKey.logLevel))
    const level = gravity(name)
    if (
      level === undefined ||
      !this.#server.has('logging') ||
      (this.#level !== undefined && this.#level <= level)
    )
      return go()
    this.#level = level
    this.#prepare(call, 'logging/setLevel', writeObject([['level', JSON.stringify(name)]]), go)
  }

  #dispatch(call: Call): void {
    const { method, params, meta } = call.request
    call.delivered = true
    const known =
      method === 'tools/call' ? this.#tools.get(readString(params.get('name')) ?? '') : undefined
    const mistake =
      known === undefined ? undefined : call.request.paramHeaderMistake?.(known.headers)
    if (mistake !== undefined)
      return this.#finish(
        call,
        400,
        errorAnswer(call.request.id, errorCode.headerMismatch, `Bad Request: ${mistake}`),
      )
    const sent: RawObject = new Map(params)
    for (const name of ['inputResponses', 'requestState', '_meta']) sent.delete(name)
    const kept = withoutEnvelope(meta)
    if (known?.taskRequired === true) sent.set('task', '{"ttl":3600000}')
    this.#askFor(call, method, undefinedIfEmpty(sent, kept, String(this.#next + 1)))
  }

  /** Sends a request that may bring questions, progress and the result of the call. */
  #askFor(call: Call, method: string, params: string | undefined): void {
    const id = String(this.#next + 1)
    call.sentAs.add(id)
    this.#calls.set(id, call)
    this.#ask(method, params, (message) => this.#settled(call, message))
  }

  #settled(call: Call, message: RawObject): void {
    const { method, id: clientId } = call.request
    const error = readObject(message.get('error'))
    if (error !== undefined) {
      const urls = this.#urlElicitations(error)
      if (urls !== undefined) return this.#finish(call, 200, resultMessage(clientId, urls))

      const mapped = modernError(error)
      this.#finish(
        call,
        mapped.status,
        `{"jsonrpc":"2.0","id":${clientId},"error":${mapped.error}}`,
      )

      // Only a modern server sends these codes, so the server has become one.
      const code = Number(error.get('code'))
      if (code !== errorCode.headerMismatch && code !== errorCode.unsupportedVersion) return

      this.#events.refused()
      return this.close('The server does not speak the legacy era any more.')
    }

    const result = readObject(message.get('result'))
    if (result === undefined)
      return this.#finish(
        call,
        502,
        errorAnswer(clientId, errorCode.internal, 'The answer of the server is malformed.'),
      )

    const task = readObject(result.get('task'))?.get('taskId')
    // Keep the first id: the server tells progress under it while the task runs.
    if (task !== undefined && call.task === undefined && method === 'tools/call')
      return this.#driveTask(call, task)
    if (method === 'tools/list') this.#learnTools(result)
    this.#return(call, modernResult(method, result, this.serverInfo))
  }

  /**
   * `tasks/result` carries the questions of a task, and answers when the task has ended (MCP
   * 2025-11-25, tasks).
   */
  #driveTask(call: Call, task: string): void {
    call.task = task
    this.#askFor(call, 'tasks/result', writeObject([['taskId', task]]))
  }

  /**
   * Where 2025-11-25 refuses with a list of pages to visit, 2026-07-28 asks for input. The retry
   * runs the call again.
   */
  #urlElicitations(error: RawObject): string | undefined {
    if (Number(error.get('code')) !== errorCode.urlElicitationRequired) return undefined
    const asked = (readArray(readObject(error.get('data'))?.get('elicitations')) ?? []).map(
      (raw, index): [string, string] => {
        const params = (readObject(raw) ?? new Map<string, string>()).set('mode', '"url"')
        return [`input-${index + 1}`, inputRequest('elicitation/create', params)]
      },
    )
    return asked.length === 0
      ? undefined
      : writeObject([
          ['resultType', '"input_required"'],
          ['inputRequests', writeObject(asked)],
        ])
  }

  #finish(call: Call, status: number, message: string): void {
    this.#forget(call)
    this.#events.answered(call, status, message)
  }

  #return(call: Call, result: RawObject): void {
    this.#forget(call)
    this.#events.returned(call, result)
  }

  #forget(call: Call): void {
    this.#waiting?.delete(call)
    for (const id of call.sentAs) {
      this.#calls.delete(id)
      this.#pending.delete(id)
    }
    call.sentAs.clear()
    call.questions.clear()
    call.conversation = undefined
    this.#events.freed()
  }

  #receive(text: string, via: string | undefined): boolean {
    const message = readMessage(text)
    if (message === undefined || this.#over) return false

    const method = readString(message.get('method'))
    const id = message.get('id')

    if (method === undefined) {
      // An error that names no request is about the request on whose stream it came, or about the
      // only open request.
      const only =
        id === 'null'
          ? (via ?? (this.#pending.size === 1 ? this.#pending.keys()[0] : undefined))
          : undefined
      const key = only ?? (id === undefined ? undefined : idKey(id))

      const answered = key === undefined ? undefined : this.#pending.get(key)
      if (answered === undefined || key === undefined) return false

      this.#pending.delete(key)
      this.#deliver(key, () => answered(message))
      return key === via
    }

    const params = readObject(message.get('params'))
    if (id === undefined) this.#notified(method, params ?? new Map<string, string>(), via)
    else this.#asked(method, id, params, via)

    return false
  }

  /** Log messages on another stream may be read after the answer that they precede, so it waits. */
  #deliver(key: string, answer: () => void): void {
    const call = this.#calls.get(key)
    const afterOthers = this.#connection.afterOthers?.bind(this.#connection)
    if (call === undefined || levelOf(call) === undefined || afterOthers === undefined)
      return answer()
    if (this.#logsBeside === false) return answer()

    const deliver = (): void => {
      this.#logsBeside ??= false
      if (this.#late.delete(deliver) && this.#calls.get(key) === call) answer()
    }
    this.#late.add(deliver)
    afterOthers(deliver)
  }

  #asked(method: string, id: string, params: RawObject | undefined, via: string | undefined): void {
    if (method === 'ping') return this.#connection.send(resultMessage(id, '{}'))
    const capability = capabilityOf[method]
    const call = this.#owner(via, (each) => interactive.has(each.request.method))
    if (capability === undefined || !this.#capabilities.has(capability) || call === undefined) {
      const reason =
        capability === undefined || !this.#capabilities.has(capability)
          ? `The client does not offer ${method}.`
          : 'No call of a client is open that this could belong to, ' +
            'and the client can be asked within a call only.'

      return this.#connection.send(errorAnswer(id, errorCode.methodNotFound, reason))
    }

    if (call.questions.size >= maxQuestions)
      return this.#connection.send(
        errorAnswer(
          id,
          errorCode.internal,
          `${maxQuestions} questions of this call are open, which is the limit.`,
        ),
      )

    this.#events.question(call, { method, id, text: inputRequest(method, params) })
  }

  /**
   * The call that a message belongs to. If the transport does not tell, the message belongs to the
   * only call that fits.
   */
  #owner(via: string | undefined, fits: (call: Call) => boolean): Call | undefined {
    if (via !== undefined) {
      const call = this.#calls.get(via)
      return call !== undefined && fits(call) ? call : undefined
    }
    const open = [...new Set(this.#calls.values())].filter(fits)
    return open.length === 1 ? open[0] : undefined
  }

  #notified(method: string, params: RawObject, via: string | undefined): void {
    if (method === 'notifications/progress') return this.#progressed(params)
    if (method === 'notifications/message') return this.#logged(params, via)
    if (method === 'notifications/cancelled') return this.#withdrawn(params)
    const change = changes[method]
    const uri = readString(params.get('uri'))
    for (const listener of this.#listeners) {
      const wanted =
        method === 'notifications/resources/updated'
          ? uri !== undefined && listener.honoured?.uris.has(uri)
          : change !== undefined && listener.honoured?.kinds.has(change.kind)
      if (wanted === true) this.#tell(listener, method, params)
    }
  }

  #progressed(params: RawObject): void {
    const token = params.get('progressToken')
    const call = token === undefined ? undefined : this.#calls.get(idKey(token))
    const wanted = call?.request.meta.get('progressToken')
    if (call === undefined || wanted === undefined) return
    call.exchange?.tell(
      notificationMessage(
        'notifications/progress',
        writeObject(new Map(params).set('progressToken', wanted)),
      ),
    )
  }

  #logged(params: RawObject, via: string | undefined): void {
    const level = gravity(readString(params.get('level'))) ?? Number.POSITIVE_INFINITY
    const wants = (call: Call): boolean =>
      call.exchange !== undefined && (levelOf(call) ?? Number.NaN) <= level
    if (via === undefined) this.#logsBeside = true
    else this.#logsBeside ??= false
    // All calls of a connection have one caller, who may hear the log messages of each.
    const call = via === undefined ? this.#lastCall(wants) : this.#calls.get(via)
    if (call === undefined || !wants(call)) return
    call.exchange?.tell(notificationMessage('notifications/message', writeObject(params)))
  }

  #lastCall(fits: (call: Call) => boolean): Call | undefined {
    return this.#calls.values().findLast(fits)
  }

  /** The server no longer waits for an answer. */
  #withdrawn(params: RawObject): void {
    const id = params.get('requestId')
    if (id === undefined) return
    for (const call of new Set(this.#calls.values()))
      for (const [key, question] of call.questions)
        if (idKey(question.id) === idKey(id)) call.questions.delete(key)
  }

  #tell({ exchange, id }: Listener, method: string, params: RawObject): void {
    const meta = withMember(params.get('_meta'), metaKey.subscriptionId, id)
    exchange.tell(notificationMessage(method, writeObject(new Map(params).set('_meta', meta))))
  }

  #endListener(listener: Listener, reason: string): void {
    this.#listeners.delete(listener)
    if (listener.honoured === undefined)
      return listener.exchange.answer(502, errorAnswer(listener.id, errorCode.internal, reason))
    const meta = withMember(
      withMember(undefined, metaKey.subscriptionId, listener.id),
      metaKey.serverInfo,
      this.serverInfo ?? '{}',
    )
    listener.exchange.answer(
      200,
      resultMessage(
        listener.id,
        writeObject([
          ['resultType', '"complete"'],
          ['_meta', meta],
        ]),
      ),
    )
  }

  /**
   * Subscribes to URIs that have no subscription yet. `done` gets the URIs that the server did not
   * refuse.
   */
  #subscribe(
    listener: Listener,
    uris: readonly string[],
    done: (honoured: string[]) => void,
  ): void {
    const honoured: string[] = []
    const open = new Map<string, (agreed: boolean) => void>()

    listener.leave = () => {
      for (const [uri, settle] of open) this.#withdrawFrom(uri, settle)
      for (const uri of honoured) this.#unsubscribe(uri)
    }

    if (uris.length === 0) return done(honoured)

    let left = uris.length
    for (const uri of uris) {
      const settle = (agreed: boolean): void => {
        open.delete(uri)
        if (agreed) honoured.push(uri)
        if ((left -= 1) === 0) done(honoured)
      }
      open.set(uri, settle)
      const known = this.#subscribed.get(uri)
      if (known === undefined) this.#askToSubscribe(uri, settle)
      else {
        known.listeners += 1
        if (known.waiting === undefined) settle(true)
        else known.waiting.push(settle)
      }
    }
  }

  #askToSubscribe(uri: string, first: (agreed: boolean) => void): void {
    const waiting = [first]
    const subscription: Subscription = { listeners: 1, id: String(this.#next + 1), waiting }
    this.#subscribed.set(uri, subscription)
    this.#ask('resources/subscribe', writeObject([['uri', JSON.stringify(uri)]]), (message) => {
      const agreed = message.has('result')
      subscription.waiting = undefined
      if (!agreed) this.#subscribed.delete(uri)
      for (const settle of waiting) settle(agreed)
    })
  }

  /** Ends the wait of a listener, and the request if nobody else waits for its answer. */
  #withdrawFrom(uri: string, settle: (agreed: boolean) => void): void {
    const subscription = this.#subscribed.get(uri)
    const { waiting } = subscription ?? {}
    if (subscription === undefined || waiting === undefined || this.#over) return

    waiting.splice(waiting.indexOf(settle), 1)
    if ((subscription.listeners -= 1) > 0) return
    this.#subscribed.delete(uri)
    this.#pending.delete(subscription.id)
    this.#cancel(subscription.id, 'The client has gone.')
  }

  #unsubscribe(uri: string): void {
    const subscription = this.#subscribed.get(uri)
    if (subscription === undefined || (subscription.listeners -= 1) > 0) return
    this.#subscribed.delete(uri)
    if (!this.#over)
      this.#ask(
        'resources/unsubscribe',
        writeObject([['uri', JSON.stringify(uri)]]),
        () => undefined,
      )
  }

  #lost(reason: string, refused?: string, late = false, data?: object): void {
    if (this.#over) return
    for (const deliver of this.#late) deliver()
    this.#over = true
    const calls = [...new Set(this.#calls.values())]
    const notRun = refused === undefined ? undefined : this.#calls.get(refused)
    if (notRun?.task === undefined && notRun !== undefined) notRun.delivered = false
    this.#calls.clear()
    this.#pending.clear()
    for (const call of calls) {
      call.sentAs.clear()
      call.questions.clear()
      call.conversation = undefined
    }
    // Clients open a listen stream again if it ends in good order.
    for (const listener of this.#listeners) this.#endListener(listener, reason)
    this.#events.lost(calls, reason, late, data)
  }
}

/** The least gravity of the log messages that a call asked for. */
function levelOf({ request }: Call): number | undefined {
  return gravity(readString(request.meta.get(metaKey.logLevel)))
}

/** Params for a legacy server. Its progress token is our own request id, which is unique. */
function undefinedIfEmpty(params: RawObject, meta: RawObject, id: string): string | undefined {
  if (meta.has('progressToken')) meta.set('progressToken', id)
  if (meta.size > 0) params.set('_meta', writeObject(meta))
  return params.size === 0 ? undefined : writeObject(params)
}
