import { randomUUID } from 'node:crypto'
import {
  errorAnswer,
  errorCode,
  ObjectTable,
  readString,
  resultMessage,
  writeObject,
  type Exchange,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import { GatewayError } from '../../core/errors.ts'
import { mayUse } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import { Cancellation } from '../../tools/cancellation.ts'
import type { RegisteredTools } from '../../tools/registered-tools.ts'
import type { ListedTool, Progress } from '../../tools/source.ts'
import type { CatalogueMember } from '../catalogue/catalogue.ts'
import type { AggregateCaller, Member } from './member.ts'
import type { ShowsItem } from './membership.ts'
import type { Claimed } from '../names/names.ts'
import { defaultQuestions } from './questions.ts'
import { showItem, type ShownItem } from '../catalogue/shown-item.ts'
import type { ToolOverride } from '../../core/virtual-servers/virtual-server.ts'

export interface ToolsMemberOptions {
  readonly tools: RegisteredTools
  /** Empty: the tools keep their names. */
  readonly alias: string
  /** The one registered tool that is the member. Absent: all of them. */
  readonly only?: string | undefined
  readonly shows: ShowsItem
  readonly overrides?: Readonly<Record<string, ToolOverride>> | undefined
  readonly maxResultBytes?: number | undefined
  /** Names that belong to another member. Tools that have one of them are shown under another. */
  readonly claimed?: Claimed | undefined
  /** A call ended with an unexpected error. */
  readonly callFailed: (error: unknown, requestId: string) => void
}

/** Registered tools as a member of an aggregate: all of them, or one. */
export class ToolsMember implements Member, CatalogueMember {
  readonly #options: ToolsMemberOptions
  readonly #open = new ObjectTable<Exchange, Cancellation>()
  readonly alias: string
  readonly name: string
  readonly title: string
  readonly questions = defaultQuestions

  constructor(options: ToolsMemberOptions) {
    this.#options = options
    this.alias = options.alias
    this.name = options.only ?? 'tools'
    this.title = options.only ?? 'Tools'
  }

  get items(): CatalogueMember['items'] {
    const { claimed, overrides = {}, shows } = this.#options
    const shown: ShownItem[] = []
    for (const { name, json } of this.#entries()) {
      const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined
      const item = showItem('tools', this, { key: name, json }, { override, claimed })
      if (shows(item)) shown.push(item)
    }
    return { tools: shown, prompts: [], resources: [], templates: [] }
  }

  #entries(): Iterable<ListedTool> {
    const { only, tools } = this.#options
    if (only === undefined) return tools.entries()
    const entry = tools.entryOf(only)
    return entry === undefined ? [] : [entry]
  }

  viewKey(principal: Principal): string | undefined {
    const { only, tools } = this.#options
    const { id, issuer, roles } = principal
    if (only === undefined) return JSON.stringify([issuer, id, ...roles.toSorted()])
    const tool = tools.byResource(only)
    return tool !== undefined && mayUse(principal, tool) ? '' : undefined
  }

  permits(principal: Principal, { original }: ShownItem): boolean {
    return this.uses(principal, original)
  }

  readonly completes = false
  readonly mayHaveTasks = false
  /** Calls are refused one by one, as most tools lead nowhere else. */
  readonly leadsElsewhere = false
  readonly incarnation = ''

  uses(principal: Principal, original: string): boolean {
    const { only, tools } = this.#options
    const tool = tools.get(original) ?? tools.byResource(only ?? '')
    return tool !== undefined && mayUse(principal, tool)
  }

  subjectOf(original: string): ReturnType<Member['subjectOf']> {
    return this.#options.tools.get(original) ?? { kind: 'tool', name: this.name }
  }

  reads(): boolean {
    return false
  }

  maxResultBytes(original: string): number | undefined {
    return this.#options.overrides?.[original]?.maxResultBytes ?? this.#options.maxResultBytes
  }

  stateOwner(): undefined {
    return undefined
  }

  watchDenials(): undefined {
    // The rights to a tool are judged before its call.
    return undefined
  }

  request(caller: AggregateCaller, request: ModernRequest, exchange: Exchange): void {
    const { id, meta, method, params } = request
    const name = readString(params.get('name')) ?? ''
    const tool =
      method === 'tools/call' ? this.#options.tools.find(caller.principal(), name) : undefined
    if (tool === undefined)
      return exchange.answer(404, errorAnswer(id, errorCode.methodNotFound, 'Method not found'))

    if (caller.cameFromHere && this.#options.tools.get(name)?.spec.endpoint !== undefined) {
      const { status, message, code } = new GatewayError('loop_detected')
      return exchange.answer(status, errorAnswer(id, errorCode.internal, message, { code }))
    }

    const given = params.get('arguments')
    const token = meta.get('progressToken')
    const cancellation = new Cancellation()
    this.#open.set(exchange, cancellation)
    const call = tool.call({
      arguments: given === undefined || given === 'null' ? '{}' : given,
      requestId: caller.requestId,
      trace: { ...caller.trace, ...traceOf(meta) },
      idempotencyKey: caller.idempotencyKey ?? randomUUID(),
      cancellation,
      progress:
        token === undefined || token === 'null'
          ? undefined
          : (progress) => exchange.tell(progressMessage(token, progress)),
    })
    call.then(
      (result) => {
        if (this.#open.delete(exchange))
          exchange.answer(200, resultMessage(id, writeObject(result)))
      },
      (error: unknown) => {
        if (!this.#open.delete(exchange)) return
        this.#options.callFailed(error, caller.requestId)
        exchange.answer(200, errorAnswer(id, errorCode.internal, 'Internal error'))
      },
    )
  }

  gone(exchange: Exchange): void {
    this.#open.get(exchange)?.abort()
    this.#open.delete(exchange)
  }

  doubt(): void {
    // The table of tools follows the store, so it is never out of date for long.
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
  const members = JSON.stringify(progress).slice(1, -1)
  return `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},${members}}}`
}
