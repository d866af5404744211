import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Shares, type Share } from './shares.ts'

/** Opens a share of this amount, or tells why it cannot. */
function take(shares: Shares, caller: string, amount = 1): Share | string {
  const share = shares.open(caller)
  return share.hold(amount) ?? share
}

function fill(shares: Shares, caller: string): Share[] {
  const held: Share[] = []
  for (;;) {
    const share = take(shares, caller)
    if (typeof share === 'string') return held
    held.push(share)
  }
}

test('one caller gets half of a pool, and each next one half of what is left', () => {
  const shares = new Shares(64)

  expect(['a', 'b', 'c'].map((caller) => fill(shares, caller).length)).toEqual([32, 16, 8])
  expect(take(shares, 'a')).toBe('caller')
  expect(shares.held).toBe(56)
})

test('a caller that holds nothing learns when nothing is left', () => {
  const shares = new Shares(1)
  take(shares, 'a')

  expect(take(shares, 'b')).toBe('all')
})

test('a released share can be held again', () => {
  const shares = new Shares(2)
  const first = take(shares, 'a') as Share
  expect(take(shares, 'a')).toBe('caller')

  first.release()
  first.release()

  expect(shares.held).toBe(0)
  expect(typeof take(shares, 'a')).toBe('object')
})

test('a share that cannot grow holds what it held before', () => {
  const shares = new Shares(100)
  const share = shares.open('a')
  expect(share.hold(60)).toBeUndefined()

  expect(share.hold(81)).toBe('caller')
  expect([share.held, shares.heldBy('a'), shares.held]).toEqual([60, 60, 60])

  expect(share.hold(10)).toBeUndefined()
  expect([share.held, shares.heldBy('a'), shares.held]).toEqual([10, 10, 10])
})

test('the caller that holds the most gives its oldest up for one that holds less', () => {
  const shares = new Shares(8)
  const ended: string[] = []
  for (const name of ['a1', 'a2', 'a3', 'a4']) {
    const share = take(shares, 'a') as Share
    share.spare(() => ended.push(name))
  }
  take(shares, 'b')
  take(shares, 'b')
  expect(ended).toEqual([])

  expect(typeof take(shares, 'b')).toBe('object')
  expect(ended).toEqual(['a1'])
  expect([shares.heldBy('a'), shares.heldBy('b')]).toEqual([3, 3])

  expect(take(shares, 'b')).toBe('caller')
  expect(take(shares, 'a')).toBe('caller')
})

test('a share that cannot be given up stays, and the next heaviest caller is asked', () => {
  const shares = new Shares(12)
  const ended: string[] = []
  for (let count = 0; count < 6; count += 1) take(shares, 'a')
  for (const name of ['b1', 'b2', 'b3']) {
    const share = take(shares, 'b') as Share
    share.spare(() => ended.push(name))
  }
  take(shares, 'c')
  take(shares, 'd')
  take(shares, 'e')
  expect(shares.held).toBe(12)

  expect(typeof take(shares, 'f')).toBe('object')
  expect(ended).toEqual(['b1'])
})

test('nobody gives up a share when heavier callers could not give enough', () => {
  const shares = new Shares(100)
  const ended: string[] = []
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) {
    const share = take(shares, 'a', 10) as Share
    share.spare(() => ended.push(name))
  }
  take(shares, 'b', 25)
  take(shares, 'c', 12)
  take(shares, 'd', 6)

  // Without a1 and a2, the caller a would hold no more than e, and 27 would be free.
  expect(take(shares, 'e', 30)).toBe('all')
  expect([ended, shares.held]).toEqual([[], 93])

  expect(typeof take(shares, 'e', 27)).toBe('object')
  expect(ended).toEqual(['a1', 'a2'])
})

test('callers never hold more than the pool, and a new one always gets in', () => {
  const step = fc.record({
    caller: fc.constantFrom('a', 'b', 'c'),
    amount: fc.nat({ max: 10 }),
    which: fc.nat({ max: 19 }),
    spare: fc.boolean(),
    passTo: fc.option(fc.constantFrom('a', 'b', 'c')),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const shares = new Shares(100)
      const open = new Map<string, Share>()
      let passed = 0
      for (const { caller, amount, which, spare, passTo } of steps) {
        const key = `${caller}${which}`
        const share = open.get(key) ?? shares.open(caller)
        open.set(key, share)
        share.spare(spare ? () => open.delete(key) : undefined)
        share.hold(amount)
        if (passTo !== null) {
          open.delete(key)
          open.set(`passed-${(passed += 1)}`, share.passTo(passTo))
          expect(share.held).toBe(0)
        }

        const held = { a: 0, b: 0, c: 0 }
        for (const each of open.values()) held[each.caller as keyof typeof held] += each.held
        for (const [each, bytes] of Object.entries(held)) expect(shares.heldBy(each)).toBe(bytes)
        const sum = held.a + held.b + held.c
        expect(sum).toBe(shares.held)
        expect(sum).toBeLessThanOrEqual(100)
      }
      expect(shares.open('d').hold(1)).toBeUndefined()
    }),
    { numRuns: 500 },
  )
})

test('callers that hold nothing are forgotten, and those that hold something are not', () => {
  const shares = new Shares(100_000)
  const kept = Array.from({ length: 100 }, (_, index) => take(shares, `kept-${index}`) as Share)
  for (let index = 0; index < 20_000; index += 1) (take(shares, `gone-${index}`) as Share).release()

  expect(shares.size).toBeLessThan(3000)
  expect(shares.held).toBe(100)
  for (const share of kept) share.release()
  expect(shares.held).toBe(0)
})
