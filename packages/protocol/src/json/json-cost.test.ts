import { describe, expect, test } from 'vitest'
import { isCostly, mostParts } from './json-cost.ts'

const many = mostParts + 1
const members = Array.from({ length: many }, (_, index) => `"k${index}":1`).join(',')

describe('a JSON text', () => {
  test.each([
    ['arrays in arrays', '['.repeat(many) + ']'.repeat(many)],
    ['arrays beside arrays in arrays', '[[],'.repeat(many / 2 + 1)],
    ['objects in objects', '{"a":'.repeat(many / 2 + 1)],
    ['empty objects', `[${'{},'.repeat(many)}1]`],
    ['members', `{${members}}`],
    ['members after a string with quotes', `{"a":"\\\\\\"",${members}}`],
  ])('a text of too many %s is costly', (_what, text) => {
    expect(isCostly(text)).toBe(true)
  })

  test.each([
    ['numbers', `[${'1,'.repeat(2_000_000)}1]`],
    ['brackets in a string', `"${'[{:'.repeat(many)}"`],
    ['brackets after an escaped quote', `"\\"${'[{:'.repeat(many)}"`],
    ['quotes in a string', `"${'\\"['.repeat(many)}"`],
    ['strings', `[${'"[",'.repeat(many)}"["]`],
    ['as many arrays as are allowed', `[${'[],'.repeat(mostParts - 2)}[]]`],
    ['one string without an end', `"${'['.repeat(many)}`],
  ])('a text of %s is not costly', (_what, text) => {
    expect(isCostly(text)).toBe(false)
  })
})
