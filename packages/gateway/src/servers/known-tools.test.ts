import { expect, test, vi } from 'vitest'
import { hintsOf } from '../core/fields/tool-rules.ts'
import { KnownTools, ToolList } from './known-tools.ts'

const readOnly = hintsOf({ readOnlyHint: true })

/** A list of `count` tools, `tool-0` and so on. Each name has `length` characters. */
function listOf(count: number, length = 100, wanted: readonly string[] = []): ToolList {
  const list = new ToolList(wanted)
  for (let index = 0; index < count; index += 1)
    list.add({ name: `tool-${index}`.padEnd(length, '-'), hints: readOnly })
  return list
}

/** Asks for a list, and returns true if the server was asked. */
async function asks(
  known: KnownTools,
  key: string,
  { caller = 'alice', list = listOf(10) } = {},
): Promise<boolean> {
  let isAsked = false
  const ask = (): Promise<ToolList> => {
    isAsked = true
    return Promise.resolve(list)
  }
  await known.of(key, caller, [], ask)
  return isAsked
}

test('the gateway asks for a list once, and again when it is old', async () => {
  vi.useFakeTimers()
  const known = new KnownTools()
  expect([await asks(known, 'a'), await asks(known, 'a')]).toEqual([true, false])

  vi.advanceTimersByTime(30_000)
  expect([await asks(known, 'a'), await asks(known, 'a')]).toEqual([true, false])
  vi.useRealTimers()
})

test('a list that is too long is not kept, and answers only its own asker', async () => {
  const wanted = ['tool-3', 'tool-4999', 'tool-7', 'none'].map((name) => name.padEnd(100, '-'))
  const list = listOf(5000, 100, wanted)
  list.add({ name: wanted[2] as string, hints: readOnly })
  expect(wanted.map((name) => list.get(name))).toEqual([readOnly, readOnly, undefined, undefined])
  expect(list.get('tool-4'.padEnd(100, '-'))).toBeUndefined()

  const known = new KnownTools()
  expect([await asks(known, 'a', { list }), await asks(known, 'a', { list })]).toEqual([true, true])
  expect(known.bytes).toBe(0)
})

test('two calls of tools of a long list each get their own list', async () => {
  const known = new KnownTools()
  const tools = await Promise.all(
    ['tool-1', 'tool-4000'].map(async (name) => {
      const wanted = [name.padEnd(100, '-')]
      const list = await known.of('a', 'alice', wanted, async () => listOf(5000, 100, wanted))
      return list.get(wanted[0] as string)
    }),
  )
  expect(tools).toEqual([readOnly, readOnly])
})

test('a tool whose name is longer than rules judge takes no room', () => {
  const list = listOf(0)
  const before = list.bytes
  list.add({ name: 'x'.repeat(257), hints: readOnly })

  expect([list.bytes, list.isWhole]).toEqual([before, true])
})

test('the lists of one caller take half of the room, and its oldest goes first', async () => {
  const known = new KnownTools(200_000)
  for (let index = 0; index < 100; index += 1) await asks(known, `a${index}`)
  expect(known.bytes).toBeGreaterThan(90_000)
  expect(known.bytes).toBeLessThanOrEqual(100_000)

  expect(await asks(known, 'a99')).toBe(false)
  expect(await asks(known, 'a0')).toBe(true)
})

test('a caller without lists finds room, however many others have lists', async () => {
  const known = new KnownTools(50_000)
  for (let index = 0; index < 100; index += 1) {
    const caller = `caller-${index}`
    expect(await asks(known, `key-${index}`, { caller })).toBe(true)
    expect(await asks(known, `key-${index}`, { caller })).toBe(false)
  }
  expect(known.bytes).toBeLessThanOrEqual(50_000)
})

test('old lists leave when another comes', async () => {
  vi.useFakeTimers()
  const known = new KnownTools()
  for (let index = 0; index < 10; index += 1) await asks(known, `a${index}`)
  const all = known.bytes
  vi.advanceTimersByTime(30_000)
  await asks(known, 'b')

  expect(known.bytes).toBeLessThan(all / 9)
  vi.useRealTimers()
})
