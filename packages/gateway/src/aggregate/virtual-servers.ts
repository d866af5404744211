import type { ServerStatus } from '@mcp-gateway/contract'
import type { Shares } from '@mcp-gateway/mcp-http'
import { GatewayError } from '../core/errors.ts'
import { authorize, checkKnown, mayRead } from '../core/permission.ts'
import type { Principal } from '../core/principal.ts'
import type { Adapter, ResourceKind } from '../core/resource.ts'
import type { VirtualServer } from '../core/virtual-server.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import { defined } from '../lib/defined.ts'
import { monotonicNow } from '../lib/clock.ts'
import type { Servers } from '../servers/open.ts'
import type { RouteTable } from '../servers/routes.ts'
import type { ServerRequests } from '../servers/server-requests.ts'
import { follow } from '../store/follow.ts'
import type { Collection } from '../store/store.ts'
import type { RegisteredTools } from '../tools/registered-tools.ts'
import { AdapterMember } from './adapter-member.ts'
import { Assembly, type AssembledMember, type Definition, type MemberStanding } from './assembly.ts'
import type { Served } from './visit.ts'
import { compileFilters, membershipsOf, type Candidate, type Membership } from './membership.ts'
import type { LargeResults } from './large-results.ts'
import type { KeptLists } from './kept-lists.ts'
import { ListenerPlaces } from './listener-places.ts'
import { MemberTable } from './member-table.ts'
import type { MemberLists } from './member-lists.ts'
import { routerUid } from '../tools/feed/remote-router.ts'
import { builtInName, type ServerPlace } from './server-path.ts'
import { stableAlias } from '../core/fields/alias.ts'
import type { Tickets } from './tickets.ts'
import { ToolsMember } from './tools-member.ts'
import { WarmLists } from './warm-lists.ts'

export interface VirtualServersOptions {
  readonly servers: Pick<Collection<VirtualServer>, 'list' | 'watch'>
  readonly routes: Pick<RouteTable, 'get' | 'values' | 'onChange'>
  readonly tools: RegisteredTools
  readonly directory: ReplicaDirectory
  readonly guard: Servers['guard']
  readonly requests: ServerRequests
  readonly kept: KeptLists
  /** Counts the characters of members' lists for their owners. */
  readonly room: Shares
  readonly tickets: Tickets
  readonly largeResults: LargeResults
  readonly version: string
  readonly pageSize: number
  readonly maxListenersPerCaller: number
  /** Milliseconds since the epoch, for the times in statuses. */
  readonly now: () => number
  /** A call of a registered tool ended with an unexpected error. */
  readonly callFailed: (error: unknown, requestId: string) => void
}

/** One definition, and what serves it. */
interface Entry {
  readonly resource: VirtualServer | undefined
  readonly assembly: Assembly
}

/** All virtual servers, and the built-in one. They follow the store, so no request reads it. */
export class VirtualServers implements AsyncDisposable {
  readonly #options: VirtualServersOptions
  readonly #byName = new Map<string, Entry>()
  readonly #builtIn: Entry
  readonly #table: MemberTable
  readonly #ends: (() => void)[] = []
  readonly #since: StateTimes
  readonly #listeners: ListenerPlaces
  readonly #warm: WarmLists
  #following: AsyncDisposable | undefined

  private constructor(options: VirtualServersOptions) {
    this.#options = options
    this.#since = new StateTimes(options.now)
    this.#listeners = new ListenerPlaces(options.maxListenersPerCaller)
    this.#warm = new WarmLists(options.room.most)
    const { directory, requests, room, routes, tools } = options
    this.#table = new MemberTable({
      servers: requests,
      adapter: (name) => routes.get(name),
      directory,
      kept: options.kept,
      room,
      changed: (name) => this.#changed(name),
      now: monotonicNow,
    })
    this.#builtIn = { resource: undefined, assembly: this.#assembleBuiltIn() }
    // Rights, rules and labels may have changed, so everything may look different now.
    this.#ends.push(
      routes.onChange((name) => {
        if (routes.get(name) === undefined) void options.kept.forget(name)
        this.#changed()
      }),
      tools.onChange(() => this.#changed()),
      directory.onChange((name) => this.#changed(name)),
    )
  }

  static async open(options: VirtualServersOptions): Promise<VirtualServers> {
    const all = new VirtualServers(options)
    all.#following = await follow(options.servers, {}, ({ name, resource }) =>
      all.#take(name, resource),
    )
    return all
  }

  /**
   * The virtual server at an address, for a caller who may use it.
   * @throws GatewayError `not_found`, `forbidden`, `unauthenticated`, `no_ready_replica`
   */
  find({ name, searches }: ServerPlace, principal: Principal): Served {
    const entry = name === undefined ? this.#builtIn : this.#byName.get(name)
    if (entry === this.#builtIn) checkKnown(principal)
    else authorize(principal, 'use', entry?.resource)
    if (entry === undefined) throw new GatewayError('not_found')

    const { assembly, resource } = entry
    const { lacking } = assembly
    if (lacking !== undefined)
      throw new GatewayError('no_ready_replica', {
        detail: `The required member '${lacking.member.alias}' cannot serve: ${lacking.standing().reason ?? ''}`,
        headers: { 'retry-after': '5' },
      })
    return {
      uid: assembly.uid,
      server: searches ? assembly.search : assembly.server,
      leadsElsewhere: () => assembly.server.leadsElsewhere(),
      changed: () => assembly.server.changed(),
      subject: resource,
      stateOwner: (request, caller) => assembly.server.stateOwner(request, caller),
    }
  }

  /** How the members of a virtual server stand, as far as a caller may see them. */
  membersOf({ name, uid }: VirtualServer, principal: Principal): ServerStatus['members'] {
    const entry = this.#byName.get(name)
    if (entry?.resource?.uid !== uid) return []
    return entry.assembly
      .listed()
      .filter(({ kind, member }) => this.#mayKnow(principal, kind, member.name))
      .map(({ kind, lists, member, required, standing }) => {
        const { reason, state } = standing()
        const mistakes = mistakesOf(lists)
        return {
          alias: member.alias,
          kind,
          name: member.name,
          required,
          state,
          ...defined({ reason }),
          since: this.#since.of(`${uid}/${member.alias}`, state),
          tools: member.items.tools.length,
          prompts: member.items.prompts.length,
          resources: member.items.resources.length + member.items.templates.length,
          ...(mistakes.length === 0 ? {} : { mistakes: [...mistakes] }),
        }
      })
  }

  /** True for a member that is missing, which the definition names, or that the caller may read. */
  #mayKnow(principal: Principal, kind: ResourceKind, name: string): boolean {
    const { routes, tools } = this.#options
    const resource = kind === 'adapter' ? routes.get(name) : tools.byResource(name)
    return resource === undefined || mayRead(principal, resource)
  }

  /** Ends listen streams in order, so that clients open them elsewhere. */
  drain(): void {
    for (const { assembly } of this.#all()) assembly.server.drain()
  }

  *#all(): Iterable<Entry> {
    yield this.#builtIn
    yield* this.#byName.values()
  }

  #take(name: string, resource: VirtualServer | undefined): void {
    const before = this.#byName.get(name)
    const same = before?.resource?.uid === resource?.uid ? before : undefined
    if (resource === undefined) this.#byName.delete(name)
    else if (same !== undefined) {
      same.assembly.redefine(this.#definition(resource))
      this.#byName.set(name, { resource, assembly: same.assembly })
    } else {
      const assembly = this.#assembly(resource.uid, name, this.#definition(resource))
      this.#byName.set(name, { resource, assembly })
    }
    // The streams of a server that is gone end, so that clients look again.
    if (same === undefined) before?.assembly.close()
    this.#forgetOthers()
  }

  #definition({ name, spec }: VirtualServer): Definition {
    return {
      title: spec.title ?? name,
      instructions: spec.instructions,
      memberInstructions: spec.memberInstructions ?? 'attributed',
      pinned: spec.pinned ?? [],
      members: (clashes) =>
        membershipsOf(spec, this.#candidates()).members.map((membership) =>
          membership.kind === 'adapter'
            ? this.#adapterMember(membership, clashes)
            : this.#toolMember(membership),
        ),
    }
  }

  /** `/mcp`: all registered tools by their own names, and the adapters that join it. */
  #assembleBuiltIn(): Assembly {
    const { tools, callFailed, routes } = this.#options
    const registered = new ToolsMember({ tools, alias: '', shows: () => true, callFailed })
    const joining = (): readonly Adapter[] =>
      [...routes.values()]
        .filter((adapter) => adapter.spec.aggregate === true)
        .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    return this.#assembly(routerUid, builtInName, {
      title: 'MCP Gateway tools',
      instructions: undefined,
      memberInstructions: 'attributed',
      pinned: [],
      members: (clashes) => [
        {
          member: registered,
          kind: 'tool',
          required: false,
          lists: undefined,
          standing: () => ready,
        },
        ...joining().map(({ name }) => {
          const membership: Membership = {
            alias: stableAlias(name),
            kind: 'adapter',
            name,
            spec: { adapter: name },
          }
          return this.#adapterMember(membership, clashes)
        }),
      ],
    })
  }

  #assembly(uid: string, name: string, definition: Definition): Assembly {
    const shared = { listeners: this.#listeners, warm: this.#warm }
    return new Assembly({ ...this.#options, ...shared, uid, name }, definition)
  }

  #adapterMember(membership: Membership, clashes: (uri: string) => boolean): AssembledMember {
    const { guard, requests, routes } = this.#options
    const { name, spec } = membership
    const adapter = routes.get(name)
    const lists = adapter === undefined ? undefined : this.#table.listsOf(adapter)
    const member = new AdapterMember({
      membership,
      adapter: () => routes.get(name),
      servers: requests,
      guard,
      lists: lists,
      clashes,
    })
    return {
      member,
      kind: 'adapter',
      required: spec.required === true,
      lists,
      standing: () => this.#standing(routes.get(name), lists),
    }
  }

  #standing(adapter: Adapter | undefined, lists: MemberLists | undefined): MemberStanding {
    if (adapter === undefined || lists === undefined)
      return { state: 'Missing', reason: 'There is no adapter of this name.' }
    const replicas = this.#options.directory.get(adapter.name)
    if (adapter.spec.endpoint === undefined && replicas?.desiredReplicas === 0)
      return { state: 'Stopped', reason: 'Its replicaCount is 0.' }
    if (lists.failure !== undefined) return { state: 'Down', reason: lists.failure }
    if (lists.snapshot === undefined)
      return { state: 'Starting', reason: 'Its lists have not been read yet.' }
    const [first] = mistakesOf(lists)
    return first === undefined ? ready : { state: 'Degraded', reason: first }
  }

  #toolMember({ alias, name, spec }: Membership): AssembledMember {
    const { callFailed, tools } = this.#options
    const { shows } = compileFilters(spec)
    const { maxResultBytes, overrides } = spec
    const member = new ToolsMember({
      tools,
      alias,
      only: name,
      shows,
      overrides,
      maxResultBytes,
      callFailed,
    })
    const standing = (): MemberStanding =>
      member.items.tools.length > 0
        ? ready
        : { state: 'Missing', reason: 'There is no tool of this name, or filters leave it out.' }
    return { member, kind: 'tool', required: spec.required === true, lists: undefined, standing }
  }

  *#candidates(): Iterable<Candidate> {
    for (const { name, spec } of this.#options.routes.values())
      yield { kind: 'adapter', name, labels: spec.labels ?? {} }
    for (const { tool } of this.#options.tools.entries())
      yield { kind: 'tool', name: tool.name, labels: tool.spec.labels ?? {} }
  }

  /** Something that members show may have changed: of one adapter, or of any. */
  #changed(adapter?: string): void {
    for (const { assembly } of this.#all())
      if (adapter === undefined || assembly.has(adapter)) assembly.invalidate()
    if (adapter === undefined) this.#forgetOthers()
  }

  /** Stops reading the lists of adapters that are members of nothing. */
  #forgetOthers(): void {
    const names = new Set<string>()
    for (const { assembly } of this.#all())
      for (const { lists, member } of assembly.members)
        if (lists !== undefined) names.add(member.name)
    this.#table.keepOnly(names)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) end()
    this.#table[Symbol.dispose]()
    await this.#following?.[Symbol.asyncDispose]()
  }
}

const ready: MemberStanding = { state: 'Ready', reason: undefined }

function mistakesOf(lists: MemberLists | undefined): readonly string[] {
  const known = lists?.snapshot?.lists
  return known === undefined ? [] : Object.values(known).flatMap(({ mistakes }) => mistakes)
}

/** Remembers since when things have been in their state. */
class StateTimes {
  readonly #now: () => number
  readonly #known = new Map<string, { readonly state: string; readonly since: string }>()

  constructor(now: () => number) {
    this.#now = now
  }

  of(key: string, state: string): string {
    let known = this.#known.get(key)
    if (known?.state !== state) {
      known = { state, since: new Date(this.#now()).toISOString() }
      this.#known.set(key, known)
    }
    return known.since
  }
}
