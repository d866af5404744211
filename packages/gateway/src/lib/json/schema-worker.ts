import { BoundedCache } from '../bounded-cache.ts'
import { compileCheck, schemaMistakes, type ValueCheck, type ValueMistake } from './json-schema.ts'
import type { SchemaTask } from './schema-checks.ts'
import { serveTasks } from '../async/timed-worker.ts'

/**
 * The program of the threads that `schema-checks.ts` starts. Each task carries its schema, so a new
 * thread needs no other state.
 */
const compiled = new BoundedCache<string, ValueCheck>(500)

function checkOf(schema: string, allErrors: boolean): ValueCheck {
  const key = `${allErrors} ${schema}`
  let check = compiled.get(key)
  if (check === undefined) {
    check = compileCheck(parse(schema), allErrors)
    compiled.set(key, check)
  }
  return check
}

function parse(schema: string): Readonly<Record<string, unknown>> {
  return JSON.parse(schema) as Readonly<Record<string, unknown>>
}

serveTasks<SchemaTask, readonly ValueMistake[]>(({ schema, check }) => {
  if (check === undefined) return () => schemaMistakes(parse(schema))
  const mistakesOf = checkOf(schema, check.allErrors)
  const value: unknown = JSON.parse(check.value)
  return () => mistakesOf(value)
})
