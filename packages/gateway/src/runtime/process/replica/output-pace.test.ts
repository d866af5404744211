import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { OutputPace } from './output-pace.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** An output that counts its pauses and resumes. */
function output(): { pause: () => void; resume: () => void; pauses: number; isPaused: boolean } {
  const made = {
    pauses: 0,
    isPaused: false,
    pause: () => {
      made.pauses += 1
      made.isPaused = true
    },
    resume: () => void (made.isPaused = false),
  }
  return made
}

/** Gives chunks of 64 KiB for some seconds while the output is not paused. Returns their number. */
function flood(meter: (characters: number, lines: number) => void, of: { isPaused: boolean }) {
  let chunks = 0
  for (const end = Date.now() + 10_000; Date.now() < end; vi.advanceTimersByTime(1))
    if (!of.isPaused) {
      meter(65_536, 32_768)
      chunks += 1
    }
  return chunks
}

describe('an output', () => {
  test('an output of endless short lines waits most of the time', () => {
    const pace = new OutputPace(Date.now)
    const made = output()

    // 8 MiB a second, and 16 MiB at first. A chunk counts as 8 MiB, so each takes a second.
    expect(flood(pace.meter(made), made)).toBeLessThan(15)
  })

  test('an output of a line now and then never waits, also while others flood', () => {
    const pace = new OutputPace(Date.now)
    const loud = output()
    const quiet = output()
    const [loudMeter, quietMeter] = [pace.meter(loud), pace.meter(quiet)]
    for (let second = 0; second < 10; second += 1) {
      loudMeter(65_536, 32_768)
      quietMeter(200, 2)
      vi.advanceTimersByTime(1000)
    }

    expect(quiet.pauses).toBe(0)
  })

  test('an output among many floods waits longer than one that floods alone', () => {
    const pace = new OutputPace(Date.now)
    const all = Array.from({ length: 40 }, output)
    const meters = all.map((each) => pace.meter(each))
    let chunks = 0
    for (const end = Date.now() + 20_000; Date.now() < end; vi.advanceTimersByTime(10))
      for (const [index, each] of all.entries())
        if (!each.isPaused) {
          meters[index]?.(65_536, 32_768)
          chunks += 1
        }

    // 32 MiB a second for all. Each may write 16 MiB and one chunk more before it waits.
    expect(chunks).toBeLessThan(20 * 4 + 40 * 3)
  })
})
