import { describe, expect, test } from 'vitest'
import { describedTools, questions } from '../../../test/fixtures/search-queries.ts'
import { ViewList } from '../catalogue/catalogue.ts'
import { showItem } from '../catalogue/shown-item.ts'
import { ToolSearch } from './tool-search.ts'

/** Tools of services that nobody asks for, so that there are a thousand in all. */
function others(count: number): { server: string; name: string; description: string }[] {
  const verbs = ['list', 'get', 'create', 'update', 'delete', 'search', 'export', 'archive']
  const things = ['shipment', 'vehicle', 'policy', 'claim', 'lesson', 'recipe', 'sensor', 'ticket']
  const parts = ['history', 'owner', 'attachment', 'schedule', 'report', 'contact', 'tag', 'note']
  return Array.from({ length: count }, (_, index) => {
    const verb = verbs[index % 8] ?? ''
    const thing = things[(index >> 3) % 8] ?? ''
    const part = parts[(index >> 6) % 8] ?? ''
    const name = `${verb}_${thing}_${part}`
    const description = `${verb} the ${part} of a ${thing} in region ${index >> 9}`
    return { server: `service${index >> 7}`, name, description }
  })
}

const tools = [...describedTools, ...others(1000 - describedTools.length)].map(
  ({ server, ...tool }) =>
    showItem(
      'tools',
      { alias: server, name: server },
      { key: tool.name, json: JSON.stringify({ ...tool, inputSchema: { type: 'object' } }) },
    ),
)
const search = new ToolSearch(new ViewList(tools).items)
const found = (question: string): string[] => search.find(question, 5).map(({ tool }) => tool.shown)

describe('search among a thousand tools', () => {
  test('a right tool is among the first five for nine of ten questions', async () => {
    await search.ready
    expect(tools).toHaveLength(1000)
    expect(questions).toHaveLength(100)
    const names = new Set(tools.map(({ shown }) => shown))
    for (const [, ...right] of questions)
      expect(right.filter((name) => !names.has(name))).toEqual([])
    const missed = questions
      .filter(([question, ...right]) => !found(question).some((name) => right.includes(name)))
      .map(([question]) => `${question}: ${found(question).join()}`)
    expect(missed.length, missed.join('\n')).toBeLessThanOrEqual(10)
  })
})
