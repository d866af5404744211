import { describe, expect, expectTypeOf, test } from 'vitest'
import { defined } from './defined.ts'

const maybe = (value: string): string | undefined => (value === '' ? undefined : value)

describe('Members that are defined', () => {
  test('a member that is undefined is left out, and every other stays in its order', () => {
    const made = defined({ name: 'a', label: maybe(''), title: maybe('b'), none: null, zero: 0 })

    expect(Object.keys(made)).toEqual(['name', 'title', 'none', 'zero'])
    expect(made).toEqual({ name: 'a', title: 'b', none: null, zero: 0 })
  })

  test('a member that may be undefined becomes one that may be absent', () => {
    const made = defined({ name: 'a', label: maybe('') })

    expectTypeOf(made.name).toEqualTypeOf<string>()
    const exact: { name: string; label?: string } = made
    expect(exact).toEqual({ name: 'a' })
  })

  test('a member that is always there stays one that is required', () => {
    // @ts-expect-error: `label` may be absent.
    const required: { label: string } = defined({ label: maybe('') })
    expect(required).toEqual({})
  })
})
