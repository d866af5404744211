import { expect, test } from 'vitest'
import { Places, type Place } from './places.ts'

/** Takes places for callers, and notes which of them are ended. */
function setUp(most: number, mostPerCaller?: number) {
  const places = new Places(most, mostPerCaller)
  const ended: string[] = []
  let clock = 0
  const take = (caller: string, state: Place['state'] = 'idle'): string | (() => void) => {
    const shortage = places.makeRoom(caller)
    if (shortage !== undefined) return shortage
    const name = `${caller}${(clock += 1)}`
    const end = (): void => {
      ended.push(name)
      free()
    }
    const free = places.add(caller, { state, lastUsed: clock, end })
    return free
  }
  return { places, ended, take }
}

test('the caller that holds most gives up its longest unused place', () => {
  const { places, ended, take } = setUp(5)
  for (const caller of ['b', 'a', 'a', 'a', 'c']) take(caller)

  take('d')

  expect(ended).toEqual(['a2'])
  expect(places.size).toBe(5)
})

test('a caller that holds many does not take the last place of another', () => {
  const { ended, take } = setUp(3)
  take('b')
  take('a', 'working')
  take('a', 'working')

  expect(take('a')).toBe('all')
  expect(ended).toEqual([])
})

test('a caller that holds as many as every other gives up its own idle place', () => {
  const { ended, take } = setUp(4)
  for (const caller of ['a', 'a', 'b', 'b']) take(caller)

  take('b')

  expect(ended).toEqual(['b3'])
})

test('a caller with an open request in every place loses the oldest to one without', () => {
  const { ended, take } = setUp(3)
  take('b', 'working')
  take('a', 'working')
  take('a', 'working')

  expect(typeof take('c', 'working')).toBe('function')
  expect(ended).toEqual(['a2'])
})

test('a place with an open request goes neither to a second place nor from a lone one', () => {
  const { ended, take } = setUp(3)
  take('b', 'working')
  take('a', 'working')
  take('a', 'working')

  expect(take('b')).toBe('all')
  expect(ended).toEqual([])

  const alone = setUp(1)
  alone.take('a', 'working')
  expect(alone.take('b')).toBe('all')
  expect(alone.ended).toEqual([])
})

test('a client that only listens loses its session to callers that have far fewer', () => {
  const { ended, take } = setUp(3)
  for (let round = 0; round < 3; round += 1) take('a', 'listening')

  expect(take('a')).toBe('all')
  take('b', 'listening')
  expect(ended).toEqual(['a1'])
  expect(take('b')).toBe('all')
})

test('a caller at its limit gives up its own oldest idle place', () => {
  const { ended, take } = setUp(10, 2)
  take('a', 'working')
  take('a')
  take('a', 'working')
  expect(ended).toEqual(['a2'])

  expect(take('a')).toBe('caller')
  expect(typeof take('b')).toBe('function')
})

test('a place that is freed twice counts once', () => {
  const { places, take } = setUp(3)
  const free = take('a') as () => void
  take('a')
  free()
  free()

  expect(places.size).toBe(1)
})
