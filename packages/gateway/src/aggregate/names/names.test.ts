import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aliasPattern } from '../../core/fields/alias.ts'
import { longestShownName, searchTools, shownName } from './names.ts'

const alias = fc.stringMatching(aliasPattern)
const original = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.stringMatching(/^[A-Za-z0-9_.-]{1,128}$/),
  fc.constantFrom('', 'constructor', '__proto__', ...searchTools, 'tools', 'tool', 'read_tool'),
)

describe('shown names', () => {
  test('every shown name is legal in every client', () => {
    fc.assert(
      fc.property(alias, original, (a, name) => {
        const shown = shownName(a, name)
        expect(shown).toMatch(/^[A-Za-z][A-Za-z0-9_-]*$/)
        expect(shown.length).toBeLessThanOrEqual(longestShownName)
        expect(searchTools).not.toContain(shown.toLowerCase())
      }),
    )
  })

  test('a shown name leads back to the alias of its member', () => {
    fc.assert(fc.property(alias, original, (a, name) => shownName(a, name).split('_', 1)[0] === a))
  })

  test('different names of different members have different shown names', () => {
    const names = fc.uniqueArray(fc.tuple(alias, original), {
      selector: (pair) => JSON.stringify(pair),
      maxLength: 50,
    })
    fc.assert(
      fc.property(names, (pairs) => {
        const shown = new Set(pairs.map(([a, name]) => shownName(a, name)))
        expect(shown.size).toBe(pairs.length)
      }),
    )
  })

  test.each([
    ['github', 'create_issue', 'github_create_issue'],
    ['fs', 'read-file', 'fs_read-file'],
    ['azure', 'storage.blob.list', /^azure_storage_blob_list_[a-z2-7]{6}$/],
    ['search', 'tools', /^search_tools_[a-z2-7]{6}$/],
    ['a', 'x'.repeat(100), /^a_x{36}_[a-z2-7]{6}$/],
  ])('the tool %2$s of the member %1$s has the expected name', (a, name, expected) => {
    if (typeof expected === 'string') expect(shownName(a, name)).toBe(expected)
    else expect(shownName(a, name)).toMatch(expected)
  })

  test('a name that another tool claims gets a mark', () => {
    const claimed = (shown: string): boolean => shown === 'a_run'
    expect(shownName('a', 'run', claimed)).toMatch(/^a_run_[a-z2-7]{6}$/)
    expect(shownName('a', 'walk', claimed)).toBe('a_walk')
  })
})
