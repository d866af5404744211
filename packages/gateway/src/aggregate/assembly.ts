import type { ModernServer } from '@mcp-gateway/mcp-http'
import type { Principal } from '../core/principal.ts'
import { AggregateServer, type AggregateState } from './server/server.ts'
import { Catalogue } from './catalogue/catalogue.ts'
import { composeInstructions } from './instructions.ts'
import type { LargeResults } from './calls/large-results.ts'
import type { MemberLists } from './lists/member-lists.ts'
import type { ListenerPlaces } from './server/listener-places.ts'
import type { AssembledMember } from './members/assembled-member.ts'
import type { AggregateCaller } from './members/member.ts'
import { SearchServer } from './search/search-server.ts'
import { conflicting, missing, type MemberStanding, type MemberState } from './members/standing.ts'
import type { Tickets } from './calls/tickets.ts'
import { isWebUri } from './names/uris.ts'
import type { Warm, WarmLists } from './warm-lists.ts'

/** The part of a virtual server that its owner can change. */
export interface Definition {
  readonly title: string
  readonly instructions: string | undefined
  readonly memberInstructions: 'none' | 'attributed'
  /** Names of tools that stand in the list of the search mode. */
  readonly pinned: readonly string[]
  readonly members: (clashes: (uri: string) => boolean) => readonly AssembledMember[]
}

export interface AssemblyOptions {
  readonly uid: string
  readonly name: string
  readonly version: string
  readonly tickets: Tickets
  readonly largeResults: LargeResults
  readonly pageSize: number
  readonly listeners: ListenerPlaces
  readonly warm: WarmLists
}

/** Milliseconds that a list waits for members whose lists were never read. */
const settleMs = 2000

/** A virtual server with all its parts, for as long as it exists. */
export class Assembly implements Warm {
  readonly #options: AssemblyOptions
  readonly server: AggregateServer
  readonly search: ModernServer<AggregateCaller>
  #definition: Definition
  /** As raw JSON. */
  #serverInfo: string
  #members: Members | undefined
  #known: AggregateState | undefined
  #clashing: ReadonlySet<string> | undefined
  /** The catalogue before the last change. */
  #before: Catalogue | undefined

  constructor(options: AssemblyOptions, definition: Definition) {
    this.#options = options
    this.#definition = definition
    this.#serverInfo = this.#describe()
    const serverInfo = (): string => this.#serverInfo
    this.server = new AggregateServer({
      ...options,
      serverInfo,
      state: () => this.#state,
      settled: () => this.#settled(),
      instructions: (principal) => this.#instructions(principal),
    })
    this.search = new SearchServer({
      aggregate: this.server,
      tools: (caller) => this.#state.catalogue.view(caller.principal()).list('tools'),
      pinned: () => this.#definition.pinned,
      serverInfo,
    })
  }

  /** Takes a changed definition. Open sessions go on with the new one. */
  redefine(definition: Definition): void {
    this.#definition = definition
    this.#serverInfo = this.#describe()
    this.invalidate()
  }

  #describe(): string {
    const { name, version } = this.#options
    return JSON.stringify({ name, title: this.#definition.title, version })
  }

  get uid(): string {
    return this.#options.uid
  }

  /** All members, also those that cannot be shown. */
  get members(): readonly AssembledMember[] {
    return this.#current.all
  }

  get #current(): Members {
    return (this.#members ??= membersOf(this.#definition.members((uri) => this.#clashes(uri))))
  }

  /** True if an adapter is a member. */
  has(adapter: string): boolean {
    return this.members.some(({ member }) => member.name === adapter)
  }

  /** How a member stands for a caller: one that the caller may not use looks like a missing one. */
  standingOf(each: AssembledMember, principal: Principal): MemberStanding {
    if (each.member.viewKey(principal) === undefined) return missing(each.kind)
    const standing = each.standing()
    if (standing.state !== 'Ready') return standing
    const [reason] = this.displacedOf(each)
    return reason === undefined ? standing : { state: 'Degraded', reason }
  }

  /** The items of a member that are not shown, because another item has their name. */
  displacedOf({ member }: AssembledMember): readonly string[] {
    return this.#state.catalogue.displaced.flatMap(({ item, member: other }) =>
      other === member
        ? [`${item.original}: another item has the name ${item.shown}, so this one is not shown`]
        : [],
    )
  }

  /**
   * Why a required member keeps the virtual server from serving a caller; undefined if none does.
   * A member that starts does so only for lists, which have waited for it.
   */
  lackingFor(principal: Principal, forList = false): string | undefined {
    for (const each of this.#current.required) {
      const { state, reason } = this.standingOf(each, principal)
      if (serving.has(state) || (state === 'Starting' && !forList)) continue
      // Requests are refused, so only this asks whether the member is back.
      void each.lists?.refresh()
      return `The required member '${each.member.alias}' cannot serve: ${reason ?? state}`
    }
    return undefined
  }

  /** The lists of a member, the members themselves or the rights to them have changed. */
  invalidate(): void {
    const before = this.#known?.catalogue ?? this.#before
    this.#options.warm.changed(this)
    this.cool()
    this.#before = before
    this.server.changed()
  }

  cool(): void {
    this.#members = undefined
    this.#known = undefined
    this.#clashing = undefined
    this.#before = undefined
  }

  /** The virtual server has been removed. */
  close(): void {
    this.#options.warm.forget(this)
    this.server.drain()
  }

  /** The members, whose shown items are about to be read. */
  get #listed(): Members {
    const current = this.#current
    this.#options.warm.used(this, () =>
      current.shown.reduce((sum, { lists }) => sum + (lists?.length ?? 0), 0),
    )
    return current
  }

  get #state(): AggregateState {
    const { shown } = this.#listed
    if (this.#known !== undefined) return this.#known
    this.#known = {
      catalogue: new Catalogue(
        shown.map(({ member }) => member),
        this.#before,
      ),
      members: new Map(shown.map(({ member }) => [member.alias, member])),
      clashes: (uri) => this.#clashes(uri),
      troubles: (principal) => this.#troubles(principal),
      lacking: (principal) => this.lackingFor(principal, true),
    }
    this.#before = undefined
    return this.#known
  }

  /** Asks for lists that are due, and waits for those that were never read, but not for long. */
  #settled(): Promise<void> | undefined {
    const unread: Promise<void>[] = []
    for (const { lists } of this.#current.shown) {
      const reading = lists?.refresh()
      if (reading !== undefined && isUnread(lists)) unread.push(reading)
    }
    if (unread.length === 0) return undefined
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, settleMs).unref()
    })
    return Promise.race([Promise.all(unread).then(() => undefined), late]).finally(() =>
      clearTimeout(timer),
    )
  }

  #instructions(principal: Principal): string | undefined {
    const { instructions, memberInstructions } = this.#definition
    const presented = visible(this.#current.shown, principal).map((each) => ({
      alias: each.member.alias,
      title: each.member.title,
      trouble: this.standingOf(each, principal).reason,
      instructions: each.lists?.snapshot?.instructions,
    }))
    return composeInstructions(
      instructions,
      presented.filter(({ alias }) => alias !== ''),
      memberInstructions,
    )
  }

  /** The members of a caller that cannot serve, with reasons, as raw JSON. */
  #troubles(principal: Principal): string {
    const troubles: Record<string, MemberStanding> = {}
    for (const each of visible(this.members, principal)) {
      const { state, reason } = this.standingOf(each, principal)
      if (state !== 'Ready') troubles[troubleKey(each, state)] = { state, reason }
    }
    return JSON.stringify(troubles)
  }

  /** True for a web address that the lists of two members have. */
  #clashes(uri: string): boolean {
    return isWebUri(uri) && (this.#clashing ??= clashingOf(this.#current.shown)).has(uri)
  }
}

/** The members of one definition. */
interface Members {
  readonly all: readonly AssembledMember[]
  /** Those whose aliases are their own. */
  readonly shown: readonly AssembledMember[]
  readonly required: readonly AssembledMember[]
}

/**
 * Gives each alias to the first member that has it, so that a name leads to one member. The others
 * are not shown.
 */
function membersOf(given: readonly AssembledMember[]): Members {
  const aliases = new Set<string>()
  const shown: AssembledMember[] = []
  const all = given.map((each): AssembledMember => {
    const { alias } = each.member
    if (aliases.has(alias)) return { ...each, standing: () => conflicting(alias) }
    aliases.add(alias)
    shown.push(each)
    return each
  })
  return { all, shown, required: all.filter(({ required }) => required) }
}

const serving: ReadonlySet<MemberState> = new Set(['Ready', 'Degraded'])

/** The key of a member in `_meta`: its alias if the alias is its own. */
function troubleKey({ kind, member }: AssembledMember, state: MemberState): string {
  const hasAlias = member.alias !== '' && state !== 'Conflict'
  return hasAlias ? member.alias : `${kind}/${member.name}`
}

/** The web addresses, and templates of such, that two members list. */
function clashingOf(members: readonly AssembledMember[]): ReadonlySet<string> {
  const seen = new Set<string>()
  const clashing = new Set<string>()
  for (const { lists } of members) {
    const { resources, templates } = lists?.snapshot?.lists ?? noLists
    const own = new Set([...resources.items, ...templates.items].map(({ key }) => key))
    for (const key of own) {
      if (!isWebUri(key)) continue
      if (seen.has(key)) clashing.add(key)
      seen.add(key)
    }
  }
  return clashing
}

const noLists = { resources: { items: [] }, templates: { items: [] } }

function isUnread(lists: MemberLists | undefined): boolean {
  return lists !== undefined && lists.snapshot === undefined && lists.failure === undefined
}

/** The members that a caller may use, or at least see. */
function visible(
  members: readonly AssembledMember[],
  principal: Principal,
): readonly AssembledMember[] {
  return members.filter(({ member }) => member.viewKey(principal) !== undefined)
}
