import type { z } from 'zod'

const types: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}

const formats: Readonly<Record<string, string>> = {
  datetime: 'an ISO 8601 time',
  guid: 'a GUID',
  url: 'a URL',
  uuid: 'a UUID',
}

const units: Readonly<Record<string, readonly [string, string]>> = {
  string: ['character', 'characters'],
  array: ['entry', 'entries'],
  set: ['entry', 'entries'],
}

/** Says what a value must be, where a schema has no message of its own. */
export function plainIssue(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is required'
      // YAML reads `version: 1.0` as a number.
      if (issue.expected === 'string' && ['number', 'boolean'].includes(typeof issue.input))
        return 'must be a string: put it in quotes'
      return `must be ${types[issue.expected] ?? issue.expected}`

    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(shown).join(', ')}`

    case 'too_small':
      return bound(
        issue.origin,
        issue.inclusive === false ? 'more than' : 'at least',
        issue.minimum,
      )

    case 'too_big':
      return bound(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)

    case 'invalid_format':
      return `must be ${formats[issue.format] ?? `a valid ${issue.format}`}`

    case 'invalid_key':
      return issue.issues[0]?.message

    case 'custom':
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return undefined
  }
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value)
}

function bound(origin: string, relation: string, limit: number | bigint): string {
  const [one, several] = units[origin] ?? []
  if (one === undefined) return `must be ${relation} ${limit}`
  if (relation === 'at least' && Number(limit) === 1) return 'must not be empty'

  return `must have ${relation} ${limit} ${Number(limit) === 1 ? one : several}`
}
