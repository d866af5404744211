import { expect, test } from 'vitest'
import { z } from 'zod'
import { plainIssue } from './plain-issue.ts'

test.each<[z.ZodType, unknown, string]>([
  [z.object({ name: z.string() }), {}, 'is required'],
  [z.string(), null, 'must be a string'],
  [z.string(), 1.5, 'must be a string: put it in quotes'],
  [z.string(), true, 'must be a string: put it in quotes'],
  [z.number(), '5', 'must be a number'],
  [z.int(), 1.5, 'must be a whole number'],
  [z.boolean(), 'yes', 'must be true or false'],
  [z.array(z.string()), 'a', 'must be a list'],
  [z.object({}), [], 'must be an object'],
  [z.record(z.string(), z.string()), null, 'must be an object'],
  [z.enum(['auto', 'passthrough']), 'both', "must be one of 'auto', 'passthrough'"],
  [z.literal('Adapter'), 'Adaptor', "must be 'Adapter'"],
  [z.string().min(1), '', 'must not be empty'],
  [z.array(z.string()).min(1), [], 'must not be empty'],
  [z.array(z.string()).min(2), ['a'], 'must have at least 2 entries'],
  [z.string().max(1), 'ab', 'must have at most 1 character'],
  [z.number().min(0), -1, 'must be at least 0'],
  [z.number().max(100), 200, 'must be at most 100'],
  [z.number().positive(), 0, 'must be more than 0'],
  [z.guid(), 'x', 'must be a GUID'],
  [
    z.record(z.string().regex(/^a/, 'must begin with a'), z.string()),
    { b: '' },
    'must begin with a',
  ],
  [z.string().min(2, 'must have words of its own'), '', 'must have words of its own'],
])('a mistake of a value is reported in plain English (%#)', (schema, value, said) => {
  const { error } = schema.safeParse(value, { error: plainIssue })

  expect(error?.issues.map(({ message }) => message)).toEqual([said])
})
