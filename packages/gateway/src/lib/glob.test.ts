import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileGlob, mostSteps } from './glob.ts'

const escaped = (text: string): string => text.replaceAll(/[\\^$.|+()[\]{}/-]/g, '\\$&')
/** The same rule as a regular expression. */
const model = (pattern: string): RegExp =>
  new RegExp(`^${escaped(pattern).replaceAll(/\*+/g, '[^]*').replaceAll('?', '[^]')}$`, 'u')

describe('a glob', () => {
  test.each([
    ['mcp-proxy', 'mcp-proxy', true],
    ['mcp-proxy', 'mcp-proxy2', false],
    ['mcp-*', 'mcp-', true],
    ['*', '', true],
    ['?', '', false],
    ['?', '🦊', true],
    ['a*b*c', 'a1b2b3c', true],
    ['a*b*c', 'a1b2b3', false],
    ['a.c', 'abc', false],
    ['[ab]', 'a', false],
    ['', '', true],
    ['', 'a', false],
  ])('the glob %j fits %j: %s', (pattern, text, expected) => {
    expect(compileGlob(pattern)(text)).toBe(expected)
  })

  test('a glob fits what the like regular expression fits', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?', '🦊'), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (pattern, candidate) => {
        expect(compileGlob(pattern)(candidate)).toBe(model(pattern).test(candidate))
      }),
      { numRuns: 3000 },
    )
  })

  test('a glob fits what a plain reading of longer texts fits', () => {
    const naive = (pattern: readonly string[], text: readonly string[]): boolean => {
      const [first, ...rest] = pattern
      if (first === undefined) return text.length === 0
      if (first === '*')
        return naive(rest, text) || (text.length > 0 && naive(pattern, text.slice(1)))
      return text.length > 0 && (first === '?' || first === text[0]) && naive(rest, text.slice(1))
    }
    const unit = fc.constantFrom('a', 'b', '🦊')
    const pattern = fc.string({ unit: fc.oneof(unit, fc.constantFrom('*', '?')), maxLength: 9 })
    const text = fc.string({ unit, maxLength: 14 })
    fc.assert(
      fc.property(pattern, text, (wanted, candidate) => {
        expect(compileGlob(wanted)(candidate)).toBe(
          naive(Array.from(wanted), Array.from(candidate)),
        )
      }),
      { numRuns: 5000 },
    )
  })

  test.each([
    ['*'.repeat(250), 256],
    ['a*'.repeat(125), 5000],
    [`${'a*'.repeat(125)}b`, 5000],
    [`*${'a'.repeat(250)}b*`, 5000],
  ])('the glob %s takes few steps', (pattern, most) => {
    let steps = 0
    compileGlob(pattern)('a'.repeat(256), (count) => (steps += count))
    expect(steps).toBeGreaterThan(0)
    expect(steps).toBeLessThan(most)
  })

  test('a glob takes no more steps than were reckoned before', () => {
    const unit = fc.constantFrom('a', 'b')
    const pattern = fc.string({ unit: fc.oneof(unit, fc.constantFrom('*', '?')), maxLength: 40 })
    const text = fc.string({ unit, maxLength: 60 })
    fc.assert(
      fc.property(pattern, text, (wanted, candidate) => {
        let steps = 0
        compileGlob(wanted)(candidate, (count) => (steps += count))
        expect(steps).toBeLessThanOrEqual(mostSteps(wanted, candidate.length))
      }),
      { numRuns: 5000 },
    )
    expect(mostSteps(`*${'?a'.repeat(60)}b*`, 256)).toBeGreaterThan(10_000)
    expect(mostSteps('*'.repeat(250), 256)).toBeLessThan(3)
  })

  test('a glob ends when nobody pays for its steps', () => {
    const spend = (): never => {
      throw new RangeError('spent')
    }
    expect(() => compileGlob('*a*')('b', spend)).toThrow('spent')
  })
})
