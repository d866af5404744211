import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileGlob } from './glob.ts'

const escaped = (text: string): string => text.replaceAll(/[\\^$.|+()[\]{}/-]/g, '\\$&')
/** The same by regular expression. */
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
  ])('%j fits %j: %s', (pattern, text, expected) => {
    expect(compileGlob(pattern)(text)).toBe(expected)
  })

  test('fits what the like regular expression fits', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?', '🦊'), maxLength: 8 })
    fc.assert(
      fc.property(text, text, (pattern, candidate) => {
        expect(compileGlob(pattern)(candidate)).toBe(model(pattern).test(candidate))
      }),
      { numRuns: 3000 },
    )
  })

  test('of many stars is decided in steps that do not multiply', () => {
    expect(compileGlob(`${'a*'.repeat(500)}b`)('a'.repeat(5000))).toBe(false)
  })
})
