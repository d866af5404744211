import { samePrincipal, type Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import type { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { ServerRequests } from '../../servers/server-requests.ts'
import { AdapterMember, type AdapterMemberOptions } from './adapter-member.ts'
import type { AssembledMember } from './assembled-member.ts'
import { Candidates, type CandidatesOptions } from './candidates.ts'
import type { MemberLists } from '../lists/member-lists.ts'
import { compileFilters, type LeftOut, type Membership } from './membership.ts'
import { adapterStanding, missing, ready, type MemberStanding } from './standing.ts'
import { ToolsMember } from './tools-member.ts'

export interface MemberFactoryOptions extends CandidatesOptions {
  readonly directory: Pick<ReplicaDirectory, 'get'>
  readonly guard: AdapterMemberOptions['guard']
  readonly requests: ServerRequests
  /** A call of a registered tool ended with an unexpected error. */
  readonly callFailed: (error: unknown, requestId: string) => void
}

type Clashes = AdapterMemberOptions['clashes']

/** Makes the members of virtual servers out of the adapters and tools of this moment. */
export class MemberFactory {
  readonly #options: MemberFactoryOptions
  readonly #candidates: Candidates
  readonly #listsOf: (adapter: Adapter) => MemberLists

  /** @param listsOf the lists of an adapter, which the gateway reads from then on */
  constructor(options: MemberFactoryOptions, listsOf: (adapter: Adapter) => MemberLists) {
    this.#options = options
    this.#candidates = new Candidates(options)
    this.#listsOf = listsOf
  }

  /**
   * The members of a virtual server. `wanted` holds incarnations of adapters that the gateway may
   * read besides those of the server's owner.
   */
  membersOf(
    server: VirtualServer,
    wanted: ReadonlySet<string>,
    clashes: Clashes,
  ): readonly AssembledMember[] {
    const reads = (adapter: Adapter): boolean =>
      samePrincipal(adapter.owner, server.owner) || wanted.has(adapter.uid)
    return this.#candidates
      .membersOf(server)
      .map((membership) =>
        membership.kind === 'adapter'
          ? this.#adapter(membership, { clashes, reads })
          : this.#tool(membership),
      )
  }

  /** The servers that selectors find and do not take, as far as a caller may see them. */
  leftOutOf(server: VirtualServer, principal: Principal): readonly LeftOut[] {
    return this.#candidates.leftOutOf(server, principal)
  }

  /** The members of `/mcp`: all registered tools, and the adapters that join it. */
  builtIn(clashes: Clashes): readonly AssembledMember[] {
    const { callFailed, tools } = this.#options
    const { ceded, joining, kept } = this.#candidates.joining()
    const member = new ToolsMember({
      tools,
      alias: '',
      shows: () => true,
      claimed: (name) => ceded.has(name),
      callFailed,
    })
    return [
      { member, kind: 'tool', required: false, lists: undefined, standing: () => ready },
      ...joining.map(({ name: alias, resource: name }) =>
        this.#adapter(
          { alias, kind: 'adapter', name, spec: { adapter: name } },
          { clashes, reads: () => true, claimed: (shown) => kept.has(shown) },
        ),
      ),
    ]
  }

  #adapter(
    membership: Membership,
    {
      reads,
      ...names
    }: Pick<AdapterMemberOptions, 'clashes' | 'claimed'> & {
      /** True if the gateway may read the lists of the adapter here. */
      readonly reads: (adapter: Adapter) => boolean
    },
  ): AssembledMember {
    const { directory, guard, requests, routes } = this.#options
    const { name, spec } = membership
    const adapter = routes.get(name)
    const lists = adapter !== undefined && reads(adapter) ? this.#listsOf(adapter) : undefined
    const member = new AdapterMember({
      ...names,
      membership,
      adapter: () => routes.get(name),
      servers: requests,
      guard,
      lists,
    })
    return {
      member,
      kind: 'adapter',
      required: spec.required === true,
      lists,
      standing: () => adapterStanding(routes.get(name), directory.get(name), lists),
    }
  }

  #tool({ alias, name, spec }: Membership): AssembledMember {
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
      tools.byResource(name) === undefined ? missing('tool') : ready
    return { member, kind: 'tool', required: spec.required === true, lists: undefined, standing }
  }
}
