import { tableOf } from '../../../lib/json/table-of.ts'
import type { References } from './references.ts'
import { Unreadable } from './unreadable.ts'

type Schema = Record<string, unknown>

/** Limits of the schemas of one tool: characters, about, and levels. */
const limits = { characters: 60_000, depth: 60, pattern: 1000 }

const maps = new Set(['properties', 'patternProperties', 'dependentSchemas'])
const lists = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems'])
const singles = new Set(
  (
    'items additionalProperties not contains propertyNames if then else ' +
    'unevaluatedItems unevaluatedProperties'
  ).split(' '),
)
/** Keywords whose values are plain JSON. All others, such as `xml` and `x-…`, are left out. */
const plain = new Set(
  (
    'type enum const format title description default examples deprecated multipleOf ' +
    'minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength pattern ' +
    'minItems maxItems uniqueItems minContains maxContains minProperties maxProperties ' +
    'required dependentRequired contentEncoding contentMediaType'
  ).split(' '),
)

/**
 * Writes the schemas of one tool as JSON Schema 2020-12. Many clients do not read `$ref`, so
 * references are replaced by their schemas; only circles and very large ones become `$defs`.
 */
export class SchemaWriter {
  readonly #references: References
  readonly #inlines: boolean
  readonly #names = new Map<string, string>()
  readonly #defs = new Map<string, unknown>()
  /** References whose definitions are still to be written. */
  readonly #pending: string[] = []
  #characters = 0

  constructor(references: References, inlines: boolean) {
    this.#references = references
    this.#inlines = inlines
  }

  /** Definitions of the schemas that have been written. */
  get defs(): Schema | undefined {
    return this.#defs.size === 0 ? undefined : Object.fromEntries(this.#defs)
  }

  /** @throws Unreadable */
  write(schema: unknown): unknown {
    const written = this.#schema(schema, [])
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      const definition = this.#schema(this.#references.at(next), [next])
      this.#defs.set(this.#names.get(next) ?? '', definition)
    }
    return written
  }

  #schema(schema: unknown, within: readonly string[], depth = 0): unknown {
    this.#count(8)
    if (depth > limits.depth)
      throw new Unreadable('schema_too_deep', `A schema has more than ${limits.depth} levels.`)
    if (typeof schema === 'boolean') return schema

    const table = tableOf(schema)
    const { $ref: reference } = table
    if (typeof reference !== 'string') return this.#keywords(table, within, depth)
    const target = this.#target(reference, within, depth)
    const { $ref: _reference, ...beside } = this.#keywords(table, within, depth)
    if (Object.keys(beside).length === 0) return target
    // Notes beside a reference replace those of its schema; rules beside it apply as well.
    const notes = Object.keys(beside).every((key) => /^(title|description|deprecated)$/.test(key))
    return notes && typeof target === 'object' && !Object.hasOwn(target as object, '$ref')
      ? { ...(target as Schema), ...beside }
      : { allOf: [target], ...beside }
  }

  #target(reference: string, within: readonly string[], depth: number): unknown {
    if (this.#inlines && !within.includes(reference))
      return this.#schema(this.#references.at(reference), [...within, reference], depth + 1)

    const known = this.#names.get(reference)
    if (known !== undefined) return { $ref: `#/$defs/${known}` }
    const name = this.#nameFor(reference)
    this.#names.set(reference, name)
    this.#pending.push(reference)
    return { $ref: `#/$defs/${name}` }
  }

  #nameFor(reference: string): string {
    const last = (reference.split('/').at(-1) ?? '').replaceAll(/[^A-Za-z0-9_.-]/g, '_')
    const taken = new Set(this.#names.values())
    let name = last.slice(0, 64) || 'schema'
    for (let count = 2; taken.has(name); count += 1) name = `${last.slice(0, 60)}_${count}`
    return name
  }

  #keywords(table: Schema, within: readonly string[], depth: number): Schema {
    const written: [string, unknown][] = []
    for (const [key, value] of Object.entries(modern(table))) {
      if (lists.has(key) && Array.isArray(value))
        written.push([key, value.map((each) => this.#schema(each, within, depth + 1))])
      else if (maps.has(key)) written.push([key, this.#map(key, value, within, depth)])
      else if (singles.has(key)) written.push([key, this.#schema(value, within, depth + 1)])
      else if (plain.has(key) && isUsable(key, value))
        written.push([key, this.#value(value, depth)])
    }
    return withoutReadOnly(Object.fromEntries(written), table)
  }

  #map(key: string, value: unknown, within: readonly string[], depth: number): Schema {
    const schemas = Object.entries(tableOf(value)).filter(
      ([, schema]) => key !== 'properties' || !isReadOnly(schema),
    )
    return Object.fromEntries(
      schemas.map(([name, schema]) => {
        this.#count(name.length)
        return [name, this.#schema(schema, within, depth + 1)]
      }),
    )
  }

  /** Copies a value, because aliases of YAML may stand for far more than the document has. */
  #value(value: unknown, depth: number): unknown {
    this.#count(typeof value === 'string' ? value.length + 4 : 4)
    if (depth > limits.depth)
      throw new Unreadable('schema_too_deep', `A schema has more than ${limits.depth} levels.`)
    if (Array.isArray(value)) return value.map((each) => this.#value(each, depth + 1))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => {
        this.#count(key.length)
        return [key, this.#value(each, depth + 1)]
      }),
    )
  }

  #count(characters: number): void {
    this.#characters += characters
    if (this.#characters > limits.characters)
      throw new Unreadable(
        'schema_too_large',
        `The schemas of the operation have more than ${limits.characters} characters.`,
      )
  }
}

/** The keywords of OpenAPI 3.0 as JSON Schema 2020-12 has them. */
function modern(table: Schema): Schema {
  const { nullable, example, exclusiveMinimum, exclusiveMaximum, ...rest } = table
  const changed: Schema = { ...rest }
  if (example !== undefined && rest['examples'] === undefined) changed['examples'] = [example]

  for (const [key, bound, value] of [
    ['exclusiveMinimum', 'minimum', exclusiveMinimum],
    ['exclusiveMaximum', 'maximum', exclusiveMaximum],
  ] as const) {
    if (typeof value === 'number') changed[key] = value
    if (value === true && bound in rest) {
      changed[key] = rest[bound]
      delete changed[bound]
    }
  }

  if (nullable === true && typeof rest['type'] === 'string') {
    changed['type'] = [rest['type'], 'null']
    const values = rest['enum']
    if (Array.isArray(values) && !values.includes(null)) changed['enum'] = [...values, null]
  }
  return changed
}

/** Leaves out a keyword that would make the whole schema unusable, and that the service checks. */
function isUsable(key: string, value: unknown): boolean {
  if (key === 'required')
    return Array.isArray(value) && value.every((each) => typeof each === 'string')
  if (key === 'examples') return Array.isArray(value)
  if (key !== 'pattern') return true
  if (typeof value !== 'string' || value.length > limits.pattern) return false
  try {
    return new RegExp(value, 'u') instanceof RegExp
  } catch {
    return false
  }
}

/** Services refuse or ignore what is read-only, so a caller need not give it. */
function isReadOnly(schema: unknown): boolean {
  return tableOf(schema)['readOnly'] === true
}

function withoutReadOnly(written: Schema, table: Schema): Schema {
  const { required } = written
  if (!Array.isArray(required)) return written
  const properties = tableOf(table['properties'])
  return {
    ...written,
    required: [...new Set(required as string[])].filter(
      (name) => !(Object.hasOwn(properties, name) && isReadOnly(properties[name])),
    ),
  }
}
