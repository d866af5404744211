import { readObject, type RawObject } from '@mcp-gateway/protocol'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { MemberLists } from './member-lists.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

type Script = (method: string, params: RawObject) => unknown

function listsOf(script: Script) {
  const asked: string[] = []
  const changed = vi.fn<() => void>()
  const held: number[] = []
  const turns: (string | undefined)[] = []
  const room: { shortage: string | undefined } = { shortage: undefined }
  const lists: MemberLists = new MemberLists({
    ask: async (method, params) => {
      asked.push(method)
      const result = await script(method, params)
      return readObject(JSON.stringify(result)) ?? new Map<string, string>()
    },
    changed,
    turned: () => turns.push(lists.failure),
    hold: (length) => {
      if (room.shortage === undefined) held.push(length)
      return room.shortage
    },
    now: () => Date.now(),
  })
  const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)
  return { lists, asked, changed, held, pass, room, turns }
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
    await pass(60_000)
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
    const { lists, pass } = listsOf(serverWith(() => tools))
    const reading = lists.refresh()
    await Promise.resolve()
    lists.doubt()
    tools = ['a', 'b']
    await reading
    await pass(250)
    expect(keys(lists)).toEqual(['a', 'b'])
  })

  test('a notice after a quiet time is followed at once', async () => {
    let tools = ['a']
    const { lists, pass } = listsOf(serverWith(() => tools))
    await lists.refresh()
    for (const more of [['b'], ['c'], ['d']]) {
      await pass(10_000)
      tools = more
      lists.doubt()
      await pass(0)
      expect(keys(lists)).toEqual(more)
    }
  })

  test('a flood of notices is followed less and less often, and the last one counts', async () => {
    let tools = ['a']
    const { lists, asked, pass } = listsOf(serverWith(() => tools))
    await lists.refresh()
    for (let ms = 0; ms < 120_000; ms += 50) {
      lists.doubt()
      await pass(50)
    }
    expect(asked.length).toBeLessThan(2 * 15)

    tools = ['b']
    lists.doubt()
    void lists.refresh()
    await pass(30_000)
    expect(keys(lists)).toEqual(['b'])
  })

  test.each([
    ['soon after a burst, at the pace of a person', 8, 1500],
    ['long after a flood', 400, 120_000],
  ])('a change %s is read within a second', async (_, burst, pace) => {
    let count = 0
    const { lists, pass } = listsOf(serverWith(() => [String(count)]))
    await lists.refresh()
    for (let notice = 0; notice < burst; notice += 1) {
      lists.doubt()
      await pass(250)
    }
    await pass(60_000)

    const late: number[] = []
    for (let change = 0; change < 10; change += 1) {
      await pass(pace)
      // A server announces each of its lists.
      for (let kind = 0; kind < 3; kind += 1) {
        count += 1
        lists.doubt()
        await pass(100)
      }
      await pass(900)
      if (keys(lists)[0] !== String(count)) late.push(change)
    }
    expect(late).toEqual([])
  })

  test('lists that are read again and are the same change nothing', async () => {
    let tools = ['a']
    const { lists, changed, pass } = listsOf(serverWith(() => tools))
    await lists.refresh()
    const before = lists.snapshot
    await pass(60_000)
    await lists.refresh()
    expect(lists.snapshot).toBe(before)
    expect(changed).toHaveBeenCalledTimes(1)
    tools = ['b']
    await pass(60_000)
    await lists.refresh()
    expect(changed).toHaveBeenCalledTimes(2)
  })

  test('a member that fails keeps its lists, says why, and is asked less and less often', async () => {
    let down = false
    const { lists, asked, pass, turns } = listsOf((method, params) => {
      if (down) throw new Error('It is away.')
      return serverWith(() => ['a'])(method, params)
    })
    await lists.refresh()
    expect(turns).toEqual([])
    down = true
    await pass(60_000)
    await lists.refresh()
    expect([keys(lists), lists.failure]).toEqual([['a'], 'It is away.'])

    const before = asked.length
    await lists.refresh()
    await pass(999)
    await lists.refresh()
    lists.doubt()
    expect(asked).toHaveLength(before)
    await pass(1)
    expect(asked).toHaveLength(before + 1)
    expect(turns).toEqual(['It is away.'])
    await pass(1999)
    await lists.refresh()
    expect(asked).toHaveLength(before + 1)

    down = false
    await pass(1)
    await lists.refresh()
    expect(lists.failure).toBeUndefined()
  })

  test('a failure without end is told in a few words', async () => {
    const { lists } = listsOf(() => {
      throw new Error('No\n'.repeat(1_000_000))
    })
    await lists.refresh()
    expect(lists.failure).toMatch(/^No No .*…$/)
    expect(lists.failure?.length).toBeLessThan(400)
  })

  test('a member whose lists have no room keeps those that it had, and says why', async () => {
    let tools = ['a']
    const { lists, held, pass, room } = listsOf(serverWith(() => tools))
    await lists.refresh()
    expect(lists.length).toBe(held[0])
    room.shortage = 'There is no room.'
    tools = ['b']
    await pass(60_000)
    await lists.refresh()
    expect([keys(lists), lists.failure]).toEqual([['a'], 'There is no room.'])

    lists.drop('Others need it.')
    expect([keys(lists), lists.failure, lists.length]).toEqual([[], 'Others need it.', 0])
    room.shortage = undefined
    await pass(60_000)
    await lists.refresh()
    expect([keys(lists), lists.failure]).toEqual([['b'], undefined])
  })

  test('a member that is removed while it is read tells nobody, and holds nothing', async () => {
    let answer: (value: unknown) => void = () => undefined
    const { lists, changed, held } = listsOf(() => new Promise((resolve) => (answer = resolve)))
    const reading = lists.refresh()
    lists.close()
    answer({})
    await reading
    lists.doubt()
    lists.restore({ title: '', instructions: '', completes: false, lists: {} as never })
    expect(changed).not.toHaveBeenCalled()
    expect(held).toEqual([])
  })
})
