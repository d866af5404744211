import type { ModernServer } from '@mcp-gateway/mcp-http'
import type { Principal } from '../core/principal.ts'
import type { ResourceKind } from '../core/resource.ts'
import { AggregateServer, type AggregateState } from './server.ts'
import { Catalogue, type CatalogueMember } from './catalogue.ts'
import { composeInstructions } from './instructions.ts'
import type { LargeResults } from './large-results.ts'
import type { MemberLists } from './member-lists.ts'
import type { ListenerPlaces } from './listener-places.ts'
import type { AggregateCaller, Member } from './member.ts'
import { SearchServer } from './search-server.ts'
import type { Tickets } from './tickets.ts'
import { isWebUri } from './uris.ts'
import type { Warm, WarmLists } from './warm-lists.ts'

/** Why a member serves, or does not. */
export type MemberState = 'Ready' | 'Starting' | 'Stopped' | 'Degraded' | 'Down' | 'Missing'

export interface MemberStanding {
  readonly state: MemberState
  /** Undefined for a member that is ready. */
  readonly reason: string | undefined
}

/** A member with what the aggregate needs to know of it. */
export interface AssembledMember {
  readonly member: Member & CatalogueMember
  readonly kind: ResourceKind
  readonly required: boolean
  /** Undefined for registered tools, which need no reading, and for an adapter that is missing. */
  readonly lists: MemberLists | undefined
  readonly standing: () => MemberStanding
}

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
  #members: readonly AssembledMember[] | undefined
  #state: AggregateState | undefined
  #clashing: ReadonlySet<string> | undefined

  constructor(options: AssemblyOptions, definition: Definition) {
    this.#options = options
    this.#definition = definition
    const serverInfo = (): string => {
      const { name, version } = options
      return JSON.stringify({ name, title: this.#definition.title, version })
    }
    this.server = new AggregateServer({
      ...options,
      serverInfo,
      state: () => this.#current(),
      settled: () => this.#settled(),
      instructions: (principal) => this.#instructions(principal),
    })
    this.search = new SearchServer({
      aggregate: this.server,
      tools: (caller) => this.#current().catalogue.view(caller.principal()).list('tools'),
      pinned: () => this.#definition.pinned,
      serverInfo,
    })
  }

  /** Takes a changed definition. Open sessions go on with the new one. */
  redefine(definition: Definition): void {
    this.#definition = definition
    this.invalidate()
  }

  get uid(): string {
    return this.#options.uid
  }

  get members(): readonly AssembledMember[] {
    return (this.#members ??= this.#definition.members((uri) => this.#clashes(uri)))
  }

  /** True if an adapter is a member. */
  has(adapter: string): boolean {
    return this.members.some(({ member }) => member.name === adapter)
  }

  /** The required member that cannot serve, if there is one. */
  get lacking(): AssembledMember | undefined {
    return this.members.find(
      ({ required, standing }) => required && !['Ready', 'Degraded'].includes(standing().state),
    )
  }

  /** The members, whose shown items are about to be read. */
  listed(): readonly AssembledMember[] {
    const { members } = this
    this.#options.warm.used(this, () =>
      members.reduce((sum, { lists }) => sum + (lists?.length ?? 0), 0),
    )
    return members
  }

  /** The lists of a member, the members themselves or the rights to them have changed. */
  invalidate(): void {
    this.#options.warm.forget(this)
    this.cool()
    this.server.changed()
  }

  cool(): void {
    this.#members = undefined
    this.#state = undefined
    this.#clashing = undefined
  }

  /** The virtual server has been removed. */
  close(): void {
    this.#options.warm.forget(this)
    this.server.drain()
  }

  #current(): AggregateState {
    const members = this.listed()
    if (this.#state !== undefined) return this.#state
    this.#state = {
      catalogue: new Catalogue(members.map(({ member }) => member)),
      members: new Map(members.map(({ member }) => [member.alias, member])),
      clashes: (uri) => this.#clashes(uri),
      troubles: (principal) => troublesOf(members, principal),
    }
    return this.#state
  }

  /** Asks for lists that are due, and waits for those that were never read, but not for long. */
  #settled(): Promise<void> | undefined {
    const unread: Promise<void>[] = []
    for (const { lists } of this.members) {
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
    const presented = visible(this.members, principal).map(({ member, lists, standing }) => ({
      alias: member.alias,
      title: member.title,
      trouble: standing().reason,
      instructions: lists?.snapshot?.instructions,
    }))
    return composeInstructions(
      instructions,
      presented.filter(({ alias }) => alias !== ''),
      memberInstructions,
    )
  }

  /** True for a web address that the lists of two members have. */
  #clashes(uri: string): boolean {
    return isWebUri(uri) && (this.#clashing ??= clashingOf(this.members)).has(uri)
  }
}

/** The web addresses that two members list. */
function clashingOf(members: readonly AssembledMember[]): ReadonlySet<string> {
  const seen = new Set<string>()
  const clashing = new Set<string>()
  for (const { lists } of members)
    for (const { key } of lists?.snapshot?.lists.resources.items ?? []) {
      if (!isWebUri(key)) continue
      if (seen.has(key)) clashing.add(key)
      seen.add(key)
    }
  return clashing
}

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

function troublesOf(members: readonly AssembledMember[], principal: Principal): string {
  const troubles: Record<string, MemberStanding> = {}
  for (const { member, standing } of visible(members, principal)) {
    const { state, reason } = standing()
    if (state !== 'Ready') troubles[member.alias] = { state, reason }
  }
  return JSON.stringify(troubles)
}
