import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aliasPattern, newAlias } from './alias.ts'

const alias = fc.stringMatching(aliasPattern)

describe('new aliases', () => {
  test('every new alias is legal and unused', () => {
    const used = fc.array(fc.oneof(alias, fc.constantFrom('a', 'a2', 'a3')))
    fc.assert(
      fc.property(fc.string(), used, (name, taken) => {
        const made = newAlias(name, new Set(taken))
        expect(made).toMatch(aliasPattern)
        expect(taken).not.toContain(made)
      }),
    )
  })

  test('an alias keeps the letters of the name', () => {
    expect(newAlias('my-files', new Set())).toBe('myfiles')
    expect(newAlias('my-files', new Set(['myfiles']))).toBe('myfiles2')
    expect(newAlias('7zip', new Set())).toBe('m7zip')
  })
})
