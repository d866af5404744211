import type { Mistake } from '../../core/errors.ts'
import { memberKey } from '../../core/virtual-servers/virtual-server.ts'
import { tableOf } from '../../lib/json/table-of.ts'

/** Things that only one member, or one override, may have. `members` may hold anything. */
export function memberMistakes(members: readonly unknown[]): readonly Mistake[] {
  const mistakes: Mistake[] = []
  const aliases = new Set<unknown>()
  const targets = new Set<string>()
  for (const [index, member] of members.entries()) {
    const { adapter, alias, overrides, tool } = tableOf(member)
    if (alias !== undefined && aliases.has(alias))
      mistakes.push({
        pointer: `/members/${index}/alias`,
        code: 'alias_taken',
        detail: 'must differ from the alias of every other member',
      })
    aliases.add(alias)

    for (const [kind, name] of Object.entries({ adapter, tool })) {
      if (typeof name !== 'string') continue
      const target = memberKey({ kind, name })
      if (targets.has(target))
        mistakes.push({
          pointer: `/members/${index}/${kind}`,
          code: 'member_repeated',
          detail: 'must not be a member already; filters and overrides stand in one member',
        })
      targets.add(target)
    }
    mistakes.push(...overrideMistakes(tableOf(overrides), `/members/${index}/overrides`))
  }
  return mistakes
}

function overrideMistakes(
  overrides: Readonly<Record<string, unknown>>,
  place: string,
): readonly Mistake[] {
  const names = new Set<unknown>()
  const mistakes: Mistake[] = []
  for (const [tool, override] of Object.entries(overrides)) {
    const { name } = tableOf(override)
    if (name !== undefined && names.has(name))
      mistakes.push({
        pointer: `${place}/${tool.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}/name`,
        code: 'override_repeated',
        detail: 'must differ from the name in every other override of the member',
      })
    names.add(name)
  }
  return mistakes
}
