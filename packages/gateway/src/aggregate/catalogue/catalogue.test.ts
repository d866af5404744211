import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../../core/principal.ts'
import { Catalogue, type ViewList, type CatalogueMember } from './catalogue.ts'
import { showItem, type ShownItem } from './shown-item.ts'

const caller = (...roles: string[]): Principal => ({ id: 'a', issuer: 'i', name: 'a', roles })

function tool(alias: string, name: string, more: object = {}): ShownItem {
  const json = JSON.stringify({ name, ...more })
  return showItem('tools', { alias, name: alias }, { key: name, json })
}

function memberOf(
  tools: readonly ShownItem[],
  rights: Partial<CatalogueMember> = {},
  resources: readonly ShownItem[] = [],
): CatalogueMember {
  const items = { tools, prompts: [], resources, templates: [] }
  return { items, viewKey: () => '', permits: () => true, ...rights }
}

/** The list of a caller who sees all these tools. */
function listOf(tools: readonly ShownItem[]): ViewList {
  return new Catalogue([memberOf(tools)]).view(caller()).list('tools')
}

const names = (list: ViewList): readonly string[] => list.items.map(({ shown }) => shown)

describe('the view of a caller', () => {
  test('a view holds what every member permits, sorted by name', () => {
    const admins = { viewKey: ({ roles }: Principal) => (roles.includes('x') ? 'x' : undefined) }
    const catalogue = new Catalogue([
      memberOf([tool('b', 'two'), tool('b', 'one')]),
      memberOf([tool('a', 'one'), tool('a', 'two')], {
        permits: (_principal, { original }) => original === 'two',
      }),
      memberOf([tool('c', 'secret')], admins),
    ])
    expect(names(catalogue.view(caller()).list('tools'))).toEqual(['a_two', 'b_one', 'b_two'])
    expect(names(catalogue.view(caller('x')).list('tools'))).toContain('c_secret')
  })

  test('callers who see the same items share a view', () => {
    const byRole = { viewKey: ({ roles }: Principal) => String(roles.includes('x')) }
    const catalogue = new Catalogue([memberOf([tool('a', 'one')], byRole)])
    expect(catalogue.view(caller('y'))).toBe(catalogue.view(caller()))
    expect(catalogue.view(caller('x'))).not.toBe(catalogue.view(caller()))
    expect(catalogue.view(caller('x')).list('tools')).toBe(catalogue.view(caller()).list('tools'))
  })

  test('a list whose items all stay is the same list in the next catalogue', () => {
    const [one, two] = [tool('a', 'one'), tool('b', 'two')]
    const before = new Catalogue([memberOf([one]), memberOf([two])])
    const listIn = (catalogue: Catalogue): ViewList => catalogue.view(caller()).list('tools')
    const list = listIn(before)
    expect(listIn(new Catalogue([memberOf([one, two])], before))).toBe(list)
    expect(listIn(new Catalogue([memberOf([one, two])]))).not.toBe(list)

    const more = new Catalogue([memberOf([one, two, tool('c', 'three')])], before)
    expect(names(listIn(more))).toEqual(['a_one', 'b_two', 'c_three'])
    const less = new Catalogue([memberOf([tool('a', 'one')])], before)
    expect(names(listIn(less))).toEqual(['a_one'])
  })

  test('a name that no member shows alone leads to all items that are called so', () => {
    const catalogue = new Catalogue([
      memberOf([tool('a', 'run'), tool('a', 'only')]),
      memberOf([tool('b', 'run')]),
    ])
    const tools = catalogue.view(caller()).list('tools')
    expect(tools.named('run').map(({ shown }) => shown)).toEqual(['a_run', 'b_run'])
    expect(tools.named('only')).toEqual([tools.find('a_only')])
    expect(tools.named('a_only')).toEqual([])
  })

  test('a tool loses its user interface for a caller who may not read the resource', () => {
    const chart = tool('a', 'chart', { _meta: { ui: { resourceUri: 'ui://x/y' } } })
    const json = '{"uri":"ui://x/y"}'
    const page = showItem('resources', { alias: 'a', name: 'a' }, { key: 'ui://x/y', json })
    const item = (members: readonly CatalogueMember[]): string =>
      new Catalogue(members).view(caller()).list('tools').find('a_chart')?.json ?? ''
    expect(item([memberOf([chart], {}, [page])])).toContain('ui://a+x/y')
    expect(item([memberOf([chart])])).not.toContain('ui://')
  })
})

describe('pages of a view', () => {
  const keys = fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9_-]{1,8}$/), { maxLength: 60 })

  test('pages in a row hold every item once, whatever is added or removed in between', () => {
    fc.assert(
      fc.property(keys, keys, fc.integer({ min: 1, max: 9 }), (stay, flicker, size) => {
        const others = flicker.filter((name) => !stay.includes(name))
        const seen: string[] = []
        let after = ''
        for (let turn = 0; ; turn += 1) {
          const now = turn % 2 === 0 ? stay : [...stay, ...others]
          const tools = now.map((name) => tool('a', name))
          const { items, next } = listOf(tools).page(after, size)
          seen.push(...items.map(({ original }) => original))
          if (next === undefined) break
          after = next
        }
        expect(new Set(seen).size).toBe(seen.length)
        for (const name of stay) expect(seen).toContain(name)
      }),
    )
  })

  test('the last page names no next page', () => {
    const list = listOf([tool('a', '1'), tool('a', '2')])
    expect(list.page('', 2).next).toBeUndefined()
    expect(list.page('', 1).next).toBe('a_1')
    expect(list.page('a_1', 1).next).toBeUndefined()
    expect(list.page('b', 1)).toEqual({ items: [], next: undefined })
  })
})
