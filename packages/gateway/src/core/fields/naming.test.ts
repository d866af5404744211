import { runInNewContext } from 'node:vm'
import { AdapterInput } from '@mcp-gateway/contract'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { reservedFor } from './naming.ts'

const accepts = (name: unknown): boolean => AdapterInput.shape.name.safeParse(name).success

const letter = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz'.split(''))
const inner = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789-'.split(''))
const last = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789'.split(''))
const label = fc
  .tuple(
    letter,
    fc.option(fc.tuple(fc.string({ unit: inner, maxLength: 50 }), last), {
      nil: ['', ''] as const,
    }),
  )
  .map(([first, [middle, end]]) => first + middle + end)

/** RFC 1035 section 2.3.1, in lower case, by a loop instead of an expression. */
function isLabel(name: string): boolean {
  const isLetter = (character: string): boolean => character >= 'a' && character <= 'z'
  const isDigit = (character: string): boolean => character >= '0' && character <= '9'
  const characters = name.split('')
  const end = characters.at(-1) ?? ''
  return (
    isLetter(characters[0] ?? '') &&
    (isLetter(end) || isDigit(end)) &&
    characters.length <= 52 &&
    characters.every((character) => isLetter(character) || isDigit(character) || character === '-')
  )
}

describe('names', () => {
  test('names are DNS labels of at most 52 characters, and all of those', () => {
    fc.assert(
      fc.property(label, (name) => {
        expect(accepts(name)).toBe(true)
      }),
    )
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), label, fc.string({ unit: inner, maxLength: 60 })),
        (name) => {
          expect(accepts(name)).toBe(isLabel(name))
        },
      ),
    )
  })

  test('names leave room for the suffixes of runtimes within 63 characters', () => {
    fc.assert(
      fc.property(label, fc.nat(999_999_999), (name, ordinal) => {
        expect(`${name}-${ordinal}`.length).toBeLessThanOrEqual(63)
      }),
    )
  })

  test('names are one segment of a path and one argument, as they are', () => {
    fc.assert(
      fc.property(label, (name) => {
        expect(encodeURIComponent(name)).toBe(name)
        expect(new URL(`http://h/adapters/${name}/mcp`).pathname).toBe(`/adapters/${name}/mcp`)
        expect(name.startsWith('-')).toBe(false)
      }),
    )
  })

  test.each([
    '',
    'A',
    'a.b',
    'a_b',
    '-a',
    'a-',
    '1a',
    'ä',
    'a b',
    'a\n',
    '..',
    '%2e',
    'a/b',
    'a\u0000',
    'ａ',
  ])('the text %j is no name', (name) => expect(accepts(name)).toBe(false))

  test.each(['a'.repeat(53), 'a-'.repeat(5120), `a${'-'.repeat(10_240)}!`, 'a'.repeat(10_240)])(
    'names that are too long are refused quickly',
    (name) => {
      // Such an expression would take years. The limit only ends the test then.
      const accepted: unknown = runInNewContext(
        'accepts(name)',
        { accepts, name },
        { timeout: 20_000 },
      )
      expect(accepted).toBe(false)
    },
  )

  test('reserved names say what for, and nearly all others are free', () => {
    expect(reservedFor('adapters')).toBe('a path of the gateway')
    expect(reservedFor('mcp-example')).toBeUndefined()
    for (const member of Object.getOwnPropertyNames(Object.prototype))
      expect(reservedFor(member)).toBeUndefined()
  })
})
