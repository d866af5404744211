import type { Principal } from '../../core/principal.ts'
import type { Catalogue, View, ViewList } from '../catalogue/catalogue.ts'
import type { Member } from '../members/member.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'
import type { Glob } from '../../lib/glob.ts'
import { compileTemplate, isWebUri, memberUri, shownUri } from '../names/uris.ts'

/** An item of a list, or the reason why a client's name leads to none. */
export type Found = { readonly item: ShownItem } | { readonly unknown: string }

/**
 * Finds an item by the name that the aggregate shows, or by the name that the member itself uses:
 * pages of MCP Apps, and models that copy from text, know only the latter.
 */
export function findItem(list: ViewList, what: string, name: string): Found {
  const shown = list.find(name)
  if (shown !== undefined) return { item: shown }

  const [first, ...others] = list.named(name)
  if (first !== undefined && others.length === 0) return { item: first }
  const short = name.slice(0, 200)
  if (first === undefined) return { unknown: `Unknown ${what}: ${short}` }
  const candidates = [first, ...others].slice(0, 10).map((item) => item.shown)
  return { unknown: `Several members have the ${what} '${short}'. Use ${candidates.join(' or ')}.` }
}

/** The alias of the member that has an address, whoever may use that member. */
export function aliasOf(catalogue: Pick<Catalogue, 'find'>, uri: string): string | undefined {
  return memberUri(uri)?.alias ?? catalogue.find('resources', uri)?.item.alias
}

/** A resource at its member, or the reason why a client's address leads to none. */
export type Place = { readonly member: Member; readonly uri: string } | { readonly unknown: string }

/** Finds the resource of an address that a client uses. It may be one that nobody lists. */
export function findResource(
  view: View,
  members: ReadonlyMap<string, Member>,
  principal: Principal,
  address: string,
): Place {
  const found = findItem(view.list('resources'), 'resource', address)
  const listed = 'item' in found ? members.get(found.item.alias) : undefined
  if ('item' in found && listed !== undefined) return { member: listed, uri: found.item.original }

  if (isWebUri(address)) {
    const isListed = view.list('resources').named(address).length > 0
    return isListed && 'unknown' in found ? found : findUnlisted(view, members, principal, address)
  }
  const named = memberUri(address)
  const member = named === undefined ? undefined : members.get(named.alias)
  if (named !== undefined && member?.reads(principal, named.uri) === true)
    return { member, uri: named.uri }
  if ('item' in found) return { unknown: removed }
  const isListed = view.list('resources').named(address).length > 0
  return isListed ? found : findUnlisted(view, members, principal, address)
}

/**
 * Finds the member of an address that nobody lists by the templates of members. For a web address
 * that fits none, it is the only member that has resources at all, whose results may link to it.
 */
function findUnlisted(
  view: View,
  members: ReadonlyMap<string, Member>,
  principal: Principal,
  address: string,
): Place {
  const templates = view.list('templates').items
  const fitting = templates.filter((template) => fits(template, address))
  const linking = isWebUri(address) ? [...templates, ...view.list('resources').items] : []
  const offering = fitting.length > 0 ? fitting : linking
  const aliases = [...new Set(offering.map(({ alias }) => alias))]
  const places = aliases.flatMap((alias) => {
    const member = members.get(alias)
    return member?.reads(principal, address) === true ? [{ member, uri: address }] : []
  })

  const [first, ...others] = places
  if (first !== undefined && others.length === 0) return first
  const short = address.slice(0, 200)
  if (first === undefined) return { unknown: `Unknown resource: ${short}` }
  const candidates = places.slice(0, 10).map(({ member }) => shownUri(member.alias, short, true))
  return { unknown: `Several members may have '${short}'. Use ${candidates.join(' or ')}.` }
}

/** Few members have templates. */
const compiled = new WeakMap<ShownItem, Glob>()

function fits(template: ShownItem, address: string): boolean {
  if (isWebUri(template.original) !== isWebUri(address)) return false
  let glob = compiled.get(template)
  if (glob === undefined) compiled.set(template, (glob = compileTemplate(template.original)))
  return glob(address)
}

/** The reason for a name whose member has gone, or is closed to the caller, since it was listed. */
export const removed = 'No server that you may use has this name any more. List again.'
