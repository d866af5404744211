import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aliasPattern } from '../../core/fields/alias.ts'
import { compileTemplate, isWebUri, memberUri, shownUri } from './uris.ts'

const alias = fc.stringMatching(aliasPattern)
const uri = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.webUrl(),
  fc
    .tuple(
      fc.constantFrom('file', 'ui', 'skill', 'UI', 'git+ssh', 'x-no-scheme', 'demo', 'a+b', 'data'),
      fc.constantFrom('://', ':', ':///', '/'),
      fc.string(),
    )
    .map((parts) => parts.join('')),
  fc.constantFrom(
    '',
    ':',
    '{scheme}://{rest}',
    'weather://{city}/now',
    'ui://a+b/c',
    'skill://a/b',
  ),
)

describe('shown addresses', () => {
  test('a shown address leads back to its member and to the original address', () => {
    fc.assert(
      fc.property(alias, uri, (a, original) => {
        expect(memberUri(shownUri(a, original, true))).toEqual({ alias: a, uri: original })
      }),
    )
  })

  test('different addresses of different members differ', () => {
    const pairs = fc.uniqueArray(fc.tuple(alias, uri), {
      selector: (pair) => JSON.stringify(pair),
      maxLength: 50,
    })
    fc.assert(
      fc.property(pairs, (all) => {
        expect(new Set(all.map(([a, each]) => shownUri(a, each, true))).size).toBe(all.length)
      }),
    )
  })

  test('a web address stays as it is, unless two members list it', () => {
    fc.assert(
      fc.property(alias, fc.webUrl(), (a, original) => {
        expect(shownUri(a, original)).toBe(original)
        expect(isWebUri(original)).toBe(true)
        expect(memberUri(original)).toBeUndefined()
      }),
    )
  })

  test.each([
    ['file:///etc/motd', 'fs+file:///etc/motd'],
    ['weather://{city}/now', 'fs+weather://{city}/now'],
    ['ui://chart/main.html', 'ui://fs+chart/main.html'],
    ['skill://review/SKILL.md', 'skill://fs/review/SKILL.md'],
    ['notes/today', 'fs+x-no-scheme:notes/today'],
  ])('%s is shown as %s', (original, shown) => {
    expect(shownUri('fs', original)).toBe(shown)
  })

  test.each(['fs+file:///etc/motd', 'ui://fs+chart/main.html', 'skill://fs/review/SKILL.md'])(
    'readers of URLs leave %s unchanged',
    (shown) => {
      expect(new URL(shown).href).toBe(shown)
    },
  )

  test.each(['', 'file:///x', 'ui://chart', 'Fs+file:///x', 'fs+', 'fs+no-scheme', 'a-b+file:x'])(
    '%j names no member',
    (shown) => {
      expect(memberUri(shown)).toBeUndefined()
    },
  )
})

describe('templates of addresses', () => {
  test.each([
    ['https://h/{id}', 'https://h/5', true],
    ['https://h/{id}', 'https://g/5', false],
    ['https://h/{id}/raw', 'https://h/5', false],
    ['https://h/{id}/raw', 'https://h/5/raw', true],
    ['https://h/{+path}', 'https://h/a/b', true],
    ['https://h/s{?q,n}', 'https://h/s?q=1', true],
    ['https://h/s{?q}', 'https://h/s', true],
    ['https://h/s?q={q}', 'https://h/s?q=1', true],
    ['https://h/s?q={q}', 'https://h/sxq=1', false],
    ['https://h/*', 'https://h/*', true],
    ['https://h/{', 'https://h/{', true],
  ])('the template %s can give %s: %s', (template, uri, fits) => {
    expect(compileTemplate(template)(uri)).toBe(fits)
  })
})
