import { expect, test } from 'vitest'
import { SubscribedUris, ToolFacts } from './kept.ts'

test('facts of tools are kept up to a bound, and the oldest go first', () => {
  const facts = new ToolFacts<{ readonly n: number }>()
  for (let n = 0; n < 100_000; n += 1) facts.set(`tool-${n}`, { n })

  expect(facts.size).toBeLessThan(4000)
  expect(facts.has('tool-0')).toBe(false)
  expect(facts.get('tool-99999')).toEqual({ n: 99_999 })

  facts.set('x'.repeat(10_000_000), { n: 1 })
  expect(facts.size).toBe(1)
  facts.set('short', { n: 2 })
  expect([facts.size, facts.get('short')]).toEqual([1, { n: 2 }])
})

test('facts of a tool that is listed again and again take room once', () => {
  const facts = new ToolFacts<{ readonly n: number }>()
  facts.set('first', { n: 0 })
  for (let n = 0; n < 100_000; n += 1) facts.set('again', { n })

  expect([facts.size, facts.has('first')]).toEqual([2, true])
})

test('URIs of a session have a bound in number and length, and return their room', () => {
  const uris = new SubscribedUris()
  expect(uris.add('x'.repeat(130 * 1024))).toMatch(/longer than 131072 characters together/)
  expect(uris.add('x'.repeat(128 * 1024))).toBeUndefined()
  expect(uris.add('y')).toMatch(/longer than/)
  uris.delete('x'.repeat(128 * 1024))

  for (let n = 0; n < 1000; n += 1) expect(uris.add(`u:${n}`)).toBeUndefined()
  expect(uris.add('u:1')).toBeUndefined()
  expect(uris.add('u:1000')).toMatch(/1000 resources/)
  expect(uris.size).toBe(1000)
})
