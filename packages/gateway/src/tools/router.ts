import {
  errorAnswer,
  errorCode,
  metaKey,
  modernVersion,
  ObjectTable,
  readObject,
  readString,
  writeObject,
  type Exchange,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import type { Principal } from '../core/principal.ts'
import { Cancellation } from './cancellation.ts'
import type { Catalogue } from './catalogue.ts'
import type { CallResult, Progress, Seen } from './source.ts'

export interface RouterOptions {
  readonly catalogue: Catalogue
  readonly version: string
  readonly pageSize: number
  readonly maxListenersPerCaller: number
  /** Changes within so long become one notification. */
  readonly settleMs: number
  /** A call ended with an unexpected error. */
  readonly callFailed: (error: unknown, requestId: string) => void
}

/** The caller, and the parts of its HTTP request that go on to a tool. */
export interface Caller {
  /** The caller as of now, because a session outlives the roles that it was opened with. */
  readonly principal: () => Principal
  readonly requestId: string
  readonly trace: Readonly<Record<string, string>>
  readonly idempotencyKey: string
  /** Receives the tool that a call names. */
  readonly seen: Seen
}

interface Open {
  readonly cancellation: Cancellation
  /** Ends a listen stream in order. */
  readonly end?: () => void
}

/** All tools as one modern MCP server (MCP 2026-07-28): stateless, with a list for each caller. */
export class Router {
  readonly #options: RouterOptions
  readonly #open = new ObjectTable<Exchange, Open>()
  /** Number of listen streams by caller. */
  readonly #listeners = new Map<string, number>()

  constructor(options: RouterOptions) {
    this.#options = options
  }

  request(caller: Caller, request: ModernRequest, exchange: Exchange): void {
    switch (request.method) {
      case 'server/discover':
        return this.#answer(exchange, request.id, [
          ['supportedVersions', JSON.stringify([modernVersion])],
          ['capabilities', '{"tools":{"listChanged":true}}'],
          ['ttlMs', '0'],
          ['cacheScope', '"private"'],
        ])
      case 'tools/list':
        return this.#list(caller, request, exchange)
      case 'tools/call':
        return this.#call(caller, request, exchange)
      case 'subscriptions/listen':
        return this.#listen(caller, request, exchange)
      default:
        exchange.answer(
          404,
          errorAnswer(
            request.id,
            errorCode.methodNotFound,
            `Method not found: ${request.method.slice(0, 100)}`,
          ),
        )
    }
  }

  /** The client of an exchange has gone before its answer. */
  gone(exchange: Exchange): void {
    this.#open.get(exchange)?.cancellation.abort()
    this.#open.delete(exchange)
  }

  /** Ends listen streams in order, so that clients open them elsewhere. Calls in progress go on. */
  drain(): void {
    for (const { end } of this.#open.values()) end?.()
  }

  close(): void {
    this.drain()
    for (const { cancellation } of this.#open.values()) cancellation.abort()
    this.#open.clear()
  }

  #list({ principal }: Caller, { id, params }: ModernRequest, exchange: Exchange): void {
    const cursor = params.get('cursor')
    const after = cursor === undefined || cursor === 'null' ? '' : afterOf(readString(cursor))
    if (after === undefined)
      return exchange.answer(
        200,
        errorAnswer(id, errorCode.invalidParams, 'The cursor is not one of this list.'),
      )
    const { tools, next } = this.#options.catalogue.page(principal(), after, this.#options.pageSize)
    this.#answer(exchange, id, [
      ['tools', `[${tools.map(({ json }) => json).join(',')}]`],
      ...(next === undefined ? [] : [['nextCursor', JSON.stringify(cursorOf(next))] as const]),
      // Stale at once: a client that wants to keep the list listens for changes.
      ['ttlMs', '0'],
      ['cacheScope', '"private"'],
    ])
  }

  #call(
    caller: Caller,
    { id, params, meta, paramHeaderMistake }: ModernRequest,
    exchange: Exchange,
  ): void {
    const name = readString(params.get('name'))
    const given = params.get('arguments')
    const refuse = (status: number, code: number, message: string): void =>
      exchange.answer(status, errorAnswer(id, code, message))
    if (name === undefined)
      return refuse(200, errorCode.invalidParams, 'params.name must be the name of a tool.')
    if (given !== undefined && given !== 'null' && !given.startsWith('{'))
      return refuse(200, errorCode.invalidParams, 'params.arguments must be an object.')

    const tool = this.#options.catalogue.find(caller.principal(), name, caller.seen)
    // Unknown tools and forbidden tools get the same answer.
    if (tool === undefined)
      return refuse(200, errorCode.invalidParams, `Unknown tool: ${name.slice(0, 200)}`)

    const mistake = paramHeaderMistake?.(tool.declaredHeaders)
    if (mistake !== undefined)
      return refuse(400, errorCode.headerMismatch, `Bad Request: ${mistake}`)

    const token = meta.get('progressToken')
    const cancellation = new Cancellation()
    this.#open.set(exchange, { cancellation })

    tool
      .call({
        arguments: given === undefined || given === 'null' ? '{}' : given,
        requestId: caller.requestId,
        trace: { ...caller.trace, ...traceOf(meta) },
        idempotencyKey: caller.idempotencyKey,
        cancellation,
        progress:
          token === undefined || token === 'null'
            ? undefined
            : (progress) => exchange.tell(progressMessage(token, progress)),
      })
      .then(
        (result) => {
          if (this.#open.delete(exchange)) this.#answer(exchange, id, result)
        },
        (error: unknown) => {
          if (!this.#open.delete(exchange)) return
          this.#options.callFailed(error, caller.requestId)
          refuse(200, errorCode.internal, 'Internal error')
        },
      )
  }

  #listen({ principal }: Caller, { id, params }: ModernRequest, exchange: Exchange): void {
    const who = principal()
    const key = JSON.stringify([who.issuer, who.id])
    const count = this.#listeners.get(key) ?? 0
    if (count >= this.#options.maxListenersPerCaller)
      return exchange.answer(
        429,
        errorAnswer(
          id,
          errorCode.invalidRequest,
          `You have ${count} listen streams open, which is the limit.`,
        ),
      )

    const wanted = readObject(params.get('notifications'))?.get('toolsListChanged') === 'true'
    const meta = `{${JSON.stringify(metaKey.subscriptionId)}:${id}}`
    let timer: NodeJS.Timeout | undefined

    const stopListening = wanted
      ? this.#options.catalogue.onChange((change) => {
          if (timer !== undefined || !change.concerns(principal())) return
          timer = setTimeout(() => {
            timer = undefined
            exchange.tell(
              `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":${meta}}}`,
            )
          }, this.#options.settleMs)
        })
      : () => undefined

    const cancellation = new Cancellation()
    cancellation.listen(() => {
      clearTimeout(timer)
      stopListening()
      const left = (this.#listeners.get(key) ?? 1) - 1
      if (left === 0) this.#listeners.delete(key)
      else this.#listeners.set(key, left)
    })

    this.#listeners.set(key, count + 1)

    const end = (): void => {
      this.gone(exchange)
      exchange.answer(
        200,
        `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"complete","_meta":${meta}}}`,
      )
    }

    this.#open.set(exchange, { cancellation, end })
    const honoured = wanted ? '{"toolsListChanged":true}' : '{}'
    exchange.tell(
      `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":${honoured},"_meta":${meta}}}`,
    )
  }

  #answer(
    exchange: Exchange,
    id: string,
    members: CallResult | Iterable<readonly [string, string]>,
  ): void {
    const result = new Map(members)
    const meta = readObject(result.get('_meta')) ?? new Map<string, string>()
    meta.set(
      metaKey.serverInfo,
      JSON.stringify({
        name: 'mcp-gateway',
        title: 'MCP Gateway tools',
        version: this.#options.version,
      }),
    )
    result.set('resultType', '"complete"').set('_meta', writeObject(meta))
    exchange.answer(200, `{"jsonrpc":"2.0","id":${id},"result":${writeObject(result)}}`)
  }
}

/** Trace context in the request's `_meta` (MCP 2026-07-28, basic/index). */
function traceOf(meta: ReadonlyMap<string, string>): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of ['traceparent', 'tracestate', 'baggage']) {
    const value = readString(meta.get(name))
    if (value !== undefined && value.length <= 8192 && /^[\x20-\x7e]+$/.test(value))
      found[name] = value
  }
  return found
}

function progressMessage(token: string, progress: Progress): string {
  return `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},${JSON.stringify(progress).slice(1, -1)}}}`
}

/**
 * A cursor names the last tool of its page, so any replica can continue, and changes in between
 * neither skip nor repeat a tool.
 */
function cursorOf(name: string): string {
  return Buffer.from(name).toString('base64url')
}

function afterOf(cursor: string | undefined): string | undefined {
  const name = cursor === undefined ? '' : Buffer.from(cursor, 'base64url').toString()
  return name !== '' && /^[\x21-\x7e]{1,256}$/.test(name) ? name : undefined
}
