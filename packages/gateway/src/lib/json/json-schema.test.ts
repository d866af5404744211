import { describe, expect, test } from 'vitest'
import { compileCheck, schemaLimits, schemaMistakes } from './json-schema.ts'

const nested = (levels: number): Record<string, unknown> => {
  let schema: Record<string, unknown> = { type: 'string' }
  for (let level = 0; level < levels; level += 1)
    schema = { type: 'object', properties: { a: schema } }
  return schema
}

describe('a schema that is registered', () => {
  test.each([
    [
      'a type that does not exist',
      { type: 'object', properties: { a: { type: 'text' } } },
      '/properties/a/type',
      'schema_invalid',
    ],
    ['required that is no list', { type: 'object', required: 'a' }, '/required', 'schema_invalid'],
    [
      'a reference to nowhere',
      { properties: { a: { $ref: '#/$defs/none' } } },
      '',
      'schema_invalid',
    ],
    [
      'a reference to elsewhere',
      { properties: { a: { $ref: 'http://example.com/s' } } },
      '/properties/a/$ref',
      'schema_reference',
    ],
    ['a reference to itself', { $ref: '#' }, '', 'schema_loop'],
    [
      'two that refer to each other',
      { $defs: { a: { $ref: '#/$defs/b' }, b: { allOf: [{ $ref: '#/$defs/a' }] } } },
      '',
      'schema_loop',
    ],
    [
      'a loop by anchor',
      { $defs: { a: { $anchor: 'x', not: { $ref: '#x' } } } },
      '/$defs/a',
      'schema_loop',
    ],
    [
      'a pattern that is none',
      { properties: { a: { pattern: '(' } } },
      '/properties/a/pattern',
      'pattern_invalid',
    ],
    [
      'a pattern that is too long',
      { properties: { a: { pattern: 'a'.repeat(1001) } } },
      '/properties/a/pattern',
      'pattern_too_long',
    ],
    [
      'an unknown dialect',
      { $schema: 'http://json-schema.org/draft-04/schema#' },
      '/$schema',
      'schema_dialect',
    ],
    ['too deep', nested(40), '', 'schema_too_deep'],
    [
      'too deep to recurse',
      JSON.parse(`{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`),
      '',
      'schema_too_deep',
    ],
    ['a megabyte', { description: 'x'.repeat(1024 * 1024) }, '', 'schema_too_large'],
  ])('a schema with %s is refused, with its place', (_what, schema, pointer, code) => {
    const [first] = schemaMistakes(schema as Record<string, unknown>)
    expect(first?.code).toBe(code)
    if (code !== 'schema_loop' || pointer !== '') expect(first?.pointer).toBe(pointer)
  })

  test.each([
    { type: 'object' },
    nested(schemaLimits.depth / 2 - 1),
    {
      type: 'object',
      properties: { child: { $ref: '#' }, list: { type: 'array', items: { $ref: '#' } } },
    },
    {
      $schema: 'http://json-schema.org/draft-07/schema#',
      definitions: { a: { type: 'string' } },
      properties: { a: { $ref: '#/definitions/a' } },
    },
    {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $defs: { a: {} },
      prefixItems: [{ $ref: '#/$defs/a' }],
    },
    {
      $id: 'https://example.com/tool',
      type: 'object',
      properties: { a: { format: 'email', 'x-own-word': 1 } },
    },
    { enum: [{ $ref: 'not a reference' }], default: { pattern: '(' } },
  ])('the schema %j is accepted', (schema) => {
    expect(schemaMistakes(schema)).toEqual([])
    // The checker keeps nothing of the schema, so a caller can register the same identifier again.
    expect(schemaMistakes({ ...schema, title: 'again' })).toEqual([])
  })
})

describe('a schema so small that it is compiled in one way when it is registered', () => {
  const many = (count: number, one: (index: number) => unknown): unknown[] =>
    Array.from({ length: count }, (_, index) => one(index))
  const byName = (count: number, one: unknown): object =>
    Object.fromEntries(many(count, (index) => [`p${index}`, one]) as [string, unknown][])
  test.each<[string, object]>([
    ['many properties', { properties: byName(350, {}) }],
    ['many properties of a type', { properties: byName(160, { type: 'string' }) }],
    ['many patterns', { patternProperties: byName(350, {}) }],
    ['many branches', { allOf: many(360, () => ({ not: {} })) }],
    ['many alternatives', { anyOf: many(270, () => ({ minimum: 1 })) }],
    ['many required', { required: many(500, (index) => `p${index}`) }],
    ['many dependencies', { dependentSchemas: byName(350, {}) }],
    ['as deep as may be', nested(schemaLimits.depth / 2 - 1)],
    ['many items, nested', { prefixItems: many(150, () => ({ items: { not: {} } })) }],
    [
      'many references',
      { $defs: { a: { type: 'string' } }, prefixItems: many(180, () => ({ $ref: '#/$defs/a' })) },
    ],
  ])('a small schema compiles in the other way too: %s', (_what, schema) => {
    expect(JSON.stringify(schema).length).toBeLessThanOrEqual(4096)
    expect(schemaMistakes(schema as Record<string, unknown>)).toEqual([])
    for (const allErrors of [false, true])
      expect(() => compileCheck(schema as Record<string, unknown>, allErrors)({})).not.toThrow()
  })
})

describe('two schemas', () => {
  test('two schemas share no identifiers, not even within them', () => {
    const inner = { $id: 'https://example.com/inner', type: 'string' }
    expect(
      schemaMistakes({ type: 'object', properties: { a: inner, b: { $ref: '#/properties/a' } } }),
    ).toEqual([])
    expect(
      schemaMistakes({
        $id: 'https://example.com/x',
        properties: { b: { $ref: 'https://example.com/inner' } },
      })[0]?.code,
    ).toBe('schema_invalid')
    expect(
      schemaMistakes({ type: 'object', properties: { a: { ...inner, type: 'number' } } }),
    ).toEqual([])
  })
})
