import { errorAnswer, errorCode, idKey } from '../message.ts'
import {
  gravity,
  metaKey,
  paramsWithMeta,
  statusOf,
  type DeclaredHeader,
  type ModernRequest,
} from '../modern.ts'
import { Table } from '../table.ts'
import { noSuchTask, TaskOwners } from '../task-owners.ts'
import {
  readArray,
  readMessage,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import { notificationMessage, requestMessage, resultMessage, type Exchange } from './exchange.ts'
import { ToolFacts } from './kept.ts'
import { declaredHeaders } from './param-headers.ts'
import { withMember } from './to-modern.ts'

interface Open {
  readonly caller: string
  readonly exchange: Exchange
  readonly request: ModernRequest
  /** The least gravity of the log messages that the request asked for. */
  readonly level: number | undefined
  /** True once the client was told that log messages are missing. */
  missesLogs: boolean
}

const missingLogs = JSON.stringify(
  'Log messages of the server are left out. The server does not say to which call they ' +
    'belong, and calls of several callers are open.',
)

/**
 * Puts many modern clients on one modern stdio server. Replaces ids, progress tokens and
 * subscription ids, and does what HTTP headers and statuses do (MCP 2026-07-28, transports).
 */
export class ModernMultiplexer {
  readonly #send: (message: string) => void
  readonly #newId: () => string
  readonly #open = new Table<Open>()
  readonly #ids = new WeakMap<Exchange, string>()
  readonly #headers = new ToolFacts<readonly DeclaredHeader[]>()
  readonly #tasks = new TaskOwners<string>()

  /**
   * `newId` makes an id that nobody can guess: a server may print a caller's text on a line of its
   * own, and such a line must not answer a call.
   */
  constructor(send: (message: string) => void, newId: () => string) {
    this.#send = send
    this.#newId = newId
  }

  get busy(): boolean {
    return this.#open.size > 0
  }

  /** Sends a request of a client. Nothing of one caller reaches another. */
  request(caller: string, request: ModernRequest, exchange: Exchange): void {
    const { method, params, meta } = request
    if (namedTasks(method, params).some((task) => this.#tasks.ownerOf(task) !== caller))
      return exchange.answer(200, errorAnswer(request.id, errorCode.invalidParams, noSuchTask))

    const declared =
      method === 'tools/call' ? this.#headers.get(readString(params.get('name')) ?? '') : undefined
    const mistake = declared === undefined ? undefined : request.paramHeaderMistake?.(declared)
    if (mistake !== undefined)
      return exchange.answer(
        400,
        errorAnswer(request.id, errorCode.headerMismatch, `Bad Request: ${mistake}`),
      )

    const id = JSON.stringify(this.#newId())
    const listens = method === 'subscriptions/listen'
    const level = listens ? undefined : gravity(readString(meta.get(metaKey.logLevel)))
    this.#open.set(id, { caller, exchange, request, level, missesLogs: false })
    this.#ids.set(exchange, id)

    const sent = new Map(params)
    if (meta.has('progressToken') || listens) {
      const sentMeta = new Map(meta)
      if (meta.has('progressToken')) sentMeta.set('progressToken', id)
      // Log messages of a listen stream could not be told apart from those of a call.
      if (listens) sentMeta.delete(metaKey.logLevel)
      sent.set('_meta', writeObject(sentMeta))
    }

    this.#send(requestMessage(id, method, paramsWithMeta({ params: sent, meta })))
  }

  /** Cancels the request of a client that has gone, by `notifications/cancelled`. */
  gone(exchange: Exchange): void {
    const id = this.#ids.get(exchange)
    if (id === undefined) return
    this.#settle(id, exchange)
    this.#send(
      notificationMessage(
        'notifications/cancelled',
        `{"requestId":${id},"reason":"The client has gone."}`,
      ),
    )
  }

  /** Takes a message of the server. */
  receive(text: string): void {
    const message = readMessage(text)
    if (message === undefined) return
    const method = readString(message.get('method'))
    const id = message.get('id')
    const params = readObject(message.get('params')) ?? new Map<string, string>()
    if (method === undefined) this.#answered(message)
    else if (id !== undefined)
      this.#send(
        errorAnswer(
          id,
          errorCode.methodNotFound,
          'A server of 2026-07-28 asks by input_required results.',
        ),
      )
    else this.#notified(method, params)
  }

  /**
   * The server has ended. Open requests get the reason, and listen streams end in good order, so
   * that their clients open them again.
   */
  lost(reason: string): void {
    for (const [id, { exchange, request }] of this.#open.entries()) {
      if (request.method === 'subscriptions/listen') {
        this.#endListener(id)
        continue
      }
      this.#settle(id, exchange)
      exchange.answer(502, errorAnswer(request.id, errorCode.internal, reason))
    }
  }

  #settle(id: string, exchange: Exchange): void {
    this.#open.delete(id)
    this.#ids.delete(exchange)
  }

  #answered(message: RawObject): void {
    const raw = message.get('id')
    // An error that names no request can only be about the one open request.
    const only = raw === 'null' && this.#open.size === 1 ? this.#open.keys()[0] : undefined
    const id = only ?? (raw === undefined ? '' : idKey(raw))

    const open = this.#open.get(id)
    if (open === undefined) return

    const { caller, exchange, request } = open
    this.#settle(id, exchange)
    const error = readObject(message.get('error'))
    const result = readObject(message.get('result'))

    if (request.method === 'tools/list') this.#learn(result)
    const task = readString(result?.get('taskId'))
    if (task !== undefined && readString(result?.get('resultType')) === 'task')
      this.#tasks.made(task, caller)

    if (request.method === 'subscriptions/listen' && result !== undefined)
      message.set(
        'result',
        writeObject(
          result.set('_meta', withMember(result.get('_meta'), metaKey.subscriptionId, request.id)),
        ),
      )

    if (error === undefined && result === undefined)
      return exchange.answer(
        502,
        errorAnswer(request.id, errorCode.internal, 'The answer of the server is malformed.'),
      )

    exchange.answer(
      statusOf(error === undefined ? undefined : Number(error.get('code'))),
      writeObject(message.set('id', request.id)),
    )
  }

  #learn(result: RawObject | undefined): void {
    for (const raw of readArray(result?.get('tools')) ?? []) {
      const tool = readObject(raw)
      const name = readString(tool?.get('name'))
      if (name !== undefined) this.#headers.set(name, declaredHeaders(tool?.get('inputSchema')))
    }
  }

  #notified(method: string, params: RawObject): void {
    const told = (open: Open | undefined, member: string, value: string): void =>
      open?.exchange.tell(
        notificationMessage(method, writeObject(new Map(params).set(member, value))),
      )

    if (method === 'notifications/progress') {
      const open = this.#open.get(idKey(params.get('progressToken') ?? '""'))
      const token = open?.request.meta.get('progressToken')
      if (token !== undefined) told(open, 'progressToken', token)
      return
    }
    if (method === 'notifications/cancelled')
      return this.#endListener(idKey(params.get('requestId') ?? '""'))

    const subscription = readObject(params.get('_meta'))?.get(metaKey.subscriptionId)
    if (subscription !== undefined) {
      const open = this.#open.get(idKey(subscription))
      if (open !== undefined)
        told(
          open,
          '_meta',
          withMember(params.get('_meta'), metaKey.subscriptionId, open.request.id),
        )

      return
    }

    if (method === 'notifications/message') this.#logged(params)
  }

  /**
   * A log message names no request, so it is sent only if all requests that ask for it have one
   * caller.
   */
  #logged(params: RawObject): void {
    const level = gravity(readString(params.get('level'))) ?? Number.POSITIVE_INFINITY
    const asking = this.#open
      .values()
      .filter((open) => open.level !== undefined && open.level <= level)

    const latest = asking.at(-1)
    // A caller may hear the log messages of all its calls.
    if (asking.every(({ caller }) => caller === latest?.caller))
      return latest?.exchange.tell(
        notificationMessage('notifications/message', writeObject(params)),
      )

    const notice = writeObject([
      ['level', params.get('level') ?? '"notice"'],
      ['logger', '"mcp-gateway"'],
      ['data', missingLogs],
    ])

    for (const open of asking) {
      if (!open.missesLogs) open.exchange.tell(notificationMessage('notifications/message', notice))
      open.missesLogs = true
    }
  }

  /** Ends a listen stream. On stdio, a server asks for that by cancelling the stream's request. */
  #endListener(id: string): void {
    const open = this.#open.get(id)
    if (open?.request.method !== 'subscriptions/listen') return
    this.#settle(id, open.exchange)
    const meta = writeObject([[metaKey.subscriptionId, open.request.id]])
    open.exchange.answer(
      200,
      resultMessage(
        open.request.id,
        writeObject([
          ['resultType', '"complete"'],
          ['_meta', meta],
        ]),
      ),
    )
  }
}

/** The tasks that a request names (extension io.modelcontextprotocol/tasks). */
function namedTasks(method: string, params: RawObject): readonly (string | undefined)[] {
  if (method.startsWith('tasks/')) return [readString(params.get('taskId'))]
  if (method !== 'subscriptions/listen') return []

  const filter = readObject(params.get('notifications'))
  return (readArray(filter?.get('taskIds')) ?? []).map((raw) => readString(raw))
}
