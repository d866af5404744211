import {
  errorAnswer,
  errorCode,
  metaKey,
  notificationMessage,
  ObjectTable,
  readArray,
  readObject,
  readString,
  writeObject,
  type Exchange,
  type ModernRequest,
  type RawObject,
} from '@mcp-gateway/protocol'
import { partyOf } from '../../core/principal.ts'
import type { View } from '../catalogue/catalogue.ts'
import type { ListenerPlaces } from './listener-places.ts'
import type { AggregateCaller, Member } from '../members/member.ts'
import { Subscription } from './subscription.ts'

/** The lists whose changes a client can ask to hear of, by the name in its filter. */
const listFilters = {
  toolsListChanged: { kinds: ['tools'], method: 'notifications/tools/list_changed' },
  promptsListChanged: { kinds: ['prompts'], method: 'notifications/prompts/list_changed' },
  resourcesListChanged: {
    kinds: ['resources', 'templates'],
    method: 'notifications/resources/list_changed',
  },
} as const

type ListFilter = keyof typeof listFilters

export interface ListeningOptions {
  readonly view: (caller: AggregateCaller) => View
  /** The member of an address that a client sees, and the address there. */
  readonly place: (
    caller: AggregateCaller,
    uri: string,
  ) => { readonly member: Member; readonly uri: string } | undefined
  readonly places: ListenerPlaces
  /** `serverInfo` of the aggregate, as raw JSON. */
  readonly serverInfo: () => string
}

/** Changes within so long become one notification. In milliseconds. */
const settleMs = 250
/** Members may take so long to accept subscriptions before the client hears what is accepted. */
const acceptMs = 2000
/** Most resources that one stream may name. */
export const mostUris = 1000
/** Most parts of resources of which a stream remembers changes before its acknowledgement. */
const mostEarly = 2 * mostUris

interface Stream {
  readonly caller: AggregateCaller
  readonly id: string
  readonly exchange: Exchange
  /** The party that gives a place to the stream; undefined for one of a legacy session. */
  readonly party: string | undefined
  /** For each list that the client asked about, what it saw last. */
  readonly seen: Map<ListFilter, string>
  /**
   * The resources that changed before the client was told what the stream covers, which it must
   * hear first. Undefined afterwards.
   */
  early: Set<string> | undefined
  readonly meta: RawObject
  /** The addresses that led to a member when the stream was opened. */
  readonly uris: readonly string[]
  /** By member, as of its incarnation, and addresses. */
  readonly subscriptions: Map<string, Subscription>
}

/** The addresses at one member, with those that the client sees. */
interface Wanted {
  readonly member: Member
  readonly uris: Map<string, string>
}

/**
 * The open `subscriptions/listen` streams of an aggregate (MCP 2026-07-28, subscriptions). A client
 * hears of a changed list only if its own view has changed, and of updates from whichever member
 * has the resource, also after that member was away.
 */
export class Listening {
  readonly #options: ListeningOptions
  readonly #streams = new ObjectTable<Exchange, Stream>()
  #settling: NodeJS.Timeout | undefined

  constructor(options: ListeningOptions) {
    this.#options = options
  }

  open(caller: AggregateCaller, { id, params, meta }: ModernRequest, exchange: Exchange): void {
    const filter = readObject(params.get('notifications')) ?? new Map<string, string>()
    const uris = urisOf(params)
    if (uris.length > mostUris) {
      const reason = `A stream names at most ${mostUris} resources. Open several streams.`
      return exchange.answer(200, errorAnswer(id, errorCode.invalidParams, reason))
    }
    const { places } = this.#options
    // Legacy sessions count as sessions, and each has one stream.
    const party = caller.session === '' ? partyOf(caller.principal()) : undefined
    if (party !== undefined && !places.take(party)) {
      const reason = `You have ${places.most} listen streams open, which is the limit. Close one first.`
      return exchange.answer(429, errorAnswer(id, errorCode.invalidRequest, reason))
    }

    const stream: Stream = {
      caller,
      id,
      exchange,
      party,
      seen: new Map(),
      meta,
      uris: uris.filter((uri) => this.#options.place(caller, uri) !== undefined),
      subscriptions: new Map(),
      early: new Set(),
    }
    this.#subscribe(stream, false)
    for (const name of Object.keys(listFilters) as ListFilter[])
      if (filter.get(name) === 'true') stream.seen.set(name, this.#hash(stream, name))
    this.#streams.set(exchange, stream)
    void this.#acknowledge(stream)
  }

  /** Ends the stream of a client that has left. Returns false if there is none. */
  gone(exchange: Exchange): boolean {
    const stream = this.#streams.get(exchange)
    if (stream === undefined) return false
    this.#streams.delete(exchange)
    if (stream.party !== undefined) this.#options.places.free(stream.party)
    for (const subscription of stream.subscriptions.values()) subscription.close()
    return true
  }

  /** The lists of members, or the rights of callers, may have changed. */
  changed(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined
      for (const stream of this.#streams.values()) {
        this.#subscribe(stream, true)
        this.#tellChanges(stream)
      }
    }, settleMs).unref()
  }

  /** Ends all streams in order, so that clients open them elsewhere. */
  drain(): void {
    clearTimeout(this.#settling)
    this.#settling = undefined
    for (const { exchange, id } of this.#streams.values()) {
      this.gone(exchange)
      const subscription = `${JSON.stringify(metaKey.subscriptionId)}:${id}`
      const server = `${JSON.stringify(metaKey.serverInfo)}:${this.#options.serverInfo()}`
      const result = `{"resultType":"complete","_meta":{${subscription},${server}}}`
      exchange.answer(200, `{"jsonrpc":"2.0","id":${id},"result":${result}}`)
    }
  }

  /**
   * Keeps one subscription for each member that has some of the resources. Those of members that
   * the caller may not use any more, or that have been replaced, end; others begin.
   */
  #subscribe(stream: Stream, missed: boolean): void {
    const { caller, meta, subscriptions } = stream
    const wanted = this.#wantedBy(stream)
    for (const [key, subscription] of subscriptions) {
      if (wanted.has(key)) continue
      subscription.close()
      subscriptions.delete(key)
    }

    const updated = (shown: string): void => {
      if (stream.early === undefined) tellUpdated(stream, shown)
      else if (stream.early.size < mostEarly || stream.uris.includes(shown)) stream.early.add(shown)
    }
    for (const [key, { member, uris }] of wanted)
      if (!subscriptions.has(key)) {
        const options = { caller, member, meta, wanted: uris, missed, updated }
        subscriptions.set(key, new Subscription(options))
      }
  }

  #wantedBy({ caller, uris }: Stream): ReadonlyMap<string, Wanted> {
    const byAlias = new Map<string, Wanted>()
    for (const shown of uris) {
      const place = this.#options.place(caller, shown)
      if (place === undefined) continue
      const { member, uri } = place
      const wanted = byAlias.get(member.alias) ?? { member, uris: new Map<string, string>() }
      byAlias.set(member.alias, wanted)
      wanted.uris.set(uri, shown)
    }
    const keyOf = ({ member, uris: each }: Wanted): string =>
      JSON.stringify([member.alias, member.name, member.incarnation, ...each])
    return new Map([...byAlias.values()].map((wanted) => [keyOf(wanted), wanted]))
  }

  /** Tells the client what the stream covers, once the members have said so or time is up. */
  async #acknowledge(stream: Stream): Promise<void> {
    const accepted = [...stream.subscriptions.values()].map((each) => each.accepted(acceptMs))
    const uris = (await Promise.all(accepted)).flat()
    if (this.#streams.get(stream.exchange) !== stream) return

    const honoured: RawObject = new Map([...stream.seen.keys()].map((name) => [name, 'true']))
    if (uris.length > 0) honoured.set('resourceSubscriptions', JSON.stringify(uris))
    const params: RawObject = new Map([['notifications', writeObject(honoured)]])
    tell(stream, 'notifications/subscriptions/acknowledged', params)
    const { early = [] } = stream
    stream.early = undefined
    for (const shown of early) tellUpdated(stream, shown)
    this.#tellChanges(stream)
  }

  #tellChanges(stream: Stream): void {
    if (stream.early !== undefined) return
    for (const [name, before] of stream.seen) {
      const now = this.#hash(stream, name)
      if (now === before) continue
      stream.seen.set(name, now)
      tell(stream, listFilters[name].method, new Map())
    }
  }

  #hash({ caller }: Pick<Stream, 'caller'>, name: ListFilter): string {
    const view = this.#options.view(caller)
    return listFilters[name].kinds.map((kind) => view.list(kind).hash).join()
  }
}

/** The resources that the parameters of a listen stream name. */
export function urisOf(params: RawObject): readonly string[] {
  const filter = readObject(params.get('notifications'))
  const listed = readArray(filter?.get('resourceSubscriptions')) ?? []
  return [...new Set(listed.flatMap((raw) => readString(raw) ?? []))]
}

function tellUpdated(stream: Stream, shown: string): void {
  tell(stream, 'notifications/resources/updated', new Map([['uri', JSON.stringify(shown)]]))
}

function tell({ exchange, id }: Stream, method: string, params: RawObject): void {
  params.set('_meta', `{${JSON.stringify(metaKey.subscriptionId)}:${id}}`)
  exchange.tell(notificationMessage(method, writeObject(params)))
}
