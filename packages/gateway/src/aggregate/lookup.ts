import type { Principal } from '../core/principal.ts'
import type { View, ViewList } from './catalogue.ts'
import type { Member } from './member.ts'
import type { ShownItem } from './shown-item.ts'
import { isWebUri, memberUri } from './uris.ts'

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

  const named = isWebUri(address) ? undefined : memberUri(address)
  const member = named === undefined ? undefined : members.get(named.alias)
  if (named !== undefined && member?.reads(principal, named.uri) === true)
    return { member, uri: named.uri }
  return 'unknown' in found ? found : { unknown: removed }
}

/** The reason for a name whose member has gone since the client listed it. */
export const removed = 'The server behind this name has been removed. List anew.'
