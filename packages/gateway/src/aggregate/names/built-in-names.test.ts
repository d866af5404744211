import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { builtInNames, type Claim } from './built-in-names.ts'
import { shownName } from './names.ts'

const claim = (name: string, day: number, resource = name): Claim => ({
  name,
  resource,
  since: `2026-01-${String(day).padStart(2, '0')}T00:00:00.000Z`,
})

describe('the names at /mcp', () => {
  test('a tool that comes after an adapter cannot take the name of one of its tools', () => {
    const { ceded, kept } = builtInNames(
      [claim('github', 2)],
      [claim('github_create_issue', 3), claim('github', 3), claim('weather', 3)],
    )
    expect([...ceded]).toEqual(['github_create_issue'])
    expect([...kept]).toEqual([])
  })

  test('an adapter that joins later cannot take the name of a tool', () => {
    const { ceded, kept } = builtInNames([claim('get', 2)], [claim('get_weather', 1)])
    expect([...ceded]).toEqual([])
    expect([...kept]).toEqual(['get_weather'])
  })

  test('the earlier one of two adapters with one alias owns the names', () => {
    const adapters = [claim('x', 3, 'late'), claim('x', 1, 'early')]
    expect([...builtInNames(adapters, [claim('x_y', 2)]).ceded]).toEqual(['x_y'])
  })

  test('no tool and no item of an adapter have one name, in whatever order they come', () => {
    const day = fc.integer({ min: 1, max: 28 })
    const word = fc.constantFrom('a', 'b', 'a_b', 'b_a', 'a_b_a', 'c')
    const alias = fc.constantFrom('a', 'b')
    const adapters = fc.uniqueArray(fc.tuple(alias, day), { selector: ([name]) => name })
    const tools = fc.uniqueArray(fc.tuple(word, day), { selector: ([name]) => name })
    fc.assert(
      fc.property(adapters, tools, fc.array(word), (joined, registered, items) => {
        const adaptersOf = joined.map(([name, at]) => claim(name, at))
        const toolsOf = registered.map(([name, at]) => claim(name, at))
        const { ceded, kept } = builtInNames(adaptersOf, toolsOf)
        expect(builtInNames(adaptersOf.toReversed(), toolsOf.toReversed())).toEqual({ ceded, kept })

        const own = toolsOf.map(({ name }) =>
          ceded.has(name) ? shownName('', name, () => true) : name,
        )
        const shown = adaptersOf.flatMap(({ name }) =>
          [...new Set(items)].map((item) => shownName(name, item, (each) => kept.has(each))),
        )
        expect(new Set([...own, ...shown]).size).toBe(own.length + shown.length)
      }),
    )
  })
})
