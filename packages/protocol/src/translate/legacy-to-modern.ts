import { errorAnswer, errorCode, idKey } from '../message.ts'
import { gravity, metaKey, type ModernRequest } from '../modern.ts'
import {
  readObject,
  readString,
  readUnambiguous,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import { Table } from '../table.ts'
import { latestLegacyVersion, modernVersion } from '../versions.ts'
import { notificationMessage, requestMessage, resultMessage, type Exchange } from './exchange.ts'
import { introductionMistake, SubscribedUris, ToolFacts } from './kept.ts'
import { initializeResult, legacyResult, negotiatedVersion, type ModernTool } from './to-legacy.ts'

/** A modern server, on any transport. */
export interface ModernEndpoint {
  request(request: ModernRequest, exchange: Exchange): void
  gone(exchange: Exchange): void
}

/** The functions that the engine needs from its host. */
export interface ModernHost {
  readonly server: ModernEndpoint
  /**
   * Sends a message to the client. `related` is the raw id of the client's request that the message
   * belongs to.
   */
  send(message: string, related: string | undefined): void
  /** Sends the answer to the client's request with this raw id. */
  answer(id: string, message: string): void
  /** Makes an id that nobody can guess. */
  newId(): string
  /** Calls back after `ms` milliseconds. */
  later(ms: number, callback: () => void): void
  /** Receives the change, in bytes, of the requests that wait here for an answer of the server. */
  waits?(bytes: number): void
}

/** A question to the client, for one of its own requests. */
interface Asked {
  readonly request: Request
  readonly key: string
}

/** A request of the client that the server works on. */
interface Request {
  /** Raw JSON. */
  readonly id: string
  readonly method: string
  readonly params: RawObject
  exchange: Exchange | undefined
  rounds: number
  /** Raw ids of the open questions. `answers` holds the answers so far. */
  readonly open: Set<string>
  readonly answers: Map<string, string>
  /** Raw. */
  state: string | undefined
  /** True once the tools were read again, because the server refused the headers of the call. */
  refreshed: boolean
  over: boolean
  readonly bytes: number
  /** True while the request is kept here until the list of tools is known. */
  waiting: boolean
}

/** One stream of notifications outside of requests. */
interface Listening {
  readonly exchange: Exchange
  /** Callbacks for when the stream stands. Those of the streams that it replaces come first. */
  readonly done: ((failure?: RawObject) => void)[]
  /** The stream that goes on until this one stands. */
  before: Listening | undefined
}

const maxRounds = 10
const pauseMs = 250
const relistenMs = 1000
const capabilityOf: Readonly<Record<string, string>> = {
  'elicitation/create': 'elicitation',
  'sampling/createMessage': 'sampling',
  'roots/list': 'roots',
}

/** Requests that run nothing, so that the server has nothing to log for them. */
const quiet = /^(server\/discover|subscriptions\/listen)$/

/**
 * Serves one legacy session (2025-11-25 and before) from a modern server (MCP 2026-07-28).
 * `input_required` results become questions, and answers a retry. Owns no sockets or timers.
 */
export class LegacyToModern {
  readonly #host: ModernHost
  readonly #requests = new Table<Request>()
  readonly #asked = new Table<Asked>()
  readonly #tools = new ToolFacts<ModernTool>()
  readonly #uris = new SubscribedUris()
  #version: string = latestLegacyVersion
  #capabilities = '{}'
  #clientInfo: string | undefined
  #server: RawObject = new Map()
  /**
   * Raw JSON. Until a client sets a level, legacy servers choose it, and those of the SDKs choose
   * this.
   */
  #level = '"info"'
  #listening: Listening | undefined
  #next = 0
  #closed = false

  constructor(host: ModernHost) {
    this.#host = host
  }

  /** Takes a message of the client, which is valid JSON. @throws DuplicateMember */
  receive(text: string): void {
    const message = readUnambiguous(text)
    if (message === undefined || this.#closed) return

    const method = readString(message.get('method'))
    const id = message.get('id')
    const params = readUnambiguous(message.get('params')) ?? new Map<string, string>()
    if (method === undefined) return this.#answered(id, message)
    if (id === undefined) return this.#notified(method, params)

    switch (method) {
      case 'initialize':
        return this.#initialize(id, params)
      case 'ping':
        return this.#answer(id, '{}')
      case 'logging/setLevel':
        if (gravity(readString(params.get('level'))) === undefined)
          return this.#refuse(id, errorCode.invalidParams, 'Invalid params: level is no log level.')
        this.#level = params.get('level') ?? this.#level
        return this.#answer(id, '{}')
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return this.#subscribe(id, method, readString(params.get('uri')))
      case 'server/discover':
      case 'subscriptions/listen':
        return this.#refuse(id, errorCode.methodNotFound, `Method not found: ${method}`)
    }

    if (method.startsWith('tasks/'))
      return this.#refuse(id, errorCode.methodNotFound, `Method not found: ${method}`)

    this.#start({
      id,
      method,
      params,
      exchange: undefined,
      rounds: 0,
      open: new Set(),
      answers: new Map(),
      state: undefined,
      refreshed: false,
      over: false,
      bytes: Buffer.byteLength(text),
      waiting: false,
    })
  }

  /** Ends the session and all its requests. */
  close(): void {
    this.#closed = true
    for (const request of this.#requests.values()) {
      request.over = true
      this.#waits(request, false)
      if (request.exchange !== undefined) this.#host.server.gone(request.exchange)
    }
    for (let each = this.#listening; each !== undefined; each = each.before)
      this.#host.server.gone(each.exchange)
    this.#listening = undefined
    this.#requests.clear()
    this.#asked.clear()
  }

  #initialize(id: string, params: RawObject): void {
    this.#version = negotiatedVersion(readString(params.get('protocolVersion')))
    const mistake = introductionMistake(params.get('capabilities'), params.get('clientInfo'))
    if (mistake !== undefined) return this.#refuse(id, errorCode.invalidParams, mistake)

    this.#capabilities = modernCapabilities(params.get('capabilities'))
    this.#clientInfo = params.get('clientInfo')
    this.#ask('server/discover', new Map(), {
      answer: (_status, text) => {
        const message = readObject(text)
        const result = readObject(message?.get('result'))
        if (this.#closed) return
        if (result === undefined)
          return this.#fail(id, 'initialize', readObject(message?.get('error')))
        this.#server = readObject(result.get('capabilities')) ?? new Map<string, string>()
        this.#answer(id, initializeResult(result, this.#version))
      },
      tell: () => undefined,
    })
  }

  #notified(method: string, params: RawObject): void {
    if (method === 'notifications/initialized') return this.#listen(() => undefined)
    const cancelled = method === 'notifications/cancelled' ? params.get('requestId') : undefined
    const request = cancelled === undefined ? undefined : this.#requests.get(idKey(cancelled))
    if (request === undefined) return
    this.#settle(request)
    if (request.exchange !== undefined) this.#host.server.gone(request.exchange)
  }

  #start(request: Request): void {
    this.#requests.set(idKey(request.id), request)
    const name = readString(request.params.get('name')) ?? ''
    // Only the list of tools says which arguments headers repeat, and whether the result is
    // wrapped.
    if (request.method === 'tools/call' && !this.#tools.has(name)) this.#runInformed(request, name)
    else this.#run(request)
  }

  /** Runs a call once the list of tools is known. */
  #runInformed(request: Request, tool: string): void {
    this.#waits(request, true)
    this.#learnTools(tool, undefined, 1, () => this.#run(request))
  }

  #waits(request: Request, waiting: boolean): void {
    if (request.waiting === waiting) return
    request.waiting = waiting
    this.#host.waits?.(waiting ? request.bytes : -request.bytes)
  }

  #learnTools(wanted: string, cursor: string | undefined, pages: number, done: () => void): void {
    this.#ask('tools/list', new Map(cursor === undefined ? [] : [['cursor', cursor]]), {
      answer: (_status, text) => {
        const result = readObject(readObject(text)?.get('result'))
        const next = result?.get('nextCursor')
        if (result !== undefined)
          legacyResult('tools/list', result, undefined, (name, tool) => this.#tools.set(name, tool))
        if (next === undefined || next === 'null' || pages >= 100 || this.#tools.has(wanted)) done()
        else this.#learnTools(wanted, next, pages + 1, done)
      },
      tell: () => undefined,
    })
  }

  #run(request: Request): void {
    if (request.over) return
    this.#waits(request, false)
    const params = new Map(request.params)
    params.delete('task')
    if (request.rounds > 0) {
      params.set('inputResponses', writeObject(request.answers))
      if (request.state !== undefined) params.set('requestState', request.state)
    }
    request.exchange = {
      answer: (_status, text) => this.#heard(request, text),
      give: (result) => this.#returned(request, result),
      tell: (text) => (request.over ? undefined : this.#host.send(text, request.id)),
    }
    this.#ask(request.method, params, request.exchange)
  }

  #heard(request: Request, text: string): void {
    if (request.over) return
    const message = readObject(text)
    const result = readObject(message?.get('result'))
    if (result !== undefined) return this.#returned(request, result)

    const error = readObject(message?.get('error'))
    // The server refused the headers, so it has not run the call. Its tools may have changed.
    if (
      Number(error?.get('code')) === errorCode.headerMismatch &&
      request.method === 'tools/call' &&
      !request.refreshed
    ) {
      request.refreshed = true
      const name = readString(request.params.get('name')) ?? ''
      this.#tools.delete(name)
      return this.#runInformed(request, name)
    }

    this.#settle(request)
    this.#fail(request.id, request.method, error)
  }

  #returned(request: Request, result: RawObject): void {
    if (request.over) return
    if (readString(result.get('resultType')) === 'input_required')
      return this.#inputRequired(request, result)

    this.#settle(request)
    const tool = this.#tools.get(readString(request.params.get('name')) ?? '')
    this.#answer(
      request.id,
      legacyResult(
        request.method,
        result,
        request.method === 'tools/call' ? tool : undefined,
        (name, known) => this.#tools.set(name, known),
      ),
    )
  }

  /**
   * Asks the client each question of the server in a request of its own (MCP 2026-07-28, multi
   * round-trip requests).
   */
  #inputRequired(request: Request, result: RawObject): void {
    const asked = [...(readObject(result.get('inputRequests')) ?? [])]
    request.state = result.get('requestState')
    request.answers.clear()
    request.rounds += 1

    if (request.rounds > maxRounds)
      return this.#giveUp(
        request,
        `The server asked for input ${maxRounds} times, which is the limit.`,
      )
    if (asked.length === 0) return this.#host.later(pauseMs, () => this.#run(request))

    const messages = asked.map(([key, raw]) => {
      const question = readObject(raw)
      const method = readString(question?.get('method')) ?? ''
      return {
        key,
        method,
        params: readObject(question?.get('params')) ?? new Map<string, string>(),
      }
    })
    for (const { method, params } of messages) {
      const missing = this.#cannot(method, params)
      if (missing !== undefined) return this.#giveUp(request, missing)
    }

    for (const { key, method, params } of messages) {
      const id = `"input-${(this.#next += 1)}"`
      request.open.add(id)
      this.#asked.set(id, { request, key })
      this.#host.send(
        requestMessage(id, method, writeObject(this.#legacyQuestion(method, params))),
        request.id,
      )
    }
  }

  /** Says why the client cannot be asked; undefined if it can. */
  #cannot(method: string, params: RawObject): string | undefined {
    const capability = capabilityOf[method]
    const declared =
      capability === undefined ? undefined : readObject(this.#capabilities)?.get(capability)
    if (declared === undefined)
      return `The server needs ${method} of the client, which did not declare it.`
    const url = readString(params.get('mode')) === 'url'
    return url && (this.#version < '2025-11-25' || readObject(declared)?.has('url') !== true)
      ? 'The server needs the client to open a page (elicitation in URL mode), ' +
          'which it did not declare.'
      : undefined
  }

  #legacyQuestion(method: string, params: RawObject): RawObject {
    if (method !== 'elicitation/create') return params
    if (readString(params.get('mode')) === 'url')
      return new Map(params).set('elicitationId', JSON.stringify(this.#host.newId()))
    const form = new Map(params)
    if (this.#version < '2025-11-25') form.delete('mode')
    return form
  }

  /** Takes the client's answer to a question. */
  #answered(id: string | undefined, message: RawObject): void {
    const question = id === undefined ? '' : idKey(id)
    const asked = this.#asked.get(question)
    if (asked === undefined) return
    const { request, key } = asked
    this.#asked.delete(question)
    request.open.delete(question)
    const result = message.get('result')
    if (result === undefined) {
      const said = readString(readObject(message.get('error'))?.get('message')) ?? 'no reason'
      return this.#giveUp(request, `The client did not answer what the server needs: ${said}`)
    }
    request.answers.set(key, result)
    if (request.open.size === 0) this.#run(request)
  }

  /**
   * Ends a request that cannot go on. A tool call has the reason as its result, which the model
   * sees.
   */
  #giveUp(request: Request, reason: string): void {
    this.#settle(request)
    if (request.method === 'tools/call')
      this.#answer(
        request.id,
        JSON.stringify({ content: [{ type: 'text', text: reason }], isError: true }),
      )
    else this.#refuse(request.id, errorCode.internal, reason)
  }

  #settle(request: Request): void {
    request.over = true
    // The open request for the list of tools still refers to this request.
    if (request.waiting) request.params.clear()
    this.#waits(request, false)
    this.#requests.delete(idKey(request.id))
    for (const id of request.open) {
      this.#asked.delete(id)
      this.#host.send(
        notificationMessage('notifications/cancelled', writeObject([['requestId', id]])),
        request.id,
      )
    }
    request.open.clear()
  }

  #fail(id: string, method: string, error: RawObject | undefined): void {
    const code = Number(error?.get('code'))
    const said = readString(error?.get('message')) ?? 'The server gave no answer.'
    // Header, capability and version errors describe the hop to the server, not the client's hop.
    if (code === errorCode.missingCapability && method === 'tools/call') {
      const needed = readObject(error?.get('data'))?.get('requiredCapabilities') ?? ''
      const text = `${said} The client did not declare what this needs: ${needed}`
      return this.#answer(id, JSON.stringify({ content: [{ type: 'text', text }], isError: true }))
    }
    if (code <= errorCode.headerMismatch && code >= errorCode.unsupportedVersion)
      return this.#refuse(id, errorCode.internal, said)
    const known = new Map(error)
      .set('code', String(Number.isInteger(code) ? code : errorCode.internal))
      .set('message', JSON.stringify(said))
    this.#host.answer(id, `{"jsonrpc":"2.0","id":${id},"error":${writeObject(known)}}`)
  }

  #subscribe(id: string, method: string, uri: string | undefined): void {
    if (uri === undefined)
      return this.#refuse(id, errorCode.invalidParams, 'Invalid params: uri is required.')
    if (method === 'resources/unsubscribe') this.#uris.delete(uri)
    else {
      // Each new URI opens a stream with all URIs.
      const reason = this.#uris.add(uri)
      if (reason !== undefined) return this.#refuse(id, errorCode.internal, reason)
    }
    this.#listen((failure) => {
      if (failure === undefined) return this.#answer(id, '{}')
      this.#uris.delete(uri)
      this.#fail(id, method, failure)
    })
  }

  /**
   * Opens a stream for the client's notifications, and ends the earlier stream once the new one
   * stands.
   */
  #listen(done: Listening['done'][number]): void {
    const filter = this.#filter()
    const listening: Listening = {
      done: [done],
      before: this.#listening,
      exchange: {
        tell: (text) => {
          const message = readObject(text) ?? new Map<string, string>()
          if (readString(message.get('method')) === 'notifications/subscriptions/acknowledged')
            this.#stands(listening)
          else this.#told(listening, message)
        },
        answer: (_status, text) =>
          this.#unheard(listening, readObject(readObject(text)?.get('error'))),
      },
    }
    this.#listening = filter === undefined ? undefined : listening
    if (filter === undefined) this.#stands(listening)
    else this.#ask('subscriptions/listen', new Map([['notifications', filter]]), listening.exchange)
  }

  /** Ends the streams that this stream replaces, now that it stands. */
  #stands(listening: Listening): void {
    const done = listening.done.splice(0)
    for (let old = listening.before; old !== undefined; old = old.before) {
      this.#host.server.gone(old.exchange)
      done.unshift(...old.done.splice(0))
    }
    listening.before = undefined
    for (const each of done) each()
  }

  /**
   * A stream has ended. Opens the newest again; if the server refuses it, the earlier stream goes
   * on.
   */
  #unheard(listening: Listening, error: RawObject | undefined): void {
    if (this.#closed) return
    for (const each of listening.done.splice(0)) each(error)
    if (this.#listening !== listening) return
    const code = Number(error?.get('code'))
    const refused = code === errorCode.methodNotFound || code === errorCode.invalidParams
    this.#listening = refused ? listening.before : undefined
    if (refused) return
    this.#stands(listening)
    this.#host.later(relistenMs, () =>
      this.#closed || this.#listening !== undefined ? undefined : this.#listen(() => undefined),
    )
  }

  #filter(): string | undefined {
    const members: [string, string][] = ['tools', 'prompts', 'resources']
      .filter((name) => readObject(this.#server.get(name))?.get('listChanged') === 'true')
      .map((name) => [`${name}ListChanged`, 'true'])
    if (this.#uris.size > 0)
      members.push(['resourceSubscriptions', JSON.stringify(this.#uris.values())])
    return members.length === 0 ? undefined : writeObject(members)
  }

  #told(listening: Listening, message: RawObject): void {
    let heard = this.#listening
    while (heard !== undefined && heard !== listening) heard = heard.before
    if (heard === undefined) return
    const params = readObject(message.get('params')) ?? new Map<string, string>()
    const meta = readObject(params.get('_meta'))
    meta?.delete(metaKey.subscriptionId)
    if (meta === undefined || meta.size === 0) params.delete('_meta')
    else params.set('_meta', writeObject(meta))
    const method = readString(message.get('method')) ?? ''
    if (method === 'notifications/tools/list_changed') this.#tools.clear()
    this.#host.send(
      notificationMessage(method, params.size === 0 ? undefined : writeObject(params)),
      undefined,
    )
  }

  /**
   * Sends a request to the server, in an envelope of all that the session knows. Changes `params`.
   */
  #ask(method: string, params: RawObject, exchange: Exchange): void {
    const meta = readObject(params.get('_meta')) ?? new Map<string, string>()
    params.delete('_meta')
    meta
      .set(metaKey.protocolVersion, JSON.stringify(modernVersion))
      .set(metaKey.clientCapabilities, this.#capabilities)
    if (this.#clientInfo !== undefined) meta.set(metaKey.clientInfo, this.#clientInfo)
    if (!quiet.test(method)) meta.set(metaKey.logLevel, this.#level)
    const known =
      method === 'tools/call' ? this.#tools.get(readString(params.get('name')) ?? '') : undefined
    this.#host.server.request(
      {
        id: String((this.#next += 1)),
        method,
        params,
        meta,
        ...(known === undefined ? {} : { declaredHeaders: known.headers }),
      },
      exchange,
    )
  }

  #answer(id: string, result: string): void {
    this.#host.answer(id, resultMessage(id, result))
  }

  #refuse(id: string, code: number, message: string): void {
    this.#host.answer(id, errorAnswer(id, code, message))
  }
}

/**
 * A legacy client's capabilities for a modern server: it asks for roots but gets no notice of
 * changes, and tasks work in another way.
 */
function modernCapabilities(raw: string | undefined): string {
  const capabilities = readObject(raw) ?? new Map<string, string>()
  capabilities.delete('tasks')
  if (capabilities.has('roots')) capabilities.set('roots', '{}')
  return writeObject(capabilities)
}
