import { markedAlias, newAlias, stableAlias } from '../../core/fields/alias.ts'
import {
  memberKey,
  namedBy,
  type FormerAlias,
  type MemberSpec,
  type VirtualServerSpec,
} from '../../core/virtual-servers/virtual-server.ts'

/** Most aliases of former members that a virtual server remembers. */
const mostFormer = 500

type Aliases = Pick<VirtualServerSpec, 'members' | 'formerAliases' | 'selects'>

/**
 * Gives each named member an alias. A member keeps the alias that it has or had, in whatever order
 * it stands, and gets none that another server had. Only an alias that the body gives may move.
 */
export function withAliases(members: readonly MemberSpec[], stored: Aliases | undefined): Aliases {
  const known = knownAliases(stored)
  const given = new Set(members.flatMap(({ alias }) => alias ?? []))
  const used = new Set([...given, ...known.map(({ alias }) => alias)])
  const selects = stored?.selects === true || members.some((each) => 'selector' in each)
  const named = members.map((member) => {
    const target = namedBy(member)
    if (member.alias !== undefined || target === undefined) return member

    const key = memberKey(target)
    const own = known.findLast((each) => each.member === key && !given.has(each.alias))
    const alias = own?.alias ?? freeAlias(target.name, used, selects)
    used.add(alias)
    return { ...member, alias }
  })

  const present = new Set(named.flatMap(({ alias }) => alias ?? []))
  const former = known.filter(({ alias }) => !present.has(alias)).slice(-mostFormer)
  return {
    members: named,
    ...(former.length === 0 ? {} : { formerAliases: former }),
    ...(selects ? { selects: true as const } : {}),
  }
}

/**
 * An alias for a new member. With selectors, it depends on the name alone, so that it is none that
 * another server has or had which a selector found.
 */
function freeAlias(name: string, used: ReadonlySet<string>, selects: boolean): string {
  const own = selects ? [stableAlias(name), markedAlias(name)] : []
  return own.find((alias) => !used.has(alias)) ?? newAlias(name, used)
}

/** The aliases of former members, and then those of the present ones. */
function knownAliases(stored: Aliases | undefined): readonly FormerAlias[] {
  const { formerAliases = [], members = [] } = stored ?? {}
  const present = members.flatMap((member): FormerAlias[] => {
    const target = namedBy(member)
    const { alias } = member
    return target === undefined || alias === undefined ? [] : [{ alias, member: memberKey(target) }]
  })
  return [...formerAliases, ...present]
}
