import { expect, test } from 'vitest'
import { z } from 'zod'
import type { GatewayError } from '../core/errors.ts'
import { validate } from './validation.ts'

const schema = z.object({
  name: z.string(),
  table: z.record(z.string().max(3), z.string()).default({}),
})
const refusal = (body: object): Promise<GatewayError> =>
  validate(schema, body).then(
    () => expect.unreachable('It was accepted.'),
    (error: GatewayError) => error,
  )
const fields = (count: number): object =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`field${index}`, 0]))

test('a hundred unknown fields are reported singly, and more refused at once', async () => {
  expect((await validate(schema, { name: 'a', ...fields(100) })).warnings).toHaveLength(100)
  expect(await refusal({ name: 'a', ...fields(101) })).toMatchObject({
    code: 'validation_failed',
    mistakes: [{ pointer: '', code: 'too_many_unknown_fields' }],
  })
})

test.each<[string, object]>([
  ['too_many_members', { table: fields(333_000) }],
  ['too_many_members', { table: Array.from({ length: 20_000 }, () => 0) }],
  [
    'too_many_members',
    { table: Array.from({ length: 500 }, () => Array.from({ length: 50 }, () => ({}))) },
  ],
  ['too_deep', JSON.parse(`{"table":${'['.repeat(100_000)}${']'.repeat(100_000)}}`) as object],
])('a body is refused with %s before the schema looks at it', async (code, body) => {
  let looked = false
  const looking = z.object({ table: z.unknown().refine(() => (looked = true)) })
  const mistakes = await validate(looking, body).then(
    () => [],
    (error: GatewayError) => error.mistakes,
  )
  expect(mistakes).toEqual([expect.objectContaining({ pointer: '', code })])
  expect(looked).toBe(false)
})

test('a hundred mistakes are reported singly, and of more the number', async () => {
  const { mistakes } = await refusal({ name: 'a', table: fields(150) })
  expect(mistakes.slice(0, 100).map(({ pointer }) => pointer)).toEqual(
    Array.from({ length: 100 }, (_, index) => `/table/field${index}`),
  )
  expect(mistakes.slice(100)).toEqual([
    {
      pointer: '',
      code: 'more_mistakes',
      detail: 'has 50 more mistakes that this answer does not list',
    },
  ])
})

test('a missing or mistyped field is reported in plain English', async () => {
  expect((await refusal({ table: 'a' })).mistakes).toEqual([
    { pointer: '/name', code: 'invalid_type', detail: 'is required' },
    { pointer: '/table', code: 'invalid_type', detail: 'must be an object' },
  ])
})
