import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findDuplicateKey } from './duplicate-key.ts'

describe('duplicate keys', () => {
  test.each([
    ['{"a":1,"a":2}', '/a'],
    ['{"a":{"b":1,"\\u0062":2}}', '/a/b'],
    ['[{"x":1},{"y":[0,{"z":1 , "z" :2}]}]', '/1/y/1/z'],
    ['{"a/b":1,"a/b":2}', '/a~1b'],
  ])('the text %s has a duplicate key at %s', (json, pointer) => {
    expect(findDuplicateKey(json)).toBe(pointer)
  })

  test('output of JSON.stringify has no duplicate key', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        expect(findDuplicateKey(json)).toBeUndefined()
      }),
    )
  })
})
