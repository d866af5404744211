import {
  memberKey,
  namedBy,
  type ItemFilter,
  type MemberSpec,
  type VirtualServer,
} from '../../core/virtual-servers/virtual-server.ts'
import { samePrincipal } from '../../core/principal.ts'
import type { Owner, ResourceKind } from '../../core/resource.ts'
import { hintsOf, type ToolHints } from '../../core/fields/tool-rules.ts'
import { compileGlob, type Glob } from '../../lib/glob.ts'
import type { ListKind } from '../lists/list-kinds.ts'
import { stableAlias } from '../../core/fields/alias.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'

/** An adapter or tool, as far as membership needs it. */
export interface Candidate {
  readonly kind: ResourceKind
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly owner: Owner
  /** True if an administrator or a declared file chose what it is. */
  readonly isOfOperator: boolean
  readonly createdAt: string
}

/** A server that belongs to a virtual server, or is meant to. */
export interface Membership {
  readonly alias: string
  readonly kind: ResourceKind
  readonly name: string
  readonly spec: MemberSpec
}

/** Most servers that one virtual server may have as members through its selectors. */
export const mostMembers = 200

/** A server that a selector finds, and that is no member all the same. */
export interface LeftOut {
  readonly kind: ResourceKind
  readonly name: string
  readonly reason: string
}

/** The members of a virtual server, and what keeps others out. */
export interface Memberships {
  readonly members: readonly Membership[]
  readonly leftOut: readonly LeftOut[]
}

/**
 * Finds the members of a virtual server, each once. Named servers stand before those that a selector
 * finds, and these by age. The alias of the latter depends on the name alone.
 */
export function membershipsOf(
  { owner, spec: { members, formerAliases = [] } }: Pick<VirtualServer, 'owner' | 'spec'>,
  candidates: Iterable<Candidate>,
): Memberships {
  const found = new Map<string, Membership>()
  for (const spec of members) {
    const target = namedBy(spec)
    if (target === undefined || found.has(memberKey(target))) continue
    found.set(memberKey(target), { ...target, alias: spec.alias ?? stableAlias(target.name), spec })
  }

  const selectors = members.flatMap((spec) => ('selector' in spec ? [spec] : []))
  const former = new Map(formerAliases.map(({ alias, member }) => [alias, member]))
  const leftOut: LeftOut[] = []
  const selected = selectors.length === 0 ? [] : [...candidates].toSorted(byAge)
  for (const candidate of selected) {
    const spec = selectors.find(({ selector }) => fits(selector, candidate.labels))
    if (spec === undefined || found.has(memberKey(candidate))) continue

    const { kind, name } = candidate
    const alias = stableAlias(name)
    const holder = former.get(alias) ?? memberKey(candidate)
    const reason =
      holder === memberKey(candidate)
        ? refusalOf(candidate, owner, found.size)
        : `The alias '${alias}' stood for ${holder}. Name it as a member, with another alias.`
    if (reason !== undefined) leftOut.push({ kind, name, reason })
    else found.set(memberKey(candidate), { alias, kind, name, spec })
  }
  return { members: [...found.values()], leftOut }
}

/**
 * Why a selector does not take a server. Anyone can set labels, so the labels of strangers do not
 * count: their tools and texts would reach the models of others.
 */
function refusalOf(candidate: Candidate, owner: Owner, count: number): string | undefined {
  if (!candidate.isOfOperator && !samePrincipal(candidate.owner, owner))
    return (
      'It belongs to somebody other than the owner of the virtual server. ' +
      'Name it as a member if it is meant to be one.'
    )
  if (count >= mostMembers)
    return `The virtual server has ${mostMembers} members already. Use a narrower selector.`
  return undefined
}

function byAge(a: Candidate, b: Candidate): number {
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? -1 : 1
  return a.name < b.name ? -1 : 1
}

function fits(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  const wanted = Object.entries(selector)
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
}

/** Tells whether a member shows an item. `resources` covers templates, too. */
export type ShowsItem = (item: Pick<ShownItem, 'kind' | 'original' | 'hints'>) => boolean

/** Compiles what a member includes and excludes. `leavesOut`: it is excluded by its own name. */
export function compileFilters({ include, exclude }: Pick<MemberSpec, 'include' | 'exclude'>): {
  readonly shows: ShowsItem
  readonly leavesOut: ShowsItem
} {
  const included = include === undefined ? undefined : compileFilter(include)
  const excluded = exclude === undefined ? undefined : compileFilter(exclude)
  return {
    shows: (item) => included?.(item) !== false && excluded?.(item) !== true,
    leavesOut: (item) => excluded?.(item) === true,
  }
}

/**
 * Undefined for an item of a kind that the filter does not speak of. Names and hints of a filter
 * must both fit.
 */
function compileFilter(
  filter: ItemFilter,
): (item: Parameters<ShowsItem>[0]) => boolean | undefined {
  const globs: Partial<Record<ListKind, readonly Glob[]>> = {}
  for (const [kind, member] of filterMembers) {
    const patterns = filter[member]
    if (patterns !== undefined) globs[kind] = patterns.map((pattern) => compileGlob(pattern))
  }
  const hints = Object.entries(filter.annotations ?? {}) as [keyof ToolHints, boolean][]
  return ({ kind, original, hints: given }) => {
    const names = globs[kind]
    const judgesHints = kind === 'tools' && hints.length > 0
    if (names === undefined && !judgesHints) return undefined
    const known = given ?? hintsOf(undefined)
    const hintsFit = !judgesHints || hints.every(([hint, value]) => known[hint] === value)
    return hintsFit && (names === undefined || names.some((glob) => glob(original)))
  }
}

const filterMembers = [
  ['tools', 'tools'],
  ['prompts', 'prompts'],
  ['resources', 'resources'],
  ['templates', 'resources'],
] as const
