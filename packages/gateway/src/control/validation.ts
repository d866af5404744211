import { z } from 'zod'
import { GatewayError, type Mistake } from '../core/errors.ts'
import type { WarningCode } from '../core/mistakes.ts'
import { plainIssue } from '../lib/plain-issue.ts'
import { suggestion } from '../lib/suggestion.ts'
import { tableOf } from '../lib/json/table-of.ts'

/** A part of a request that had no effect. */
export interface Warning {
  readonly pointer: string
  readonly code: WarningCode
  readonly detail: string
}

/**
 * Validates a value, and reports all mistakes with RFC 6901 pointers. Unknown members become
 * warnings, because other versions of the API may know them.
 * @throws GatewayError `validation_failed`, `environment_too_large`
 */
export async function validate<S extends z.ZodObject>(
  schema: S,
  value: unknown,
  more: () => readonly Mistake[] | Promise<readonly Mistake[]> = () => [],
): Promise<{ value: z.output<S>; warnings: Warning[] }> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new GatewayError('validation_failed', {
      detail: 'The body must be a JSON object.',
      mistakes: [{ pointer: '', code: 'invalid_type', detail: 'must be an object' }],
    })
  }

  const tooMuch = boundMistake(value)
  if (tooMuch !== undefined) throw new GatewayError('validation_failed', { mistakes: [tooMuch] })

  const parsed = schema.safeParse(value, { error: plainIssue })
  const mistakes = [
    ...(parsed.error?.issues ?? []).flatMap((issue) => toMistakes(issue)),
    ...(await more()),
  ]

  if (!parsed.success || mistakes.length > 0) {
    const tooLarge = mistakes.every(({ code }) => code === 'environment_too_large')
    throw new GatewayError(tooLarge ? 'environment_too_large' : 'validation_failed', {
      mistakes: fewOf(mistakes),
    })
  }

  const warnings: Warning[] = []
  for (const warning of unknownMembers(schema, value, [])) {
    warnings.push(warning)
    if (warnings.length > mostTold)
      throw new GatewayError('validation_failed', {
        mistakes: [
          {
            pointer: '',
            code: 'too_many_unknown_fields',
            detail: `must not hold more than ${mostTold} fields that are not known`,
          },
        ],
      })
  }

  return { value: parsed.data, warnings }
}

/**
 * Limit on the mistakes or unknown members in one answer. A body may hold hundreds of thousands,
 * which take longer to report than to read.
 */
const mostTold = 100

function fewOf(mistakes: readonly Mistake[]): readonly Mistake[] {
  const more = mistakes.length - mostTold
  return more <= 0
    ? mistakes
    : [
        ...mistakes.slice(0, mostTold),
        {
          pointer: '',
          code: 'more_mistakes',
          detail: `has ${more} more mistakes that this answer does not list`,
        },
      ]
}

/** Finds members that the schema does not know, on every level that it defines. */
function* unknownMembers(
  schema: unknown,
  value: unknown,
  path: readonly PropertyKey[],
): Iterable<Warning> {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodNullable
  )
    return yield* unknownMembers(schema.unwrap(), value, path)

  if (Array.isArray(value)) {
    if (schema instanceof z.ZodArray)
      for (const [index, each] of value.entries())
        yield* unknownMembers(schema.element, each, [...path, index])
    return
  }

  if (!(schema instanceof z.ZodObject) || typeof value !== 'object' || value === null) return
  const known = Object.keys(schema.shape)
  for (const [key, member] of Object.entries(value)) {
    if (known.includes(key)) yield* unknownMembers(schema.shape[key], member, [...path, key])
    else
      yield {
        pointer: pointerOf([...path, key]),
        code: 'unknown_field',
        detail: `'${key.slice(0, 100)}' is not known and had no effect.${suggestion(key, known)}`,
      }
  }
}

/**
 * Validates query parameters. Pointers have the form `query:name`.
 * @throws GatewayError `validation_failed`
 */
export function validateQuery<S extends z.ZodObject>(schema: S, query: unknown): z.output<S> {
  const parsed = schema.safeParse(query, { error: plainIssue })
  if (parsed.success) return parsed.data
  throw new GatewayError('validation_failed', {
    mistakes: parsed.error.issues.map((issue) => ({
      pointer: `query:${issue.path.join('.')}`,
      code: issue.code,
      detail: issue.message,
    })),
  })
}

/** Limit on the levels of a body, because some checks are recursive. */
const deepest = 100

/**
 * Limit on the members and elements of a body, on all levels. Checking one takes a few
 * microseconds.
 */
const mostMembers = 20_000

/** The limit that a body exceeds, so that it cannot be checked at all. */
export function boundMistake(value: object): Mistake | undefined {
  let members = 0
  let level: readonly object[] = [value]
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > deepest)
      return {
        pointer: '',
        code: 'too_deep',
        detail: `must not be nested deeper than ${deepest} levels`,
      }

    const next: object[] = []
    for (const each of level) {
      const values: readonly unknown[] = Array.isArray(each) ? each : Object.values(each)
      members += values.length
      if (members > mostMembers)
        return {
          pointer: '',
          code: 'too_many_members',
          detail: `must not hold more than ${mostMembers} members and elements`,
        }

      for (const member of values)
        if (typeof member === 'object' && member !== null) next.push(member)
    }

    level = next
  }
  return undefined
}

function toMistakes(issue: z.core.$ZodIssue): Mistake[] {
  if (issue.code === 'invalid_union') {
    const [fitting, ...others] = issue.errors.filter((errors) => !errors.some(isOtherType))
    if (fitting !== undefined && others.length === 0)
      return fitting.flatMap((each) => toMistakes({ ...each, path: [...issue.path, ...each.path] }))
  }

  // The message of a union says only that nothing matched. The alternative that matched deepest
  // says more.
  if (issue.code === 'invalid_union') {
    const deepest = issue.errors.flat().toSorted((a, b) => b.path.length - a.path.length)[0]
    if (deepest !== undefined)
      return [
        {
          pointer: pointerOf([...issue.path, ...deepest.path]),
          code: deepest.code,
          detail: deepest.path.length > 0 ? deepest.message : alternatives(issue.errors),
        },
      ]
  }

  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      pointer: pointerOf([...issue.path, key]),
      code: 'unknown_field',
      detail: 'is not known here',
    }))
  return [{ pointer: pointerOf(issue.path), code: issue.code, detail: issue.message.slice(0, 500) }]
}

/** True if the value has another type than this alternative of a union. */
function isOtherType({ code, path }: z.core.$ZodIssue): boolean {
  return code === 'invalid_type' && path.length === 0
}

/** Joins the expectations of all alternatives of a union. */
function alternatives(errors: readonly (readonly z.core.$ZodIssue[])[]): string {
  return [
    ...new Set(errors.flatMap(([first]) => (first === undefined ? [] : [first.message]))),
  ].join('; or: ')
}

function pointerOf(path: readonly PropertyKey[]): string {
  return path
    .map((part) => `/${String(part).slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('')
}

/** Finds a name in a body that is not the name in the path. */
export function renames(name: string, body: unknown): Mistake[] {
  const given = tableOf(body)['name']
  return typeof given === 'string' && given !== name
    ? [
        {
          pointer: '/name',
          code: 'name_mismatch',
          detail: 'must be the name in the address; a name never changes',
        },
      ]
    : []
}
