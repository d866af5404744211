import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Once } from './once.ts'

test('a value does not pass twice within the time, however many come between', () => {
  const step = fc.record({
    text: fc.constantFrom('a', 'b', 'c'),
    later: fc.integer({ min: 0, max: 15 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const once = new Once(10)
      const passed = new Map<string, number>()
      let now = 0
      for (const { text, later } of steps) {
        now += later
        const passes = once.passes(text, now)
        if (now - (passed.get(text) ?? Number.NEGATIVE_INFINITY) < 10) expect(passes).toBe(false)
        if (!passed.has(text)) expect(passes).toBe(true)
        if (passes) passed.set(text, now)
      }
    }),
  )
})

test('a value is forgotten after its time', () => {
  const once = new Once(10)
  for (let at = 0; at < 10_000; at += 1) once.passes(String(at), at)
  expect(once.size).toBeLessThanOrEqual(20)
  expect(once.passes('9999', 10_000)).toBe(false)
  once.passes('much later', 20_000)
  expect(once.size).toBe(1)
})
