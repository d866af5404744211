import { markOf } from '../../core/fields/alias.ts'

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

/** Names that belong to others, whoever lists them at the moment. */
export type Claimed = (shown: string) => boolean

/**
 * The name of a tool or prompt in an aggregate: `alias_name`. It depends on alias, name and claims
 * alone, so it stays. A name that had to change ends in a mark made from the original.
 */
export function shownName(alias: string, original: string, claimed: Claimed = nobody): string {
  const legal = original.replaceAll(/[^A-Za-z0-9_-]/g, '_')
  const shown = alias === '' ? legal : `${alias}_${legal}`
  const unchanged = legal === original && original !== '' && shown.length <= longestShownName
  if (unchanged && !reserved.has(shown.toLowerCase()) && !claimed(shown)) return shown

  const mark = `_${markOf(original)}`
  return shown.slice(0, longestShownName - mark.length) + mark
}

const nobody: Claimed = () => false

/** The names that overrides give to tools. No other tool of the member gets one of them. */
export function claimedBy(
  alias: string,
  overrides: Readonly<Record<string, { readonly name?: string }>> | undefined,
): ReadonlySet<string> {
  const given = Object.values(overrides ?? {}).flatMap(({ name }) => name ?? [])
  return new Set(given.map((name) => shownName(alias, name)))
}
