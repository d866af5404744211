import { Shares } from '@mcp-gateway/mcp-http'
import { readObject } from '@mcp-gateway/protocol'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Adapter } from '../../core/resource.ts'
import { MemberTable } from './member-table.ts'
import type { MemberLists } from './member-lists.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

interface Stream {
  readonly told: (method: string) => void
  readonly ended: (refused: boolean) => void
}

const acknowledged = 'notifications/subscriptions/acknowledged'
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms)

/** Servers that list one tool each, and whose streams a test holds in its hands. */
function tableOf({ room = 1_000_000 } = {}) {
  const adapters = new Map<string, Adapter>()
  const tools = new Map<string, string>()
  const asked: string[] = []
  const streams: Stream[] = []
  const table = new MemberTable({
    servers: {
      ask: async ({ name }, method) => {
        asked.push(method)
        const tool = tools.get(name)
        if (tool === undefined) throw new Error('It is away.')
        const result =
          method === 'server/discover'
            ? { capabilities: { tools: {} } }
            : { tools: [{ name: tool }] }
        return readObject(JSON.stringify(result)) ?? new Map<string, string>()
      },
      listen: (_adapter, _filter, told, ended) => {
        streams.push({ told, ended })
        return () => undefined
      },
    },
    adapter: (name) => adapters.get(name),
    directory: { get: () => undefined, onChange: () => () => undefined },
    kept: { read: async () => undefined, write: () => undefined, forget: async () => undefined },
    room: new Shares(room),
    changed: () => undefined,
    turned: () => undefined,
    now: () => Date.now(),
  })
  const add = (name: string, owner: string, tool: string): MemberLists => {
    const adapter = { name, uid: name, generation: 1, owner: { id: owner, issuer: 'i' } } as Adapter
    adapters.set(name, adapter)
    tools.set(name, tool)
    return table.listsOf(adapter)
  }
  const latest = (): Stream => streams.at(-1) as Stream
  return { add, asked, latest, streams, table, tools }
}

const toolOf = ({ snapshot }: MemberLists): string | undefined =>
  snapshot?.lists.tools.items[0]?.key

describe('the lists of all members', () => {
  test('a change while no stream stands is read when the stream stands', async () => {
    const { add, latest, streams, tools } = tableOf()
    const lists = add('a', 'ana', 'one')
    await pass(1)
    expect(toolOf(lists)).toBe('one')
    tools.set('a', 'two')
    latest().told(acknowledged)
    await pass(300)
    expect(toolOf(lists)).toBe('two')

    await pass(10_000)
    latest().ended(false)
    tools.set('a', 'three')
    await pass(1000)
    expect([streams.length, toolOf(lists)]).toEqual([2, 'two'])
    latest().told(acknowledged)
    await pass(500)
    expect(toolOf(lists)).toBe('three')
  })

  test('a member that was away is read within five seconds of its return', async () => {
    const { add, latest, streams, tools } = tableOf()
    const lists = add('a', 'ana', 'one')
    await pass(1)
    tools.delete('a')
    lists.doubt()
    for (let turn = 0; turn < 20; turn += 1) {
      latest().ended(false)
      await pass(5000)
    }
    expect([lists.failure, toolOf(lists)]).toEqual(['It is away.', 'one'])
    tools.set('a', 'two')
    const before = streams.length
    latest().ended(false)
    await pass(5000)
    expect(streams).toHaveLength(before + 1)
    latest().told(acknowledged)
    await pass(1)
    expect([lists.failure, toolOf(lists)]).toEqual([undefined, 'two'])
  })

  test('a server without streams is asked by time, and for a stream once a minute', async () => {
    const { add, asked, latest, streams } = tableOf()
    add('a', 'ana', 'one')
    await pass(1)
    for (let minute = 1; minute <= 3; minute += 1) {
      latest().ended(true)
      await pass(60_000)
      expect(streams).toHaveLength(minute + 1)
    }
    expect(asked.length).toBeLessThanOrEqual(2 * 4)
  })

  test('a server that only opens and ends streams is asked at most every five seconds', async () => {
    const { add, asked, latest, streams } = tableOf()
    add('a', 'ana', 'one')
    await pass(1)
    let ended: Stream | undefined
    for (let second = 0; second < 120; second += 1) {
      const stream = latest()
      if (stream !== ended) {
        stream.told(acknowledged)
        stream.ended(false)
      }
      ended = stream
      await pass(1000)
    }
    expect(streams.length).toBeLessThan(40)
    expect(asked.length).toBeLessThan(2 * 40)
  })

  test('an owner whose lists take much room gives it up for the lists of another', async () => {
    const { add } = tableOf({ room: 200_000 })
    const fill = async (owner: string, count: number): Promise<MemberLists[]> => {
      const all: MemberLists[] = []
      for (let n = 0; n < count; n += 1) {
        all.push(add(`${owner}-${n}`, owner, 'tool'))
        await pass(1)
      }
      return all
    }
    const anas = await fill('ana', 7)
    expect(anas.map(toolOf)).toEqual([...Array<string>(6).fill('tool'), undefined])
    expect(anas[6]?.failure).toContain('no room for its lists')

    const bobs = await fill('bob', 4)
    expect(bobs.map(toolOf)).toEqual(Array(4).fill('tool'))
    expect(anas.map(toolOf)).toEqual([undefined, ...Array<string>(5).fill('tool'), undefined])
  })

  test('the room of a member that is removed is free again', async () => {
    const { add, table } = tableOf({ room: 40_000 })
    for (const name of ['a', 'b', 'c', 'd']) {
      const lists = add(name, 'ana', name)
      await pass(1)
      expect(toolOf(lists)).toBe(name)
      table.keepOnly(new Set())
    }
  })
})
