import { stableAlias } from '../../core/fields/alias.ts'
import { mayRead, type Guarded } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import { isOfOperator, type Resource, type ResourceKind } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import type { RouteTable } from '../../servers/routes.ts'
import type { RegisteredTools } from '../../tools/registered-tools.ts'
import { builtInNames, byTime, type Claim, type ToolNames } from '../names/built-in-names.ts'
import { membershipsOf, type Candidate, type LeftOut, type Membership } from './membership.ts'

export interface CandidatesOptions {
  readonly routes: Pick<RouteTable, 'get' | 'values'>
  readonly tools: RegisteredTools
}

/** The adapters and tools of this moment, and which of them are members of what. */
export class Candidates {
  readonly #options: CandidatesOptions

  constructor(options: CandidatesOptions) {
    this.#options = options
  }

  membersOf(server: VirtualServer): readonly Membership[] {
    return membershipsOf(server, this.#all()).members
  }

  /** The servers that selectors find and do not take, as far as a caller may see them. */
  leftOutOf(server: VirtualServer, principal: Principal): readonly LeftOut[] {
    return membershipsOf(server, this.#all()).leftOut.filter(({ kind, name }) => {
      const resource = this.#resource(kind, name)
      return resource !== undefined && mayRead(principal, resource)
    })
  }

  /** The adapters that join `/mcp`, by age, and the names that they and the tools have there. */
  joining(): ToolNames & { readonly joining: readonly Claim[] } {
    const { routes, tools } = this.#options
    const joining = [...routes.values()]
      .filter(({ spec }) => spec.aggregate === true)
      .map((adapter) => claimOf(adapter, stableAlias(adapter.name)))
      .toSorted(byTime)
    const registered = [...tools.entries()].map(({ name, tool }) => claimOf(tool, name))
    return { joining, ...builtInNames(joining, registered) }
  }

  #resource(kind: ResourceKind, name: string): Guarded | undefined {
    const { routes, tools } = this.#options
    return kind === 'adapter' ? routes.get(name) : tools.byResource(name)
  }

  *#all(): Iterable<Candidate> {
    for (const adapter of this.#options.routes.values()) yield candidateOf('adapter', adapter)
    for (const { tool } of this.#options.tools.entries()) yield candidateOf('tool', tool)
  }
}

function candidateOf(
  kind: ResourceKind,
  resource: Pick<Resource, 'name' | 'owner' | 'createdAt' | 'declared' | 'spec'>,
): Candidate {
  const { createdAt, name, owner, spec } = resource
  const labels = spec.labels ?? {}
  return { kind, name, labels, owner, createdAt, isOfOperator: isOfOperator(resource) }
}

function claimOf(
  { createdAt, name: resource, namedSince }: Pick<Resource, 'createdAt' | 'name' | 'namedSince'>,
  name: string,
): Claim {
  return { name, resource, since: namedSince ?? createdAt }
}
