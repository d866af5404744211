import { aliasPattern, markOf } from '../core/fields/alias.ts'

/**
 * The longest name that an aggregate shows. Clients allow 64 characters or fewer, and some of them
 * put a prefix of their own before the name.
 */
export const longestShownName = 45

/** Names of the search mode's own tools. No tool of a member is shown under one of them. */
export const searchTools = [
  'search_tools',
  'describe_tools',
  'call_read_tool',
  'call_tool',
] as const

const reserved: ReadonlySet<string> = new Set(searchTools)

/**
 * The name of a member's tool or prompt in an aggregate: `alias_name`. The name depends on no other
 * member, so it stays. A name that had to change ends in a mark made from the original.
 */
export function shownName(alias: string, original: string): string {
  const legal = original.replaceAll(/[^A-Za-z0-9_-]/g, '_')
  const shown = `${alias}_${legal}`
  const unchanged = legal === original && original !== '' && shown.length <= longestShownName
  if (unchanged && !reserved.has(shown.toLowerCase())) return shown

  const mark = `_${markOf(original)}`
  return shown.slice(0, longestShownName - mark.length) + mark
}

/** The alias in a shown name; undefined if the name has none. */
export function aliasOf(shown: string): string | undefined {
  const end = shown.indexOf('_')
  const alias = end === -1 ? '' : shown.slice(0, end)
  return aliasPattern.test(alias) ? alias : undefined
}
