import { readObject, type RawObject } from '@mcp-gateway/protocol'
import { describe, expect, test, vi } from 'vitest'
import { MemberLists } from './member-lists.ts'

type Script = (method: string, params: RawObject) => unknown

function listsOf(script: Script) {
  let now = 0
  const asked: string[] = []
  const changed = vi.fn<() => void>()
  const lists = new MemberLists({
    ask: async (method, params) => {
      asked.push(method)
      const result = await script(method, params)
      return readObject(JSON.stringify(result)) ?? new Map<string, string>()
    },
    changed,
    now: () => now,
  })
  return { lists, asked, changed, pass: (ms: number): void => void (now += ms) }
}

const keys = ({ snapshot }: MemberLists): readonly string[] =>
  snapshot?.lists.tools.items.map(({ key }) => key) ?? []

function serverWith(tools: () => readonly string[]): Script {
  return (method) =>
    method === 'server/discover'
      ? { capabilities: { tools: {} }, instructions: 'Ask.', _meta: { [infoKey]: { name: 'x' } } }
      : { tools: tools().map((name) => ({ name })) }
}
const infoKey = 'io.modelcontextprotocol/serverInfo'

describe('the lists of a member', () => {
  test('a snapshot holds all pages of the lists that the server has', async () => {
    const { lists, asked } = listsOf((method, params) => {
      if (method === 'server/discover') return { capabilities: { resources: {}, completions: {} } }
      if (method === 'resources/templates/list') return { resourceTemplates: [] }
      return params.has('cursor')
        ? { resources: [{ uri: 'x:2' }] }
        : { resources: [{ uri: 'x:1' }], nextCursor: '2' }
    })
    await lists.refresh()
    expect(lists.snapshot?.lists.resources.items.map(({ key }) => key)).toEqual(['x:1', 'x:2'])
    expect(lists.snapshot).toMatchObject({ completes: true, title: undefined })
    expect(asked).not.toContain('tools/list')
  })

  test('a fresh snapshot is not read again, and an old one is', async () => {
    const { lists, asked, pass } = listsOf(serverWith(() => ['a']))
    await lists.refresh()
    await lists.refresh()
    expect(asked).toEqual(['server/discover', 'tools/list'])
    expect(lists.snapshot).toMatchObject({ title: 'x', instructions: 'Ask.' })
    pass(60_000)
    await lists.refresh()
    expect(asked).toHaveLength(4)
  })

  test('readers who come together share one reading', async () => {
    const { lists, asked, changed } = listsOf(serverWith(() => ['a']))
    await Promise.all([lists.refresh(), lists.refresh(), lists.refresh()])
    expect(asked).toHaveLength(2)
    expect(changed).toHaveBeenCalledTimes(1)
  })

  test('a change during a reading is read afterwards', async () => {
    let tools = ['a']
    const { lists } = listsOf(serverWith(() => tools))
    const reading = lists.refresh()
    await Promise.resolve()
    lists.doubt()
    tools = ['a', 'b']
    await reading
    await vi.waitFor(() => expect(keys(lists)).toEqual(['a', 'b']))
  })

  test('a member that fails keeps its lists, says why, and is asked less and less often', async () => {
    let down = false
    const { lists, asked, pass } = listsOf((method, params) => {
      if (down) throw new Error('It is away.')
      return serverWith(() => ['a'])(method, params)
    })
    await lists.refresh()
    down = true
    pass(60_000)
    await lists.refresh()
    expect([keys(lists), lists.failure]).toEqual([['a'], 'It is away.'])

    const before = asked.length
    await lists.refresh()
    pass(999)
    await lists.refresh()
    lists.doubt()
    expect(asked).toHaveLength(before)
    pass(1)
    await lists.refresh()
    pass(1999)
    await lists.refresh()
    expect(asked).toHaveLength(before + 1)

    down = false
    pass(1)
    await lists.refresh()
    expect(lists.failure).toBeUndefined()
  })

  test('a member that is removed while it is read tells nobody', async () => {
    let answer: (value: unknown) => void = () => undefined
    const { lists, changed } = listsOf(() => new Promise((resolve) => (answer = resolve)))
    const reading = lists.refresh()
    lists.close()
    answer({})
    await reading
    expect(changed).not.toHaveBeenCalled()
  })
})
