import { describe, expect, test } from 'vitest'
import { ScriptedMember } from '../../../test/fixtures/scripted-aggregate.ts'
import { ViewList } from '../catalogue/catalogue.ts'
import { SearchIndexes } from './search-indexes.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'
import { indexLimits, ToolSearch } from './tool-search.ts'

/** Words that come nowhere else. */
function wordsFrom(first: number, length: number): string {
  let text = ''
  for (let n = first; text.length < length; n += 1) text += `w${(n * 7919).toString(36)} `
  return text
}

function toolsOf(alias: string, count: number, length: number): readonly ShownItem[] {
  const member = new ScriptedMember(alias, [])
  for (let n = 0; n < count; n += 1) {
    const description = wordsFrom(n * 10_000, length)
    member.list('tools', `tool-${n}`, { name: `tool-${n}`, description })
  }
  return member.items.tools
}

describe('the index of a view', () => {
  test('a member whose tools have endless texts leaves room for those of others', async () => {
    const flood = toolsOf('flood', 1000, 8000)
    const named = new ScriptedMember('mail', ['send'])
    named.list('tools', 'archive', {
      name: 'archive',
      description: `${'Moves a letter. '.repeat(50)} Evermore.`,
    })
    const search = new ToolSearch([...flood, ...named.items.tools])
    await search.ready
    expect(search.length).toBeLessThanOrEqual(indexLimits.whole)
    expect(search.find('evermore', 3).map(({ tool }) => tool.shown)).toEqual(['mail_archive'])
    expect(search.find('tool 999', 50).some(({ tool }) => tool.alias === 'flood')).toBe(true)
  })

  test('tools without end leave room for those of others', async () => {
    const flood = Array.from({ length: 4 }, (_, n) => toolsOf(`flood${n}`, 10_000, 20))
    const search = new ToolSearch([...flood.flat(), ...toolsOf('z', 3, 100)])
    await search.ready
    expect(search.length).toBeLessThanOrEqual(indexLimits.whole)
    expect(search.find('z', 3).map(({ tool }) => tool.alias)).toEqual(['z', 'z', 'z'])
  })

  test('a long list is indexed in turns, and other work runs between them', async () => {
    const search = new ToolSearch(toolsOf('a', 500, 1000))
    let turns = 0
    const timer = setInterval(() => (turns += 1), 0)
    await search.ready
    clearInterval(timer)
    expect(turns).toBeGreaterThan(5)
    expect(search.find('tool 17', 1)).toHaveLength(1)
  })

  test('a short list can be searched at once', () => {
    const search = new ToolSearch(toolsOf('a', 20, 100))
    expect(search.ready).toBeUndefined()
    expect(search.find('tool', 50)).toHaveLength(20)
  })

  test('the first words of an endless query count', () => {
    const search = new ToolSearch(toolsOf('a', 3, 50))
    expect(search.find(`tool ${wordsFrom(9_000_000, 5000)}`, 3)).toHaveLength(3)
  })
})

describe('the indexes of all views', () => {
  test('the index that was searched least recently is dropped beyond the bound', () => {
    const lists = Array.from({ length: 4 }, (_, n) => new ViewList(toolsOf(`a${n}`, 5, 100)))
    const one = new SearchIndexes()
    one.of(lists[0] as ViewList)
    const indexes = new SearchIndexes(one.size * 3.5)
    const use = (index: number): ToolSearch => indexes.of(lists[index] as ViewList)
    const [first, second] = [use(0), use(1)]
    use(2)
    expect(use(0)).toBe(first)
    use(3)
    expect(use(0)).toBe(first)
    expect(use(1)).not.toBe(second)
    expect(indexes.size).toBeLessThanOrEqual(one.size * 3.5)
  })
})
