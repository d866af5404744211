import { expect, test } from 'vitest'
import { Absences } from './absences.ts'

/** The pauses of a request until it gives up, and how long it has waited. */
function waiting(absences: Absences, clock: { now: number }, alias: string) {
  const begun = clock.now
  const pauses: number[] = []
  for (;;) {
    const pause = absences.pauseMs(alias, pauses.length + 1)
    if (pause === undefined) return { pauses, waited: clock.now - begun }
    pauses.push(pause)
    clock.now += pause
  }
}

function setUp() {
  const clock = { now: 1000 }
  const absences = new Absences(() => clock.now)
  return { clock, absences, wait: (alias: string) => waiting(absences, clock, alias) }
}

test('a request waits for a member that is away, for five seconds at most', () => {
  const { wait } = setUp()
  const { pauses, waited } = wait('a')
  expect(pauses.slice(0, 5)).toEqual([50, 100, 200, 400, 500])
  expect(waited).toBeGreaterThan(4000)
  expect(waited).toBeLessThanOrEqual(5000)
})

test('no request waits for a member that stays away, and others are not affected', () => {
  const { clock, wait } = setUp()
  wait('a')
  for (let n = 0; n < 10; n += 1) {
    clock.now += 20_000
    expect(wait('a').pauses).toEqual([])
  }
  expect(wait('b').waited).toBeGreaterThan(4000)
})

test('requests wait again for a member that has answered meanwhile, or was long forgotten', () => {
  const { absences, clock, wait } = setUp()
  wait('a')
  absences.end('a')
  expect(wait('a').waited).toBeGreaterThan(4000)
  clock.now += 30_000
  expect(wait('a').waited).toBeGreaterThan(4000)
})
