import { errorAnswer, errorCode, errorData } from '../message.ts'
import { metaKey, type ModernRequest } from '../modern.ts'
import { readArray, readObject, readString, writeObject, type RawObject } from '../raw-object.ts'
import {
  Conversation,
  interactive,
  type Call,
  type ConnectionListener,
  type KnownTool,
  type LegacyConnection,
} from './conversation.ts'
import { canonical, resultMessage, type Exchange } from './exchange.ts'
import { introductionMistake, ToolFacts } from './kept.ts'
import { answersQuestion, legacyCapabilities, withMember } from './to-modern.ts'

/** What the engine needs of the world. */
export interface LegacyHost {
  /** @throws Error when there may be no more connections, or nowhere to connect to */
  connect(principal: string, listener: ConnectionListener): LegacyConnection
  /** Whether messages of the server come with the request that they belong to. */
  readonly tellsVia: boolean
  /** Milliseconds. */
  now(): number
  /** A `requestState` for a parked call of a caller; not to be guessed. */
  newState(principal: string): string
  /** The server refused to initialize, so that it may be none of the legacy era. */
  refused?(): void
  /** The server broke off before it answered `initialize`. */
  unopened?(): void
  /** Counts the bytes that a parked call of a caller keeps. Unset: they have a fixed bound alone. */
  kept?(principal: string): Holding | undefined
}

/** Bytes that are counted for a caller. */
export interface Holding {
  /** Anything but undefined when there is no room for so many. */
  hold(bytes: number): unknown
  /** How they are given up when another caller needs the room. */
  spare(end: () => void): void
  release(): void
}

export interface ModernToLegacyOptions {
  /** A call that waits for its client is given up after so long. */
  readonly parkMs: number
  readonly maxParkedPerPrincipal: number
  /** Connections for one principal and one set of capabilities: so many interactive calls at once where the transport does not tell `via`. */
  readonly maxConnections: number
  /** A connection without calls and listeners is closed after so long. */
  readonly idleMs: number
  /** Until the server has answered `initialize`. Unset: without end. */
  readonly openMs?: number | undefined
  /** Why a server that does not answer `initialize` is given up. */
  readonly slow?: (() => string) | undefined
  readonly clientInfo: { readonly name: string; readonly version: string }
}

/** Requests that change nothing, so that they may run twice. */
const repeatable =
  /^(tools\/list|prompts\/(list|get)|resources\/(list|templates\/list|read)|completion\/complete|server\/discover)$/
/** Of earlier versions; 2026-07-28 has them no more, or has them for tasks, which are not offered. */
const removed = /^(initialize|ping|logging\/setLevel|resources\/(un)?subscribe|tasks\/.*)$/
/** Sets of capabilities that one principal may use at a time, as each has connections of its own. */
const maxPools = 16
/** Resources that one listen stream may name, as each is a request to the server. */
const maxUris = 1000
/** Characters that the parked calls of one principal keep together. */
const longestParked = 16 * 1024 * 1024
const expired = 'requestState is unknown or has expired. Send the request again without it.'

interface OpenCall extends Call {
  readonly pool: Pool
  /** The requestState by which its client comes back. */
  parkedAs: string | undefined
  parkedAt: number
  /** What it keeps while it is parked. */
  kept: Holding | undefined
  /** The answer, when it came while the client was away. */
  outcome: { readonly status: number; readonly message: string } | undefined
  asked: number
  repeated: boolean
}

/** The connections of one principal with one set of capabilities. */
interface Pool {
  readonly principal: string
  readonly capabilities: string
  conversations: readonly Conversation[]
  readonly tools: ToolFacts<KnownTool>
  /** Interactive calls that wait for a connection of their own. */
  readonly queue: OpenCall[]
}

/**
 * Modern clients in front of a legacy server (MCP 2026-07-28 to 2025-11-25 and before). Requests of clients with the same principal
 * and capabilities share legacy connections; a question of the server parks the call that it belongs to, and becomes an
 * `input_required` result whose retry goes on with it. No sockets and no timers: the host connects, and calls `tick`.
 */
export class ModernToLegacy {
  readonly #host: LegacyHost
  readonly #options: ModernToLegacyOptions
  readonly #pools = new Map<string, Pool>()
  readonly #canonicals = new Map<string, string>()
  readonly #parked = new Map<string, OpenCall>()
  /** How to stop what an exchange waits for. */
  readonly #stops = new WeakMap<Exchange, () => void>()
  #open = 0
  #closed = false

  constructor(host: LegacyHost, options: ModernToLegacyOptions) {
    this.#host = host
    this.#options = options
  }

  /** Calls that wait for their client. */
  get parked(): number {
    return this.#parked.size
  }

  /** Requests that wait for their answer, listen streams among them. */
  get open(): number {
    return this.#open
  }

  /** A request of a client. `principal` separates callers: nothing of one reaches another. */
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

  /** The client has gone before its answer, which cancels the request (MCP 2026-07-28, transports). */
  gone(exchange: Exchange): void {
    const stop = this.#release(exchange)
    stop?.()
  }

  /** Gives up what has waited for too long. To be called every second or so. */
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

  /** Ends listen streams in good order, so that their clients open them anew; everything else goes on. */
  endListeners(): void {
    for (const { conversations } of this.#pools.values())
      for (const conversation of conversations)
        conversation.endListeners('The server is going away.')
  }

  /** Ends everything: open requests are answered with the reason, listen streams end in good order. */
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

  /** Undefined when the caller has too many in use, each of which costs the server connections. */
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

  /** Clients say the same again and again. */
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

  /** Where the transport does not tell whose a question is, an interactive call has a connection for itself; undefined when it must wait for one. */
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
      // There may be no more connections now, but one of these will be free.
      if (pool.conversations.length === 0) throw error
      return undefined
    }
  }

  /** The connection for what needs none for itself. */
  #shared(pool: Pool): Conversation {
    return pool.conversations.find(({ leaving }) => !leaving) ?? this.#connect(pool)
  }

  /** Runs calls that wait, as far as there is room. */
  #next(pool: Pool): void {
    for (let waiting = pool.queue.length; waiting > 0; waiting -= 1) {
      const call = pool.queue.shift()
      if (call === undefined) return
      this.#run(call)
      // There was no room: it waits again, at its place.
      if (pool.queue.at(-1) === call) return void pool.queue.unshift(...pool.queue.splice(-1))
    }
  }

  #attach(call: OpenCall, exchange: Exchange): void {
    call.exchange = exchange
    this.#hold(exchange, () => this.#abandon(call, 'The client has gone.'))
  }

  /** The client comes back with answers. Whatever does not fit is told in the same words, so that nobody learns of others' calls. */
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
    // What is missing is asked for again.
    if (call.questions.size > 0) this.#wait(call)
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

  /** Parks a call that waits for its client, unless the caller has too much there. */
  #wait(call: OpenCall): void {
    const { exchange, request } = call
    const reason = this.#noRoom(call)
    if (reason === undefined) return this.#park(call)
    this.#abandon(call, reason)
    exchange?.answer(429, errorAnswer(request.id, errorCode.internal, reason))
  }

  /** Why a call may not wait for its client. A caller who opens calls and leaves would fill the memory. */
  #noRoom(call: OpenCall): string | undefined {
    const { principal } = call
    const others = [...this.#parked.values()].filter(
      (each) => each !== call && each.principal === principal,
    )
    if (others.length >= this.#options.maxParkedPerPrincipal)
      return `${others.length} calls of this caller wait for its input, which is the limit.`

    const own = lengthOf(call)
    if (others.reduce((sum, each) => sum + lengthOf(each), own) > longestParked)
      return `The calls of this caller that wait for its input are longer than ${longestParked} characters, which is the limit.`
    if (call.kept === undefined) {
      call.kept = this.#host.kept?.(principal)
      call.kept?.spare(() => this.#abandon(call, 'Its room is needed.'))
    }
    return call.kept?.hold(own) === undefined
      ? undefined
      : 'The calls of this caller that wait for its input take more memory than its share.'
  }

  /** Answers with what the server asks; the call waits for the retry. */
  #park(call: OpenCall): void {
    const { exchange, request, conversation } = call
    // The client is away with the state of the round before, and will be asked this too when it comes back.
    if (exchange === undefined) return
    call.parkedAt = this.#host.now()
    // Each round has a state of its own, so that an answer to an earlier question is not taken for one to a later.
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

  /** The connection broke: what may run twice and was not asked about runs again, once. */
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
      const message = `Invalid params: resourceSubscriptions names ${uris} resources, where ${maxUris} are the limit.`
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

/** In place of an answer that came while its client was away. */
function unkept({ request }: OpenCall, reason: string): string {
  const message = `The server has answered, but there was no room to keep the answer. ${reason}`
  return errorAnswer(request.id, errorCode.internal, message)
}

/** Whether a retry is the request that was parked: everything but the answers, the state and the envelope is the same. */
function isSame(a: ModernRequest, b: ModernRequest): boolean {
  const of = ({ method, params }: ModernRequest): string => {
    const kept = new Map(params)
    for (const name of ['inputResponses', 'requestState', '_meta']) kept.delete(name)
    return `${method} ${canonical(writeObject(kept))}`
  }
  return of(a) === of(b)
}
