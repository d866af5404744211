import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DuplicateMember,
  readArray,
  readObject,
  readString,
  readUnambiguous,
  writeObject,
} from './raw-object.ts'

/** JSON text with white space where it may stand. */
const spaced = fc
  .tuple(fc.jsonValue(), fc.constantFrom(undefined, 0, 1, 3, '\t', ' \r'))
  .map(([value, space]) => JSON.stringify(value, undefined, space ?? undefined))

describe('raw objects', () => {
  test('a raw object has the members that parsing gives, each as its own text', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()),
        fc.constantFrom(0, 2),
        (value, space) => {
          const raw = JSON.stringify(value, undefined, space)
          const members = readObject(raw)
          expect([...(members ?? [])].map(([name, text]) => [name, JSON.parse(text)])).toEqual(
            Object.entries(JSON.parse(raw) as object),
          )
          expect(JSON.parse(writeObject(members ?? []))).toEqual(JSON.parse(raw))
        },
      ),
    )
  })

  test('other values are no raw objects, and no raw arrays', () => {
    fc.assert(
      fc.property(spaced, (raw) => {
        const value: unknown = JSON.parse(raw)
        expect(readArray(raw)?.map((text) => JSON.parse(text) as unknown)).toEqual(
          Array.isArray(value) ? value : undefined,
        )
        expect(readObject(raw) === undefined).toBe(
          typeof value !== 'object' || value === null || Array.isArray(value),
        )
        expect(readString(raw)).toEqual(typeof value === 'string' ? value : undefined)
      }),
    )
  })

  test('a raw object keeps what reading and writing would change', () => {
    const raw = '{ "a" : 12345678901234567890 , "b":1.0, "c" : {"z":1,"a":"\\u0041"} }'
    expect(writeObject(readObject(raw) ?? [])).toBe(
      '{"a":12345678901234567890,"b":1.0,"c":{"z":1,"a":"\\u0041"}}',
    )
  })

  test.each(['{"a":1,"a":2}', '{"a":1,"\\u0061":2}'])(
    'a raw object refuses %s, where a name stands twice, or takes the last',
    (raw) => {
      expect(() => readUnambiguous(raw)).toThrow(DuplicateMember)
      expect(writeObject(readObject(raw) ?? [])).toBe(JSON.stringify(JSON.parse(raw)))
    },
  )

  test('a raw object ends at text that is no JSON', () => {
    expect(readArray('[}]')).toEqual([''])
    expect(readArray('[1 2]')).toEqual(['1'])
  })
})
