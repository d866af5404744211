import { errorAnswer, errorCode, errorData } from '../message.ts'
import { metaKey, type ModernRequest } from '../modern.ts'
import {
  readArray,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import {
  Conversation,
  interactive,
  type Call,
  type ConnectionListener,
  type KnownTool,
  type LegacyConnection,
} from './conversation.ts'
import { canonical, giveResult, resultMessage, type Exchange } from './exchange.ts'
import { introductionMistake, ToolFacts } from './kept.ts'
import { answersQuestion, legacyCapabilities, withMember } from './to-modern.ts'

/** The functions that the engine needs from its host. */
export interface LegacyHost {
  /** @throws Error if no more connections are allowed, or if there is nowhere to connect to */
  connect(principal: string, listener: ConnectionListener): LegacyConnection
  /** True if messages of the server come with the request that they belong to. */
  readonly tellsVia: boolean
  /** Milliseconds. */
  now(): number
  /** Makes a `requestState` for a parked call of a caller. Nobody may be able to guess it. */
  newState(principal: string): string
  /** The server refused to initialize, so it may not be of the legacy era. */
  refused?(): void
  /** The server broke off before it answered `initialize`. */
  unopened?(): void
  /**
   * Counts the bytes that a parked call of a caller keeps. If absent, only a fixed bound applies.
   */
  kept?(principal: string): Holding | undefined
}

/** Bytes that are counted for a caller. */
export interface Holding {
  /** Returns anything but undefined if there is no room for so many bytes. */
  hold(bytes: number): unknown
  /** Registers how to give the bytes up if another caller needs the room. */
  spare(end: () => void): void
  release(): void
}

export interface ModernToLegacyOptions {
  /** Milliseconds after which a call that waits for its client is given up. */
  readonly parkMs: number
  readonly maxParkedPerPrincipal: number
  /**
   * Most connections for one principal and one set of capabilities. If the transport does not tell
   * `via`, each serves one interactive call at a time.
   */
  readonly maxConnections: number
  /** Milliseconds after which a connection without calls and listeners is closed. */
  readonly idleMs: number
  /** Milliseconds in which the server must answer `initialize`. If absent, there is no limit. */
  readonly openMs?: number | undefined
  /** Says why a server that does not answer `initialize` is given up. */
  readonly slow?: (() => string) | undefined
  readonly clientInfo: { readonly name: string; readonly version: string }
}

/** Requests that change nothing, so they may run twice. */
const repeatable =
  /^(tools\/list|prompts\/(list|get)|resources\/(list|templates\/list|read)|completion\/complete|server\/discover)$/
/**
 * Methods of earlier versions. 2026-07-28 lacks them, or has them for tasks, which are not offered.
 */
const removed = /^(initialize|ping|logging\/setLevel|resources\/(un)?subscribe|tasks\/.*)$/
/**
 * Most sets of capabilities that one principal may use at a time. Each has connections of its own.
 */
const maxPools = 16
/** Most resources that one listen stream may name. Each is a request to the server. */
const maxUris = 1000
/** Most characters that the parked calls of one principal keep together. */
const longestParked = 16 * 1024 * 1024
const expired = 'requestState is unknown or has expired. Send the request again without it.'

interface OpenCall extends Call {
  readonly pool: Pool
  /** The requestState with which its client comes back. */
  parkedAs: string | undefined
  parkedAt: number
  /** The bytes that the call keeps while it is parked. */
  kept: Holding | undefined
  /** The answer, if it came while the client was away. */
  outcome: { readonly status: number; readonly message: string } | undefined
  asked: number
  repeated: boolean
}

/** The connections that requests of one principal with one set of capabilities share. */
interface Pool {
  readonly principal: string
  readonly capabilities: string
  conversations: readonly Conversation[]
  readonly tools: ToolFacts<KnownTool>
  /** Interactive calls that wait for a connection of their own. */
  readonly queue: OpenCall[]
}

/**
 * Serves modern clients (MCP 2026-07-28) from a legacy server (2025-11-25 and before). A question
 * parks its call until the retry. Owns no sockets or timers: the host connects and calls `tick`.
 */
export class ModernToLegacy {
  readonly #host: LegacyHost
  readonly #options: ModernToLegacyOptions
  readonly #pools = new Map<string, Pool>()
  readonly #canonicals = new Map<string, string>()
  readonly #parked = new Map<string, OpenCall>()
  /** Functions that stop the work for an exchange. */
  readonly #stops = new WeakMap<Exchange, () => void>()
  #open = 0
  #closed = false

  constructor(host: LegacyHost, options: ModernToLegacyOptions) {
    this.#host = host
    this.#options = options
  }

  /** The number of calls that wait for their client. */
  get parked(): number {
    return this.#parked.size
  }

  /** The number of requests that wait for their answer, listen streams included. */
  get open(): number {
    return this.#open
  }

  /** Takes a request of a client. Nothing of one `principal` reaches another. */
  request(principal: string, request: ModernRequest, exchange: Exchange): void {
    const { method, params, meta, id } = request
    if (removed.test(method))
      return exchange.answer(
        404,
        errorAnswer(id, errorCode.methodNotFound, `Method not found: ${method}`),
      )
    if (params.get('inputResponses')?.startsWith('{') === false)
      return exchange.answer(
        200,
        errorAnswer(id, errorCode.invalidParams, 'inputResponses must be an object.'),
      )

    if (params.has('requestState')) return this.#resume(principal, request, exchange)
    const mistake = introductionMistake(meta.get(metaKey.clientCapabilities))
    if (mistake !== undefined)
      return exchange.answer(200, errorAnswer(id, errorCode.invalidParams, mistake))

    const pool = this.#pool(principal, legacyCapabilities(meta.get(metaKey.clientCapabilities)))
    if (pool === undefined)
      return exchange.answer(
        429,
        errorAnswer(
          id,
          errorCode.internal,
          `${maxPools} sets of client capabilities of this caller are in use, which is the limit.`,
        ),
      )

    if (method === 'subscriptions/listen') return this.#listen(pool, request, exchange)
    const call: OpenCall = {
      principal,
      request,
      exchange,
      pool,
      questions: new Map(),
      conversation: undefined,
      sentAs: new Set(),
      task: undefined,
      delivered: false,
      parkedAs: undefined,
      parkedAt: 0,
      kept: undefined,
      outcome: undefined,
      asked: 0,
      repeated: false,
    }

    this.#attach(call, exchange)
    this.#run(call)
  }

  /**
   * Cancels the request of a client that has gone before its answer (MCP 2026-07-28, transports).
   */
  gone(exchange: Exchange): void {
    const stop = this.#release(exchange)
    stop?.()
  }

  /** Gives up calls and connections that have waited too long. Call it about once a second. */
  tick(): void {
    const now = this.#host.now()
    for (const call of this.#parked.values())
      if (now - call.parkedAt > this.#options.parkMs)
        this.#abandon(call, 'The client did not come back.')
    for (const [key, pool] of this.#pools) {
      for (const conversation of pool.conversations) {
        if (conversation.leaving) conversation.endListeners('The server is going away.')
        if (conversation.openingSince !== undefined) this.#boundOpening(conversation, now)
        else if (!conversation.idle) conversation.idleSince = now
        else if (conversation.leaving) conversation.close('The server is going away.')
        else if (now - conversation.idleSince > this.#options.idleMs)
          conversation.close('The connection was idle.')
      }
      if (pool.conversations.length === 0 && pool.queue.length === 0) this.#pools.delete(key)
    }
  }

  #boundOpening(conversation: Conversation, now: number): void {
    const { openMs = Infinity, slow } = this.#options
    if (now - (conversation.openingSince ?? now) < openMs) return
    conversation.giveUp(slow?.() ?? 'The server has not answered initialize. Ask its owner.')
  }

  /** Ends listen streams in good order, so that their clients open them again. The rest goes on. */
  endListeners(): void {
    for (const { conversations } of this.#pools.values())
      for (const conversation of conversations)
        conversation.endListeners('The server is going away.')
  }

  /** Ends everything. Open requests get the reason, and listen streams end in good order. */
  close(reason: string): void {
    this.#closed = true
    for (const { conversations, queue } of this.#pools.values()) {
      for (const call of queue.splice(0))
        this.#answered(call, 503, errorAnswer(call.request.id, errorCode.internal, reason))
      for (const conversation of conversations) conversation.close(reason)
    }
    this.#pools.clear()
    for (const call of this.#parked.values()) call.kept?.release()
    this.#parked.clear()
  }

  /**
   * Undefined if the caller uses too many capability sets, because each costs the server
   * connections.
   */
  #pool(principal: string, capabilities: string): Pool | undefined {
    const key = `${principal}\0${this.#canonical(capabilities)}`
    const known = this.#pools.get(key)
    if (known !== undefined) return known

    const others = [...this.#pools].filter(([, pool]) => pool.principal === principal)
    if (others.length >= maxPools) {
      const unused = others.find(
        ([, { conversations, queue }]) =>
          queue.length === 0 && conversations.every(({ idle }) => idle),
      )
      if (unused === undefined) return undefined

      this.#pools.delete(unused[0])
      for (const conversation of unused[1].conversations) conversation.close('Its place is needed.')
    }

    const pool: Pool = {
      principal,
      capabilities,
      conversations: [],
      tools: new ToolFacts(),
      queue: [],
    }

    this.#pools.set(key, pool)
    return pool
  }

  #hold(exchange: Exchange, stop: () => void): void {
    if (!this.#stops.has(exchange)) this.#open += 1
    this.#stops.set(exchange, stop)
  }

  #release(exchange: Exchange): (() => void) | undefined {
    const stop = this.#stops.get(exchange)
    if (this.#stops.delete(exchange)) this.#open -= 1
    return stop
  }

  /** Keeps canonical forms, because clients repeat their capabilities with each request. */
  #canonical(capabilities: string): string {
    if (capabilities.length > 1000) return canonical(capabilities)
    let same = this.#canonicals.get(capabilities)
    if (same === undefined) {
      if (this.#canonicals.size > 1000) this.#canonicals.clear()
      this.#canonicals.set(capabilities, (same = canonical(capabilities)))
    }
    return same
  }

  #connect(pool: Pool): Conversation {
    const conversation = new Conversation(
      (listener) => this.#host.connect(pool.principal, listener),
      {
        answered: (call, status, message) => this.#answered(call as OpenCall, status, message),
        returned: (call, result) => this.#returned(call as OpenCall, result),
        question: (call, question) => this.#question(call as OpenCall, question),
        lost: (calls, reason, late, data) => {
          pool.conversations = pool.conversations.filter(({ over }) => !over)
          for (const call of calls) this.#lost(call as OpenCall, reason, late, data)
          this.#next(pool)
        },
        freed: () => this.#next(pool),
        refused: () => this.#host.refused?.(),
        unopened: () => this.#host.unopened?.(),
      },
      {
        capabilities: pool.capabilities,
        clientInfo: this.#options.clientInfo,
        now: this.#host.now(),
        tools: pool.tools,
      },
    )

    if (conversation.over) throw new Error('The connection to the server was lost at once.')
    pool.conversations = [...pool.conversations, conversation]
    return conversation
  }

  #run(call: OpenCall): void {
    let conversation: Conversation | undefined
    try {
      conversation = this.#conversationFor(call)
    } catch (error) {
      const { message } = error as Error
      const data = errorData(error as Error)
      const answer = errorAnswer(call.request.id, errorCode.internal, message, data)
      return this.#answered(call, 503, answer)
    }
    if (conversation === undefined) call.pool.queue.push(call)
    else conversation.run(call)
  }

  /**
   * Finds a connection for a call; undefined if it must wait. If the transport does not tell whose
   * a question is, an interactive call has a connection for itself.
   */
  #conversationFor({ pool, request }: OpenCall): Conversation | undefined {
    const asks = pool.capabilities !== '{}' && interactive.has(request.method)
    if (this.#host.tellsVia || !asks) return this.#shared(pool)
    const free = pool.conversations.find(
      ({ interactiveCalls, leaving }) => interactiveCalls === 0 && !leaving,
    )
    if (free !== undefined) return free
    if (pool.conversations.length >= this.#options.maxConnections) return undefined

    try {
      return this.#connect(pool)
    } catch (error) {
      // No more connections are allowed now, but one of the pool will become free.
      if (pool.conversations.length === 0) throw error
      return undefined
    }
  }

  /** The connection for calls that need none for themselves. */
  #shared(pool: Pool): Conversation {
    return pool.conversations.find(({ leaving }) => !leaving) ?? this.#connect(pool)
  }

  /** Runs waiting calls, as far as there is room. */
  #next(pool: Pool): void {
    for (let waiting = pool.queue.length; waiting > 0; waiting -= 1) {
      const call = pool.queue.shift()
      if (call === undefined) return
      this.#run(call)
      // There was no room, so the call waits again, at its place.
      if (pool.queue.at(-1) === call) return void pool.queue.unshift(...pool.queue.splice(-1))
    }
  }

  #attach(call: OpenCall, exchange: Exchange): void {
    call.exchange = exchange
    this.#hold(exchange, () => this.#abandon(call, 'The client has gone.'))
  }

  /**
   * Resumes a call with the client's answers. Every mismatch gets the same error, so that nobody
   * learns of the calls of others.
   */
  #resume(principal: string, request: ModernRequest, exchange: Exchange): void {
    const call = this.#parked.get(readString(request.params.get('requestState')) ?? '')
    if (call === undefined || call.principal !== principal || !isSame(call.request, request))
      return exchange.answer(200, errorAnswer(request.id, errorCode.invalidParams, expired))

    this.#unpark(call)
    call.request = request
    this.#attach(call, exchange)

    const { outcome, conversation } = call
    if (outcome !== undefined) {
      const message = readObject(outcome.message) ?? new Map<string, string>()
      return this.#answered(call, outcome.status, writeObject(message.set('id', request.id)))
    }

    const responses = readObject(request.params.get('inputResponses'))
    for (const [key, question] of call.questions) {
      const response = responses?.get(key)
      if (response === undefined || !answersQuestion(question.method, response)) continue
      call.questions.delete(key)
      conversation?.answerQuestion(question, response)
    }

    // Ask again for the missing answers.
    if (call.questions.size > 0) this.#wait(call)
  }

  #returned(call: OpenCall, result: RawObject): void {
    const { exchange, request } = call
    if (exchange === undefined)
      return this.#answered(call, 200, resultMessage(request.id, writeObject(result)))
    this.#settle(call)
    giveResult(exchange, request.id, result)
  }

  #answered(call: OpenCall, status: number, message: string): void {
    const { exchange } = call
    if (exchange === undefined) {
      call.outcome = { status, message }
      const reason = this.#noRoom(call)
      if (reason !== undefined) call.outcome = { status: 502, message: unkept(call, reason) }
      return
    }
    this.#settle(call)
    exchange.answer(status, message)
  }

  #settle(call: OpenCall): void {
    this.#unpark(call)
    if (call.exchange !== undefined) this.#release(call.exchange)
  }

  #unpark(call: OpenCall): void {
    if (call.parkedAs !== undefined) this.#parked.delete(call.parkedAs)
    call.parkedAs = undefined
    call.kept?.release()
  }

  #question(call: OpenCall, question: Parameters<Conversation['answerQuestion']>[0]): void {
    call.questions.set(`input-${(call.asked += 1)}`, question)
    this.#wait(call)
  }

  /** Parks a call that waits for its client, unless the caller has no room for it. */
  #wait(call: OpenCall): void {
    const { exchange, request } = call
    const reason = this.#noRoom(call)
    if (reason === undefined) return this.#park(call)
    this.#abandon(call, reason)
    exchange?.answer(429, errorAnswer(request.id, errorCode.internal, reason))
  }

  /**
   * Says why a call cannot wait for its client; undefined if it can. A caller who opens calls and
   * leaves would fill the memory.
   */
  #noRoom(call: OpenCall): string | undefined {
    const { principal } = call
    const others = [...this.#parked.values()].filter(
      (each) => each !== call && each.principal === principal,
    )
    if (others.length >= this.#options.maxParkedPerPrincipal)
      return `${others.length} calls of this caller wait for its input, which is the limit.`

    const own = lengthOf(call)
    if (others.reduce((sum, each) => sum + lengthOf(each), own) > longestParked)
      return (
        `The calls of this caller that wait for its input are longer than ${longestParked} ` +
        'characters, which is the limit.'
      )

    if (call.kept === undefined) {
      call.kept = this.#host.kept?.(principal)
      call.kept?.spare(() => this.#abandon(call, 'Its room is needed.'))
    }

    return call.kept?.hold(own) === undefined
      ? undefined
      : 'The calls of this caller that wait for its input take more memory than its share.'
  }

  /** Answers with the questions of the server (`input_required`). The call waits for the retry. */
  #park(call: OpenCall): void {
    const { exchange, request, conversation } = call
    // The client is away with the state of an earlier round, and gets this question too on its
    // return.
    if (exchange === undefined) return

    call.parkedAt = this.#host.now()
    // Each round has its own state, so that an answer to an earlier question cannot pass for a
    // later one.
    call.parkedAs = this.#host.newState(call.principal)
    this.#parked.set(call.parkedAs, call)

    const result: RawObject = new Map([
      ['resultType', '"input_required"'],
      [
        'inputRequests',
        writeObject([...call.questions].map(([key, { text }]): [string, string] => [key, text])),
      ],
      ['requestState', JSON.stringify(call.parkedAs)],
    ])

    if (conversation?.serverInfo !== undefined)
      result.set('_meta', withMember(undefined, metaKey.serverInfo, conversation.serverInfo))
    this.#release(exchange)
    call.exchange = undefined
    exchange.answer(200, resultMessage(request.id, writeObject(result)))
  }

  #abandon(call: OpenCall, reason: string): void {
    this.#settle(call)
    const queued = call.pool.queue.indexOf(call)
    if (queued !== -1) call.pool.queue.splice(queued, 1)
    call.conversation?.abandon(call, reason)
  }

  /**
   * The connection broke. Runs a call again, once, if its server has asked nothing, and has not
   * begun the call or may run it twice.
   */
  #lost(call: OpenCall, reason: string, late: boolean, data?: object): void {
    if (
      !late &&
      !this.#closed &&
      !call.repeated &&
      call.asked === 0 &&
      (!call.delivered || repeatable.test(call.request.method))
    ) {
      call.repeated = true
      call.delivered = false
      return this.#run(call)
    }
    const status = late ? 504 : 502
    this.#answered(call, status, errorAnswer(call.request.id, errorCode.internal, reason, data))
  }

  #listen(pool: Pool, request: ModernRequest, exchange: Exchange): void {
    const filter = readObject(request.params.get('notifications'))
    if (filter === undefined)
      return exchange.answer(
        200,
        errorAnswer(
          request.id,
          errorCode.invalidParams,
          'Invalid params: notifications is required.',
        ),
      )

    const uris = readArray(filter.get('resourceSubscriptions'))?.length ?? 0
    if (uris > maxUris) {
      const message =
        `Invalid params: resourceSubscriptions names ${uris} resources, ` +
        `where ${maxUris} are the limit.`
      return exchange.answer(200, errorAnswer(request.id, errorCode.invalidParams, message))
    }

    let stop: (() => void) | undefined
    this.#hold(exchange, () => stop?.())

    const answer = (status: number, message: string): void => {
      this.#release(exchange)
      exchange.answer(status, message)
    }

    try {
      const conversation = this.#shared(pool)
      stop = conversation.listen(request.id, filter, {
        tell: (message) => exchange.tell(message),
        answer,
      })
    } catch (error) {
      const { message } = error as Error
      const data = errorData(error as Error)
      answer(503, errorAnswer(request.id, errorCode.internal, message, data))
    }
  }
}

/** Characters that a call keeps while it waits for its client. */
function lengthOf({ request, questions, outcome }: OpenCall): number {
  let length = outcome?.message.length ?? 0
  for (const value of request.params.values()) length += value.length
  for (const { text } of questions.values()) length += text.length
  return length
}

/** Replaces an answer that came while its client was away and that there is no room to keep. */
function unkept({ request }: OpenCall, reason: string): string {
  const message = `The server has answered, but there was no room to keep the answer. ${reason}`
  return errorAnswer(request.id, errorCode.internal, message)
}

/**
 * Tells whether a retry is the parked request, except for the answers, the state and the envelope.
 */
function isSame(a: ModernRequest, b: ModernRequest): boolean {
  const of = ({ method, params }: ModernRequest): string => {
    const kept = new Map(params)
    for (const name of ['inputResponses', 'requestState', '_meta']) kept.delete(name)
    return `${method} ${canonical(writeObject(kept))}`
  }
  return of(a) === of(b)
}
