import {
  Bag,
  declaredHeaders,
  errorAnswer,
  errorCode,
  metaKey,
  modernVersion,
  readObject,
  readString,
  noSuchTask,
  resultMessage,
  writeObject,
  type DeclaredHeader,
  type Exchange,
  type ModernRequest,
  type RawObject,
  type Slot,
} from '@mcp-gateway/protocol'
import type { InnerAct } from '../../audit/inner-act.ts'
import type { Principal } from '../../core/principal.ts'
import { Absences } from '../calls/absences.ts'
import { refuseParams, type Asked } from '../calls/asked.ts'
import type { Catalogue, View, ViewList } from '../catalogue/catalogue.ts'
import { isResultUri, rangeResult, type LargeResults } from '../calls/large-results.ts'
import { listKindOf, listKinds, type ListKind } from '../lists/list-kinds.ts'
import { Listening, mostUris, urisOf, type ListeningOptions } from './listening.ts'
import {
  aliasOf,
  findItem,
  findResource,
  removed,
  type Found,
  type Place,
} from '../calls/lookup.ts'
import { emptyCompletion, MemberCall, mayRunTwice } from '../calls/member-call.ts'
import type { AggregateCaller, Member } from '../members/member.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'
import {
  declaresTasks,
  isOf,
  openTask,
  refuseUndeclared,
  sealTask,
  taskMethods,
  tasksCapability,
} from '../calls/tasks.ts'
import type { TicketHolder, Tickets } from '../calls/tickets.ts'

/** An aggregate at one moment. */
export interface AggregateState {
  readonly catalogue: Catalogue
  /** By alias. */
  readonly members: ReadonlyMap<string, Member>
  /** True for a web address that two members list. */
  readonly clashes: (uri: string) => boolean
  /** The members of a caller that cannot serve, with reasons: raw JSON for `_meta` of lists. */
  readonly troubles: (principal: Principal) => string
  /** Why a required member keeps a caller from any list; undefined if none does. */
  readonly lacking: (principal: Principal) => string | undefined
}

export interface AggregateOptions {
  /** The incarnation of the virtual server. */
  readonly uid: string
  /** `serverInfo` of the aggregate, as raw JSON. */
  readonly serverInfo: () => string
  readonly state: () => AggregateState
  /** Ends when all members' lists have been read once, or soon. Undefined if they have been. */
  readonly settled: () => Promise<void> | undefined
  readonly instructions: (principal: Principal) => string | undefined
  readonly tickets: Tickets
  readonly largeResults: LargeResults
  readonly pageSize: number
  readonly listeners: ListeningOptions['places']
}

/** Milliseconds for which a page may be continued, and for which a question may be answered. */
const cursorMs = 10 * 60_000
const questionMs = 60 * 60_000

/** All that an aggregate can ever offer: capabilities cannot grow while a client is connected. */
const capabilities =
  '"tools":{"listChanged":true},"prompts":{"listChanged":true},' +
  '"resources":{"listChanged":true,"subscribe":true},"completions":{},"logging":{}'

/** In `_meta` of lists: the members that cannot serve now. */
const troublesKey = JSON.stringify('mcp-gateway/members')

/** Milliseconds in which changes are gathered before the rights of open calls are checked. */
const recheckMs = 250

/** The matter of a request to a member. */
interface About {
  /** The tool that the request calls, or whose call became the task. */
  readonly tool?: ShownItem | undefined
  /** The client's id of the task. */
  readonly task?: string | undefined
}

/** A call that a member works on. */
interface OpenCall {
  readonly client: Exchange
  readonly caller: AggregateCaller
  readonly member: Member
  readonly call: MemberCall
  /** The item's key at the member. */
  readonly original: string
  readonly act: InnerAct
  /** Stops watching for a refusal by rules. */
  readonly stopWatching: (() => void) | undefined
}

/**
 * Many MCP servers as one modern server (MCP 2026-07-28): stateless, with a view for each caller.
 * Connecting and listing cost no request to a member.
 */
export class AggregateServer {
  readonly #options: AggregateOptions
  readonly #listening: Listening
  /** The calls that members work on. */
  readonly #open = new Bag<OpenCall>()
  /** Clients that left while they waited for the lists of members. */
  readonly #left = new WeakSet<Exchange>()
  readonly #absences = new Absences()
  #rechecking = false
  #next = 0

  constructor(options: AggregateOptions) {
    this.#options = options
    this.#listening = new Listening({
      view: (caller) => this.#view(caller),
      place: (caller, uri) => {
        const place = this.#findResource(caller, uri)
        return 'member' in place ? place : undefined
      },
      places: options.listeners,
      serverInfo: options.serverInfo,
    })
  }

  request(caller: AggregateCaller, request: ModernRequest, exchange: Exchange): void {
    const asked: Asked = { caller, request, exchange }
    const kind = listKindOf(request.method)
    if (kind !== undefined) return this.#list(kind, asked)
    switch (request.method) {
      case 'server/discover':
        return this.#discover(asked)
      case 'tools/call':
        return this.#callTool(asked)
      case 'prompts/get':
        return this.#getPrompt(asked)
      case 'resources/read':
        return this.#readResource(asked)
      case 'completion/complete':
        return this.#complete(asked)
      case 'subscriptions/listen':
        return this.#listen(asked)
    }
    if (taskMethods.has(request.method) && this.#mayHaveTasks) return this.#askAboutTask(asked)
    const message = `Method not found: ${request.method.slice(0, 100)}`
    exchange.answer(404, errorAnswer(request.id, errorCode.methodNotFound, message))
  }

  /** The gateway process that holds the call of a retry, or a kept result; undefined if none. */
  stateOwner({ method, params }: ModernRequest, principal: Principal): string | undefined {
    if (method === 'resources/read') {
      const { largeResults, uid } = this.#options
      return largeResults.ownerOf(readString(params.get('uri')) ?? '', { uid, principal })
    }
    const opened = this.#opened(params.get('requestState'), principal)
    const state = readString(opened?.state ?? undefined)
    if (opened === undefined || state === undefined) return undefined
    return this.#options.state().members.get(opened.alias)?.stateOwner(principal, state)
  }

  /** The tools that a caller sees. */
  toolsOf(principal: Principal): ViewList {
    return this.#options.state().catalogue.view(principal).list('tools')
  }

  /** The client of an exchange has left before its answer. */
  gone(exchange: Exchange): void {
    const open = this.#open.find(({ client }) => client === exchange)
    if (open === undefined) {
      this.#left.add(exchange)
      return void this.#listening.gone(exchange)
    }
    this.#end(open)
    open.thing.member.gone(open.thing.call)
  }

  /** True if a member is a server outside the runtime, which could be this gateway itself. */
  leadsElsewhere(): boolean {
    return [...this.#options.state().members.values()].some((member) => member.leadsElsewhere)
  }

  /** The lists of members, or the rights of callers, may have changed. */
  changed(): void {
    this.#listening.changed()
    if (this.#rechecking) return
    this.#rechecking = true
    setTimeout(() => {
      this.#rechecking = false
      this.#recheck()
    }, recheckMs).unref()
  }

  /** Ends the calls of callers who may no longer use a member, or whose member is another now. */
  #recheck(): void {
    const open = this.#open.values()
    if (open.length === 0) return
    const { members } = this.#options.state()
    for (const { act, call, caller, member, original } of open) {
      const now = members.get(member.alias)
      const same = now !== undefined && isSame(now.subjectOf(original), act.subject)
      if (same && now.uses(caller.principal(), original)) continue

      act.denied = true
      call.revoke()
      member.gone(call)
    }
  }

  #end(open: Slot<OpenCall>): void {
    open.thing.stopWatching?.()
    this.#open.delete(open)
  }

  /** Ends listen streams in order, so that clients open them elsewhere. Calls go on. */
  drain(): void {
    this.#listening.drain()
  }

  #discover(asked: Asked): void {
    const instructions = this.#options.instructions(asked.caller.principal())
    const result: RawObject = new Map([
      ['supportedVersions', JSON.stringify([modernVersion])],
      ['capabilities', `{${capabilities}${this.#mayHaveTasks ? `,${tasksCapability}` : ''}}`],
    ])
    if (instructions !== undefined) result.set('instructions', JSON.stringify(instructions))
    this.#answerKept(asked, result)
  }

  /** A list waits for members whose lists were never read, but not for long. */
  #list(kind: ListKind, asked: Asked): void {
    this.whenSettled(asked.exchange, () => this.#listNow(kind, asked))
  }

  /**
   * Acts once the lists of all members have been read, or at once if they have been. Does not act
   * for a client that has left meanwhile.
   */
  whenSettled(exchange: Exchange, act: () => void): void {
    const settled = this.#options.settled()
    if (settled === undefined) return act()
    void settled.then(() => (this.#left.has(exchange) ? undefined : act()))
  }

  #listNow(kind: ListKind, asked: Asked): void {
    const { caller, exchange, request } = asked
    const lacking = this.#options.state().lacking(caller.principal())
    if (lacking !== undefined)
      return exchange.answer(503, errorAnswer(request.id, errorCode.internal, lacking))
    const after = this.#cursorOf(kind, asked)
    if (after === undefined)
      return refuseParams(
        asked,
        'The cursor does not belong to this list, or is older than ten minutes. List again.',
      )

    const { items, next } = this.#view(caller).list(kind).page(after, this.#options.pageSize)
    const text = items.map(({ json }) => json).join(',')
    const result: RawObject = new Map([[listKinds[kind].member, `[${text}]`]])
    if (next !== undefined) {
      const place = JSON.stringify([kind, next])
      const cursor = this.#options.tickets.issue('cursor', this.#holder(caller), place, cursorMs)
      result.set('nextCursor', JSON.stringify(cursor))
    }
    this.#answerKept(asked, result)
  }

  /** The key after which a page begins; undefined if the cursor belongs to another list. */
  #cursorOf(kind: ListKind, { caller, request }: Asked): string | undefined {
    const raw = request.params.get('cursor')
    if (raw === undefined || raw === 'null') return ''
    const cursor = readString(raw) ?? ''
    const place = this.#options.tickets.open('cursor', this.#holder(caller), cursor)
    if (place === undefined) return undefined
    const [kindOfCursor, after] = JSON.parse(place) as [string, string]
    return kindOfCursor === kind ? after : undefined
  }

  #answerKept({ caller, request, exchange }: Asked, result: RawObject): void {
    const troubles = this.#options.state().troubles(caller.principal())
    const meta = [`${JSON.stringify(metaKey.serverInfo)}:${this.#options.serverInfo()}`]
    if (troubles !== '{}') meta.push(`${troublesKey}:${troubles}`)
    result
      // Stale at once: a client that wants to keep the list listens for changes.
      .set('ttlMs', '0')
      .set('cacheScope', '"private"')
      .set('resultType', '"complete"')
      .set('_meta', `{${meta.join(',')}}`)
    exchange.answer(200, resultMessage(request.id, writeObject(result)))
  }

  #callTool(asked: Asked): void {
    const { caller, request, exchange } = asked
    const name = readString(request.params.get('name'))
    if (name === undefined) return refuseParams(asked, 'params.name must be the name of a tool.')
    const given = request.params.get('arguments')
    if (given !== undefined && given !== 'null' && !given.startsWith('{'))
      return refuseParams(asked, 'params.arguments must be an object.')
    const look = (): Found => findItem(this.#view(caller).list('tools'), 'tool', name)
    this.lookUp(asked.exchange, look, (found) => {
      if ('unknown' in found) return this.#refuseItem('tools', name, asked, found.unknown)

      const mistake = request.paramHeaderMistake?.(headersOf(found.item))
      if (mistake === undefined)
        return this.#send(asked, found.item, { name: found.item.original }, { tool: found.item })
      const text = errorAnswer(request.id, errorCode.headerMismatch, `Bad Request: ${mistake}`)
      exchange.answer(400, text)
    })
  }

  #getPrompt(asked: Asked): void {
    const name = readString(asked.request.params.get('name'))
    if (name === undefined) return refuseParams(asked, 'params.name must be the name of a prompt.')
    const look = (): Found => findItem(this.#view(asked.caller).list('prompts'), 'prompt', name)
    this.lookUp(asked.exchange, look, (found) =>
      'unknown' in found
        ? this.#refuseItem('prompts', name, asked, found.unknown)
        : this.#send(asked, found.item, { name: found.item.original }),
    )
  }

  /** Looks an item up, and once more when the lists of all members have been read. */
  lookUp<F extends object>(exchange: Exchange, look: () => F, act: (found: F) => void): void {
    const found = look()
    if ('unknown' in found) this.whenSettled(exchange, () => act(look()))
    else act(found)
  }

  /** Unknown items and items of others get the same answer. The audit log tells them apart. */
  #refuseItem(kind: ListKind, name: string, asked: Asked, message: string): void {
    this.noteHidden(kind, name, asked)
    refuseParams(asked, message)
  }

  /** Notes for the audit log that a caller asks for an item which it may not use, if it does. */
  noteHidden(kind: ListKind, name: string, asked: Asked): void {
    const { catalogue, members } = this.#options.state()
    const { caller } = asked
    // Names that several visible members have are a mistake, and no refusal.
    if (this.#view(caller).list(kind).named(name).length > 0) return
    const hidden = catalogue.find(kind, name)?.item
    const member = hidden === undefined ? undefined : members.get(hidden.alias)
    if (hidden !== undefined && member !== undefined)
      this.#note(asked, member.subjectOf(hidden.original), hidden.original, { denied: true })
  }

  /** Notes for the audit log which member a message reaches, or is kept from. */
  #note(
    { caller, request: { method, params } }: Asked,
    subject: InnerAct['subject'],
    original: string,
    more: Partial<InnerAct> = {},
  ): InnerAct {
    const given = params.get('arguments')
    const act: InnerAct = {
      action: `mcp.${method}`,
      asked: caller.calls ?? readString(params.get('name') ?? params.get('uri')),
      subject,
      ...(method === 'tools/call' ? { tool: original } : {}),
      ...(method === 'tools/call' && given !== undefined ? { arguments: given } : {}),
      denied: false,
      ...more,
    }
    caller.seen(act)
    return act
  }

  get #mayHaveTasks(): boolean {
    return [...this.#options.state().members.values()].some((member) => member.mayHaveTasks)
  }

  /** Sends a request about a task to the member that made it. */
  #askAboutTask(asked: Asked): void {
    const { caller, request, exchange } = asked
    if (!declaresTasks(request.meta)) return refuseUndeclared(request, exchange)
    const id = readString(request.params.get('taskId')) ?? ''
    const place = openTask(this.#options.tickets, this.#holder(caller), id)
    const member = place && this.#options.state().members.get(place.alias)
    if (place === undefined || member === undefined || !isOf(place, member.subjectOf(place.tool)))
      return refuseParams(asked, noSuchTask)
    if (!member.uses(caller.principal(), place.tool)) {
      this.#note(asked, member.subjectOf(place.tool), place.tool, { denied: true })
      return refuseParams(asked, noSuchTask)
    }

    const { items } = this.#view(caller).list('tools')
    const tool = items.find(({ alias, original }) => {
      return alias === place.alias && original === place.tool
    })
    const at = { alias: place.alias, original: place.tool }
    this.#send(asked, at, { taskId: place.taskId }, { tool, task: id })
  }

  #listen(asked: Asked): void {
    const { caller, request, exchange } = asked
    const filter = readObject(request.params.get('notifications'))
    if (filter?.has('taskIds') === true && !declaresTasks(request.meta))
      return refuseUndeclared(request, exchange)
    this.#noteListening(asked)
    this.#listening.open(caller, request, exchange)
  }

  /** Notes the members whose resources a listen stream names. */
  #noteListening(asked: Asked): void {
    const { caller, request } = asked
    const uris = urisOf(request.params)
    if (uris.length > mostUris) return
    const noted = new Set<string>()
    for (const uri of uris) {
      const place = this.#findResource(caller, uri)
      const denied = !('member' in place)
      const subject = denied ? this.#hiddenResource(caller, uri) : place.member.subjectOf(uri)
      if (subject === undefined) continue
      // A legacy client subscribes to each resource with a message of its own.
      if (caller.session !== '')
        this.#note(asked, subject, uri, { action: 'mcp.resources/subscribe', asked: uri, denied })
      else if (!noted.has(subject.name)) this.#note(asked, subject, uri, { denied })
      noted.add(subject.name)
    }
  }

  #readResource(asked: Asked): void {
    const { caller, request } = asked
    const uri = readString(request.params.get('uri'))
    if (uri === undefined)
      return refuseParams(asked, 'params.uri must be the address of a resource.')
    if (isResultUri(uri)) return this.#readResult(asked, uri)
    this.lookUp(
      asked.exchange,
      () => this.#findResource(caller, uri),
      (place) => {
        if ('unknown' in place) {
          const hidden = this.#hiddenResource(caller, uri)
          if (hidden !== undefined) this.#note(asked, hidden, uri, { denied: true })
          return refuseParams(asked, place.unknown, { uri })
        }
        const at = { alias: place.member.alias, original: place.uri }
        this.#send(asked, at, { uri: place.uri })
      },
    )
  }

  #complete(asked: Asked): void {
    const ref = readObject(asked.request.params.get('ref'))
    const isPrompt = readString(ref?.get('type')) === 'ref/prompt'
    const field = isPrompt ? 'name' : 'uri'
    const shown = readString(ref?.get(field))
    if (ref === undefined || shown === undefined)
      return refuseParams(asked, 'params.ref must name a prompt, or a template of resources.')

    const [kind, what] = isPrompt
      ? (['prompts', 'prompt'] as const)
      : (['templates', 'template'] as const)
    const look = (): Found => findItem(this.#view(asked.caller).list(kind), what, shown)
    this.lookUp(asked.exchange, look, (found) => {
      if ('unknown' in found) return this.#refuseItem(kind, shown, asked, found.unknown)
      const member = this.#options.state().members.get(found.item.alias)
      if (member?.completes === false) return this.#completeNothing(asked, member)
      const changed = new Map(ref).set(field, JSON.stringify(found.item.original))
      this.#send(asked, found.item, { ref: changed })
    })
  }

  /** The answer of servers without completions, where no client asks for them. */
  #completeNothing(asked: Asked, member: Member): void {
    this.#note(asked, member.subjectOf(''), '')
    const meta = `{${JSON.stringify(metaKey.serverInfo)}:${this.#options.serverInfo()}}`
    const result = emptyCompletion().set('_meta', meta)
    asked.exchange.answer(200, resultMessage(asked.request.id, writeObject(result)))
  }

  /** Sends a request to a member, with `changes` to its parameters. */
  #send(
    asked: Asked,
    { alias, original }: Pick<ShownItem, 'alias' | 'original'>,
    changes: Readonly<Record<string, string | RawObject>>,
    about: About = {},
  ): void {
    const { caller, request, exchange } = asked
    const { task, tool } = about
    const called = task === undefined ? tool : undefined
    const member = this.#options.state().members.get(alias)
    if (member === undefined) return refuseParams(asked, removed)
    const params = new Map(request.params)
    for (const [name, value] of Object.entries(changes))
      params.set(name, typeof value === 'string' ? JSON.stringify(value) : writeObject(value))
    if (!this.#resume(params, member, caller))
      return refuseParams(
        asked,
        'requestState is unknown or has expired. Send the request again without it.',
      )

    const act = this.#note(asked, member.subjectOf(original), original)
    const holder = this.#holder(caller)
    const call = new MemberCall(exchange, request, {
      member,
      serverInfo: this.#options.serverInfo(),
      trace: caller.trace,
      clashes: this.#options.state().clashes,
      sealState: (state) => {
        const text = JSON.stringify([member.alias, state ?? null])
        return this.#options.tickets.issue('question', holder, text, questionMs)
      },
      sealTask: (taskId) => {
        const { uid } = member.subjectOf(original)
        return sealTask(this.#options.tickets, holder, { alias, uid, tool: original, taskId })
      },
      task,
      shorten: tool === undefined ? asItIs : this.#shortener(member, tool, holder),
      failed: (code) => (act.failure = code),
      runsTwice: mayRunTwice(request, tool),
      again: () => repeat(),
      absences: this.#absences,
      over: () => this.#end(open),
    })
    const refused = (): boolean => (act.denied = true)
    const stopWatching =
      called === undefined ? undefined : member.watchDenials(caller.principal(), original, refused)
    const open = this.#open.add({
      client: exchange,
      caller,
      member,
      call,
      original,
      act,
      stopWatching,
    })
    const send = (): void => {
      const sent = call.requestFor(String((this.#next += 1)), params)
      const declaredHeaders = called === undefined ? [] : headersOf(called)
      member.request(caller, { ...sent, declaredHeaders }, call)
    }
    // The member forgets the first sending before the next one; the client may leave meanwhile.
    const repeat = (): void => {
      if (this.#open.has(open)) send()
    }
    send()
  }

  /** Puts the member's own state in place of a ticket. False for a ticket of another member. */
  #resume(params: RawObject, member: Member, caller: AggregateCaller): boolean {
    const raw = params.get('requestState')
    if (raw === undefined) return true
    const opened = this.#opened(raw, caller.principal())
    if (opened?.alias !== member.alias) return false
    if (opened.state === null) params.delete('requestState')
    else params.set('requestState', opened.state)
    return true
  }

  /** The member of a client's `requestState`, and the raw state that the member gave. */
  #opened(
    raw: string | undefined,
    principal: Principal,
  ): { readonly alias: string; readonly state: string | null } | undefined {
    const { tickets, uid } = this.#options
    const ticket = tickets.open('question', { uid, principal }, readString(raw) ?? '')
    if (ticket === undefined) return undefined
    const [alias, state] = JSON.parse(ticket) as [string, string | null]
    return { alias, state }
  }

  /** How the result of a tool becomes short enough. */
  #shortener(
    member: Member,
    { json, original }: ShownItem,
    holder: TicketHolder,
  ): (result: RawObject) => RawObject {
    const most = member.maxResultBytes(original)
    if (most === undefined) return asItIs
    return (result) => {
      const hasOutputSchema = readObject(json)?.has('outputSchema') === true
      return this.#options.largeResults.shorten(result, most, holder, hasOutputSchema)
    }
  }

  /** Reads a range of a result that was too long. */
  #readResult({ caller, request, exchange }: Asked, uri: string): void {
    const range = this.#options.largeResults.read(uri, this.#holder(caller))
    if ('missing' in range) return refuseParams({ caller, request, exchange }, range.missing)
    const result = rangeResult(uri, range).set('resultType', '"complete"')
    exchange.answer(200, resultMessage(request.id, writeObject(result)))
  }

  #findResource(caller: AggregateCaller, uri: string): Place {
    const { members } = this.#options.state()
    return findResource(this.#view(caller), members, caller.principal(), uri)
  }

  /** The member that has an address, if the caller may not use that member. */
  #hiddenResource(caller: AggregateCaller, uri: string): InnerAct['subject'] | undefined {
    const { catalogue, members } = this.#options.state()
    const alias = aliasOf(catalogue, uri)
    const member = alias === undefined ? undefined : members.get(alias)
    if (member === undefined || member.uses(caller.principal(), uri)) return undefined
    return member.subjectOf(uri)
  }

  #view(caller: AggregateCaller): View {
    return this.#options.state().catalogue.view(caller.principal())
  }

  #holder(caller: AggregateCaller): TicketHolder {
    return { uid: this.#options.uid, principal: caller.principal() }
  }
}

function isSame(one: InnerAct['subject'], other: InnerAct['subject']): boolean {
  return one.kind === other.kind && one.name === other.name && one.uid === other.uid
}

const asItIs = (result: RawObject): RawObject => result

/** The arguments that headers repeat, by tool. Few tools declare any. */
const headersByTool = new WeakMap<ShownItem, readonly DeclaredHeader[]>()

function headersOf(tool: ShownItem): readonly DeclaredHeader[] {
  let headers = headersByTool.get(tool)
  if (headers === undefined) {
    headers = declaredHeaders(readObject(tool.json)?.get('inputSchema') ?? '{}')
    headersByTool.set(tool, headers)
  }
  return headers
}
