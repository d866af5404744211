import { afterAll, describe, expect, test } from 'vitest'
import { SchemaChecks, whyUnchecked, type CheckedSchema } from '../../src/lib/json/schema-checks.ts'

let now = 0
const checks = new SchemaChecks(() => now)
afterAll(() => checks[Symbol.asyncDispose]())

type Schema = Readonly<Record<string, unknown>>

const backtracking: Schema = {
  type: 'object',
  properties: { a: { type: 'string', pattern: '^(a+)+$' } },
}
const bad = JSON.stringify({ a: `${'a'.repeat(60)}!` })
const good = '{"a":"aaa"}'

async function check(schema: Schema, value: unknown): Promise<string[]> {
  const mistakes = await checks.schema(schema, 'me').mistakes(JSON.stringify(value))
  return mistakes.map(({ pointer, detail }) => `${pointer}: ${detail}`)
}

async function codesOf(compiled: CheckedSchema, value = bad): Promise<string[]> {
  return (await compiled.mistakes(value)).map(
    (mistake) => whyUnchecked([mistake])?.code ?? mistake.detail,
  )
}

const everyMistake: Schema = {
  type: 'object',
  properties: {
    a: { type: 'object', required: ['b'] },
    n: { type: 'integer', maximum: 3 },
    e: { enum: ['x', 'y'] },
  },
  required: ['location'],
  additionalProperties: false,
}

describe('a value that is checked', () => {
  test.each([
    ['here', everyMistake],
    ['by another thread', { ...everyMistake, patternProperties: { '^z': {} } }],
  ])('a check %s reports all mistakes with their places', async (_where, schema) => {
    expect(await check(schema, { a: {}, n: 4, e: 'z', extra: 1 })).toEqual([
      '/location: is required',
      '/extra: is not an argument that is known here',
      '/a/b: is required',
      '/n: must be <= 3',
      '/e: must be one of ["x","y"]',
    ])
  })

  test('a quick check runs at once, and one that could be slow in another thread', () => {
    const small = checks.schema({ type: 'object', properties: { a: { type: 'string' } } }, 'me')
    expect(small.mistakes('{"a":1}')).toHaveLength(1)
    // Each of these places breaks each of these rules.
    const rules = checks.schema(
      { items: { allOf: Array.from({ length: 200 }, () => ({ type: 'null' })) } },
      'me',
    )
    expect(rules.mistakes('[0]')).toHaveLength(1)
    for (const [schema, value] of [
      [rules, JSON.stringify(Array.from({ length: 8000 }, () => 0))],
      [small, JSON.stringify({ a: 'x'.repeat(20_000) })],
      [checks.schema(backtracking, 'me'), good],
      [checks.schema({ description: 'x'.repeat(5000) }, 'me'), '1'],
    ] as const) {
      const found = schema.mistakes(value)
      expect(found).toBeInstanceOf(Promise)
    }
  })

  test('an endlessly backtracking pattern is given up, and rests for a while', async () => {
    now = 0
    expect(await checks.schemaMistakes(backtracking, 'me')).toEqual([])
    const compiled = checks.schema(backtracking, 'me')
    expect(await compiled.mistakes(good)).toEqual([])
    const other = checks.schema({ type: 'string', pattern: '^b$' }, 'me')
    for (let round = 1; round <= 3; round += 1) {
      now = round * 60_000
      expect(await codesOf(compiled)).toEqual(['schema_too_slow'])

      // One thread checks values in turn, so a second try would end after the other value.
      const ended: string[] = []
      const checked = Promise.resolve(other.mistakes('"b"')).then(() => ended.push('other'))
      expect(await codesOf(compiled)).toEqual(['schema_too_slow'])
      ended.push('backtracking')
      await checked
      expect(ended).toEqual(['backtracking', 'other'])
    }
    now = 240_000
    expect(await compiled.mistakes(good)).toEqual([])
  })

  test('checks that wait behind a slow schema are given up, and other schemas run', async () => {
    now = 0
    const hostile = checks.schema(backtracking, 'me')
    const honest = checks.schema({ type: 'string', pattern: '^b$' }, 'me')
    const found = await Promise.all([
      hostile.mistakes(bad),
      hostile.mistakes(good),
      honest.mistakes('"b"'),
      honest.mistakes('"c"'),
      hostile.mistakes(bad),
    ])
    expect(found[2]).toEqual([])
    expect(found[3]).toEqual([{ pointer: '', detail: 'must match pattern "^b$"' }])
    expect(found.map((mistakes) => whyUnchecked(mistakes)?.code)).toEqual([
      'schema_too_slow',
      'schema_too_slow',
      undefined,
      undefined,
      'schema_too_slow',
    ])
  })

  test('references that multiply end soon', async () => {
    const $defs = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [
        `d${index}`,
        { allOf: [{ $ref: `#/$defs/d${index + 1}` }, { $ref: `#/$defs/d${index + 1}` }] },
      ]),
    )
    const schema = { type: 'object', $defs: { ...$defs, d40: {} }, $ref: '#/$defs/d0' }
    expect(await checks.schemaMistakes(schema, 'me')).toEqual([])
    expect(await codesOf(checks.schema(schema, 'me'), '{}')).toEqual(['schema_too_slow'])
  })

  test('a value that is too deep for a recursive schema is a mistake, no failure', async () => {
    const value = `${'{"child":'.repeat(100_000)}{}${'}'.repeat(100_000)}`
    const compiled = checks.schema({ type: 'object', properties: { child: { $ref: '#' } } }, 'me')
    expect(['is nested too deeply to be checked', 'schema_too_slow']).toContain(
      (await codesOf(compiled, value))[0],
    )
  })

  test('a value that nobody waits for is not checked', async () => {
    const gone = AbortSignal.abort()
    await expect(checks.schema(backtracking, 'me').mistakes(bad, gone)).rejects.toThrow(
      expect.objectContaining({ name: 'AbortError' }),
    )
  })
})

describe('a schema that is registered', () => {
  test('a schema that compiles too slowly is given up, and others are not', async () => {
    const names = (make: (index: number) => object, count: number): object =>
      Object.assign({}, ...Array.from({ length: count }, (_, index) => make(index)))
    const hostile = {
      patternProperties: names((index) => ({ [`^${index}`]: {} }), 5400),
      additionalProperties: false,
    }
    const [slow, broken, fine] = await Promise.all([
      checks.schemaMistakes(hostile, 'me'),
      checks.schemaMistakes({ type: 'text' }, 'me'),
      checks.schemaMistakes(
        {
          properties: names((index) => ({ [`p${index}`]: { $ref: '#/$defs/a' } }), 20),
          $defs: { a: {} },
        },
        'me',
      ),
    ])
    expect(slow.map(({ pointer, code }) => [pointer, code])).toEqual([['', 'schema_too_slow']])
    expect(broken[0]?.pointer).toBe('/type')
    expect(fine).toEqual([])
  })

  test('a schema that is too large to look at is refused at once', async () => {
    const deep = JSON.parse(`{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`) as Schema
    expect((await checks.schemaMistakes(deep, 'me'))[0]?.code).toBe('schema_too_deep')
    expect(
      (await checks.schemaMistakes({ description: 'x'.repeat(1024 * 1024) }, 'me'))[0]?.code,
    ).toBe('schema_too_large')
  })
})

test('ended checks refuse new values and those that wait', async () => {
  const ended = new SchemaChecks()
  const waiting = ended.schema(backtracking, 'me').mistakes(good)
  await ended[Symbol.asyncDispose]()
  expect(whyUnchecked(await waiting)?.code).toBe('checks_busy')
  expect(await codesOf(ended.schema(backtracking, 'me'), good)).toEqual(['checks_busy'])
})
