import type { ItemFilter, MemberSpec, VirtualServerSpec } from '../core/virtual-server.ts'
import type { ResourceKind } from '../core/resource.ts'
import { hintsOf, type ToolHints } from '../core/fields/tool-rules.ts'
import { compileGlob, type Glob } from '../lib/glob.ts'
import type { ListKind } from './list-kinds.ts'
import { newAlias, stableAlias } from '../core/fields/alias.ts'
import type { ShownItem } from './shown-item.ts'

/** An adapter or tool, as far as membership needs it. */
export interface Candidate {
  readonly kind: ResourceKind
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

/** A server that belongs to a virtual server, or is meant to. */
export interface Membership {
  readonly alias: string
  readonly kind: ResourceKind
  readonly name: string
  readonly spec: MemberSpec
}

/** Most servers that the selectors of one virtual server may find. */
export const mostMembers = 200

/** The members of a virtual server, and what keeps others out. */
export interface Memberships {
  readonly members: readonly Membership[]
  /** Servers that the selectors find beyond the limit. */
  readonly beyond: number
}

/**
 * Finds the members of a virtual server. A server that is named stands before one that a selector
 * finds, and no server is a member twice. Aliases do not depend on who else is a member.
 */
export function membershipsOf(
  { members }: Pick<VirtualServerSpec, 'members'>,
  candidates: Iterable<Candidate>,
): Memberships {
  const found = new Map<string, Membership>()
  const aliases = new Set(members.flatMap(({ alias }) => alias ?? []))
  for (const spec of members) {
    const [kind, name] = namedBy(spec)
    if (name === undefined) continue
    const alias = spec.alias ?? newAlias(name, aliases)
    aliases.add(alias)
    found.set(`${kind}/${name}`, { alias, kind, name, spec })
  }

  let beyond = 0
  const all = [...candidates].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  for (const spec of members) {
    if (!('selector' in spec)) continue
    for (const { kind, name, labels } of all) {
      if (found.has(`${kind}/${name}`) || !fits(spec.selector, labels)) continue
      if (found.size >= mostMembers) {
        beyond += 1
        continue
      }
      const wanted = stableAlias(name)
      const alias = aliases.has(wanted) ? newAlias(name, aliases) : wanted
      aliases.add(alias)
      found.set(`${kind}/${name}`, { alias, kind, name, spec })
    }
  }
  return { members: [...found.values()], beyond }
}

function namedBy(spec: MemberSpec): readonly [ResourceKind, string | undefined] {
  if ('adapter' in spec) return ['adapter', spec.adapter]
  return ['tool', 'tool' in spec ? spec.tool : undefined]
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

/** Compiles what a member includes and excludes. */
export function compileFilters({ include, exclude }: Pick<MemberSpec, 'include' | 'exclude'>): {
  readonly shows: ShowsItem
} {
  const included = include === undefined ? undefined : compileFilter(include)
  const excluded = exclude === undefined ? undefined : compileFilter(exclude)
  return {
    shows: (item) => included?.(item) !== false && excluded?.(item) !== true,
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
