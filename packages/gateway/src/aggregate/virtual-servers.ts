import { GatewayError } from '../core/errors.ts'
import { authorize, checkKnown } from '../core/permission.ts'
import type { Principal } from '../core/principal.ts'
import type { VirtualServer } from '../core/virtual-servers/virtual-server.ts'
import { monotonicNow } from '../lib/clock.ts'
import type { RouteTable } from '../servers/routes.ts'
import { follow, type Followed } from '../store/follow.ts'
import { routerUid } from '../tools/feed/remote-router.ts'
import { Assembly, type AssemblyOptions, type Definition } from './assembly.ts'
import { MemberFactory, type MemberFactoryOptions } from './members/member-factory.ts'
import { MemberTable, type MemberTableOptions } from './lists/member-table.ts'
import { bodyMayRunTwice } from './calls/repeatable.ts'
import { builtInName, type ServerPlace } from './front/server-path.ts'
import { StateTimes, statusesOf, unreadStatusesOf, type ServerStanding } from './server-status.ts'
import type { Served } from './front/visit.ts'

export interface VirtualServersOptions
  extends MemberFactoryOptions, Omit<AssemblyOptions, 'uid' | 'name'> {
  readonly servers: Followed<VirtualServer>
  readonly routes: Pick<RouteTable, 'get' | 'values' | 'onChange'>
  readonly directory: MemberTableOptions['directory']
  readonly kept: MemberTableOptions['kept']
  readonly room: MemberTableOptions['room']
  /** Milliseconds since the epoch, for the times in statuses. */
  readonly now: () => number
}

/** One definition, and what serves it. */
interface Entry {
  readonly resource: VirtualServer | undefined
  readonly assembly: Assembly
  /** Incarnations of adapters that a caller who may use them has asked for here. */
  readonly wanted: Set<string>
  readonly since: StateTimes
}

/** Most servers that a status names as left out. */
const mostLeftOut = 100

/** All virtual servers, and the built-in one. They follow the store, so no request reads it. */
export class VirtualServers implements AsyncDisposable {
  readonly #options: VirtualServersOptions
  readonly #byName = new Map<string, Entry>()
  readonly #builtIn: Entry
  readonly #table: MemberTable
  readonly #factory: MemberFactory
  readonly #ends: (() => void)[] = []
  #following: AsyncDisposable | undefined

  private constructor(options: VirtualServersOptions) {
    this.#options = options
    const { directory, requests, room, routes, tools } = options
    this.#table = new MemberTable({
      servers: requests,
      adapter: (name) => routes.get(name),
      directory,
      kept: options.kept,
      room,
      changed: (name) => this.#changed(name),
      turned: (name) => this.#noteTimes(name),
      now: monotonicNow,
    })
    this.#factory = new MemberFactory(options, (adapter) => this.#table.listsOf(adapter))
    this.#builtIn = this.#entry(undefined, this.#assembleBuiltIn())
    // Rights, rules and labels may have changed, so everything may look different now.
    this.#ends.push(
      routes.onChange((name) => {
        if (routes.get(name) === undefined) this.#table.forget(name)
        this.#changed()
      }),
      tools.onChange(() => this.#changed()),
      directory.onChange((name) => this.#noteTimes(name)),
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
  find(place: ServerPlace, principal: Principal): Served {
    const entry = this.#permitted(place, principal)
    const { assembly, resource } = entry
    this.#wake(entry, principal)
    const lacking = assembly.lackingFor(principal)
    if (lacking !== undefined)
      throw new GatewayError('no_ready_replica', {
        detail: lacking,
        headers: { 'retry-after': '5' },
      })
    return {
      uid: assembly.uid,
      server: place.searches ? assembly.search : assembly.server,
      leadsElsewhere: () => assembly.server.leadsElsewhere(),
      changed: () => assembly.server.changed(),
      subject: resource,
      stateOwner: (request, caller) => assembly.server.stateOwner(request, caller),
      mayRunTwice: (body, caller) =>
        bodyMayRunTwice(body, () => assembly.server.toolsOf(caller), place.searches),
    }
  }

  /**
   * The incarnation at an address, for a caller who may still use it. It serves open requests even
   * if a required member is away by now.
   * @throws GatewayError `not_found`, `forbidden`, `unauthenticated`
   */
  uidOf(place: ServerPlace, principal: Principal): string {
    return this.#permitted(place, principal).assembly.uid
  }

  #permitted({ name }: ServerPlace, principal: Principal): Entry {
    const entry = name === undefined ? this.#builtIn : this.#byName.get(name)
    if (entry === this.#builtIn) checkKnown(principal)
    else authorize(principal, 'use', entry?.resource)
    if (entry === undefined) throw new GatewayError('not_found')
    return entry
  }

  /**
   * Begins to read the members that a caller may use. Otherwise the owner of a virtual server could
   * make the gateway ask the servers of strangers.
   */
  #wake({ assembly, wanted }: Entry, principal: Principal): void {
    const before = wanted.size
    for (const { kind, lists, member } of assembly.members) {
      if (kind !== 'adapter' || lists !== undefined) continue
      const adapter = this.#options.routes.get(member.name)
      if (adapter === undefined || member.viewKey(principal) === undefined) continue
      wanted.add(adapter.uid)
    }
    if (wanted.size > before) assembly.invalidate()
  }

  /** How a virtual server and its members stand, as far as a caller may know. */
  statusOf(server: VirtualServer, principal: Principal): ServerStanding {
    const entry = this.#byName.get(server.name)
    if (entry?.resource?.uid !== server.uid) return { members: unreadStatusesOf(server) }
    this.#wake(entry, principal)
    const members = statusesOf(entry.resource, entry, principal)
    const leftOut = this.#factory.leftOutOf(entry.resource, principal).slice(0, mostLeftOut)
    return { members, ...(leftOut.length === 0 ? {} : { leftOut }) }
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
      this.#byName.set(name, { ...same, resource })
      same.assembly.redefine(this.#definition(resource, same.wanted))
    } else {
      const wanted = new Set<string>()
      const assembly = this.#assembly(resource.uid, name, this.#definition(resource, wanted))
      this.#byName.set(name, this.#entry(resource, assembly, wanted))
    }
    // The streams of a server that is gone end, so that clients look again.
    if (same === undefined) before?.assembly.close()
    this.#forgetOthers()
  }

  #entry(
    resource: VirtualServer | undefined,
    assembly: Assembly,
    wanted = new Set<string>(),
  ): Entry {
    return { resource, assembly, wanted, since: new StateTimes(this.#options.now) }
  }

  #definition(server: VirtualServer, wanted: ReadonlySet<string>): Definition {
    const { name, spec } = server
    return {
      title: spec.title ?? name,
      instructions: spec.instructions,
      memberInstructions: spec.memberInstructions ?? 'attributed',
      pinned: spec.pinned ?? [],
      members: (clashes) => this.#factory.membersOf(server, wanted, clashes),
    }
  }

  /** `/mcp`: all registered tools by their own names, and the adapters that join it. */
  #assembleBuiltIn(): Assembly {
    return this.#assembly(routerUid, builtInName, {
      title: 'MCP Gateway tools',
      instructions: undefined,
      memberInstructions: 'attributed',
      pinned: [],
      members: (clashes) => this.#factory.builtIn(clashes),
    })
  }

  #assembly(uid: string, name: string, definition: Definition): Assembly {
    return new Assembly({ ...this.#options, uid, name }, definition)
  }

  /** Something that members show may have changed: of one adapter, or of any. */
  #changed(adapter?: string): void {
    for (const { assembly } of this.#all())
      if (adapter === undefined || assembly.has(adapter)) assembly.invalidate()
    if (adapter === undefined) this.#forgetOthers()
    this.#noteTimes(adapter)
  }

  /** Members may have come into other states: one adapter, or any of them. */
  #noteTimes(adapter?: string): void {
    for (const { assembly, since } of this.#byName.values())
      if (adapter === undefined || assembly.has(adapter)) since.note(assembly.members)
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
