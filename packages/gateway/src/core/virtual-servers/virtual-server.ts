import type { Owned, ResourceKind } from '../resource.ts'
import type { ToolHints } from '../fields/tool-rules.ts'

/** The parts of a member that a virtual server shows, or leaves out. Globs; absent: no limit. */
export interface ItemFilter {
  readonly tools?: readonly string[]
  readonly prompts?: readonly string[]
  /** Addresses and templates of resources. */
  readonly resources?: readonly string[]
  /** Hints that a tool must give; `hintsOf` supplies the defaults for absent hints. */
  readonly annotations?: Partial<ToolHints>
}

/** Changes to a tool of a member, by the name that the member knows. */
export interface ToolOverride {
  readonly name?: string
  readonly title?: string
  readonly description?: string
  /** Only hints that make the tool look less harmless. */
  readonly annotations?: Partial<ToolHints>
  /** Instead of that of the member. */
  readonly maxResultBytes?: number
}

/** The servers behind a member: one by its name, or all that have certain labels. */
export type MemberTarget =
  | { readonly adapter: string }
  | { readonly tool: string }
  | { readonly selector: Readonly<Record<string, string>> }

/** A member of a virtual server. */
export type MemberSpec = MemberTarget & {
  /** Absent for selectors, whose members have aliases made from their names. */
  readonly alias?: string
  readonly include?: ItemFilter
  readonly exclude?: ItemFilter
  readonly overrides?: Readonly<Record<string, ToolOverride>>
  /** Bytes of a tool's result that clients get whole. Absent: no limit. */
  readonly maxResultBytes?: number
  /** True: without this member, the virtual server refuses requests. */
  readonly required?: true
  readonly questions?: {
    readonly elicitation?: boolean
    readonly urlHosts?: readonly string[]
    readonly sampling?: boolean
    readonly roots?: boolean
  }
}

/** An alias that stood for a server, which is a member no longer or has another alias. */
export interface FormerAlias {
  readonly alias: string
  /** The server, as `memberKey` writes it. */
  readonly member: string
}

/** The adapter or tool that a member names. Undefined for a selector. */
export function namedBy(
  spec: MemberTarget,
): { readonly kind: ResourceKind; readonly name: string } | undefined {
  if ('adapter' in spec) return { kind: 'adapter', name: spec.adapter }
  return 'tool' in spec ? { kind: 'tool', name: spec.tool } : undefined
}

/** One text for each adapter and tool. */
export function memberKey({
  kind,
  name,
}: {
  readonly kind: string
  readonly name: string
}): string {
  return `${kind}/${name}`
}

export interface VirtualServerSpec {
  /** The name that clients show. Absent: the name of the resource. */
  readonly title?: string
  readonly description: string
  /** The operator's text for models. */
  readonly instructions?: string
  /** `none`: the members' own instructions stay away. */
  readonly memberInstructions?: 'none'
  readonly members: readonly MemberSpec[]
  /** Aliases of former members, the latest last. The gateway gives none of them to another. */
  readonly formerAliases?: readonly FormerAlias[]
  /** True if it has, or had, a selector. */
  readonly selects?: true
  /** Shown names of tools that stand in the list of the search mode. */
  readonly pinned?: readonly string[]
  readonly requiredRoles: readonly string[]
  readonly ownerRoles?: readonly string[]
  /** True if anonymous callers may use it. Each member decides for itself all the same. */
  readonly anonymous?: true
}

/**
 * The last lists of an adapter's server, so that its tools stay listed when it is down while a
 * gateway starts. `name` and `uid` are those of the adapter.
 */
export type KeptLists = Owned<{ readonly snapshot: string }, 'lists'>

/** Many MCP servers and tools behind one address. */
export type VirtualServer = Owned<VirtualServerSpec, 'server'>
