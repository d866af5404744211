import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { memberKey, namedBy, type MemberSpec } from '../../core/virtual-servers/virtual-server.ts'
import { withAliases } from './member-aliases.ts'

const adapter = (name: string, alias?: string): MemberSpec => ({
  adapter: name,
  ...(alias === undefined ? {} : { alias }),
})

/** The aliases of members by their servers. */
function aliasesOf({ members }: { readonly members: readonly MemberSpec[] }): Map<string, string> {
  return new Map(
    members.flatMap((member): [string, string][] => {
      const target = namedBy(member)
      return target === undefined ? [] : [[memberKey(target), member.alias ?? '']]
    }),
  )
}

describe('the aliases of named members', () => {
  test('a member keeps its alias when another server stands before it', () => {
    const before = withAliases([adapter('git-hub')], undefined)
    expect(aliasesOf(before).get('adapter/git-hub')).toBe('github')
    const after = withAliases([adapter('github'), adapter('git-hub')], before)
    expect(Object.fromEntries(aliasesOf(after))).toEqual({
      'adapter/github': 'github2',
      'adapter/git-hub': 'github',
    })
  })

  test('no server gets the alias of a former member, which gets it back', () => {
    const first = withAliases([adapter('git-hub')], undefined)
    const second = withAliases([adapter('github')], first)
    expect(aliasesOf(second).get('adapter/github')).toBe('github2')
    const third = withAliases([adapter('github'), adapter('git-hub')], second)
    expect(Object.fromEntries(aliasesOf(third))).toEqual({
      'adapter/github': 'github2',
      'adapter/git-hub': 'github',
    })
    expect(third.formerAliases).toBeUndefined()
  })

  test('an alias that a member gave up goes to no other server by itself', () => {
    const first = withAliases([adapter('git-hub')], undefined)
    const second = withAliases([adapter('git-hub', 'gh')], first)
    const third = withAliases([adapter('git-hub'), adapter('github')], second)
    expect(Object.fromEntries(aliasesOf(third))).toEqual({
      'adapter/git-hub': 'gh',
      'adapter/github': 'github2',
    })
  })

  test('an alias that the body gives wins, and its former holder gets another one', () => {
    const before = withAliases([adapter('git-hub')], undefined)
    const after = withAliases([adapter('git-hub'), adapter('other', 'github')], before)
    expect(Object.fromEntries(aliasesOf(after))).toEqual({
      'adapter/git-hub': 'github2',
      'adapter/other': 'github',
    })
  })

  test('an adapter and a tool of one name are different members', () => {
    const before = withAliases([adapter('a')], undefined)
    expect(withAliases([{ tool: 'a' }], before).members).toEqual([{ tool: 'a', alias: 'a2' }])
  })

  test('whatever is put, an alias stands for one server for ever', () => {
    const name = fc.constantFrom('git-hub', 'github', 'g-ithub', 'git-hub2', 'github2', 'x')
    const definition = fc.uniqueArray(name, { maxLength: 5 })
    fc.assert(
      fc.property(fc.array(definition, { maxLength: 8 }), (definitions) => {
        const servers = new Map<string, string>()
        let stored: ReturnType<typeof withAliases> | undefined
        for (const names of definitions) {
          stored = withAliases(
            names.map((each) => adapter(each)),
            stored,
          )
          const aliases = aliasesOf(stored)
          expect(new Set(aliases.values()).size).toBe(names.length)
          for (const [server, alias] of aliases) {
            expect(servers.get(alias) ?? server).toBe(server)
            servers.set(alias, server)
          }
        }
      }),
    )
  })
})
