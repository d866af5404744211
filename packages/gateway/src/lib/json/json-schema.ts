import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'

/** The mistakes of a schema, by their stable codes. */
export const schemaMistakeTable = {
  pattern_invalid: 'The pattern is not a regular expression of ECMAScript with the flag u.',
  pattern_too_long: 'The pattern has more characters than the gateway compiles.',
  schema_dialect: 'The schema names a dialect other than 2020-12 and draft-07.',
  schema_invalid: 'The schema breaks a rule of its dialect.',
  schema_loop: 'The schema refers to itself without end, so no value could ever be checked.',
  schema_reference: 'The schema refers to another document. The gateway fetches none.',
  schema_too_deep: 'The schema has more levels than the gateway compiles.',
  schema_too_large: 'The schema has more bytes than the gateway compiles.',
  schema_too_slow: 'The schema takes more time or memory to compile than the gateway spends.',
} as const

export type SchemaMistakeCode = keyof typeof schemaMistakeTable

/** The place (RFC 6901) and text of a mistake in a value. */
export interface ValueMistake {
  readonly pointer: string
  readonly detail: string
}

/** A mistake in a schema. */
export interface SchemaMistake extends ValueMistake {
  readonly code: SchemaMistakeCode
}

/** Limits of a schema: bytes, depth, and characters of a pattern. */
export const schemaLimits = { bytes: 64 * 1024, depth: 64, pattern: 1000 } as const

/**
 * Characters up to which both ways of checking compile if one does, because there are few rules.
 * Compiling takes the square of the size, so some milliseconds at worst.
 */
export const smallSchema = 4096

type Schema = Readonly<Record<string, unknown>>

const draft07 = /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/
const draft2020 = 'https://json-schema.org/draft/2020-12/schema'

const options: Options = {
  // Unknown keywords are annotations (2020-12, core, section 6.5), and so are formats.
  strict: false,
  validateFormats: false,
  // With inlining, many references to one large part would make code of many times its size.
  inlineRefs: false,
  // Most schemas are compiled once, to see whether they compile. Calls cost no more without Ajv's
  // optimizer, because V8 optimizes.
  code: { optimize: false },
  // `shapeMistakes` validates the schema, with places.
  validateSchema: false,
  logger: false,
}

/**
 * One dialect. An Ajv instance keeps parts of each schema that it compiles, so each schema gets its
 * own instance.
 */
interface Dialect {
  readonly make: (options: Options) => Ajv
  /** Checks schemas against the dialect's own; created at first use. */
  meta: Ajv | undefined
}

const newest: Dialect = { make: (given) => new Ajv2020(given), meta: undefined }
const older: Dialect = { make: (given) => new Ajv(given), meta: undefined }

function dialectOf(schema: Schema): Dialect {
  const dialect = schema['$schema']
  return typeof dialect === 'string' && draft07.test(dialect) ? older : newest
}

function compile(schema: Schema, allErrors: boolean): ValidateFunction {
  return dialectOf(schema)
    .make({ ...options, allErrors, meta: false })
    .compile(schema)
}

const mistake = (pointer: string, code: SchemaMistakeCode, detail: string): SchemaMistake => ({
  pointer,
  code,
  detail,
})

/** Refuses schemas that are too large for any other check. Takes almost no time. */
export function sizeMistakes(schema: Schema): readonly SchemaMistake[] {
  const depth = depthOf(schema, schemaLimits.depth)
  if (depth > schemaLimits.depth)
    return [
      mistake('', 'schema_too_deep', `must not be nested deeper than ${schemaLimits.depth} levels`),
    ]
  const size = Buffer.byteLength(JSON.stringify(schema))
  return size > schemaLimits.bytes
    ? [
        mistake(
          '',
          'schema_too_large',
          `must be at most ${schemaLimits.bytes} bytes of JSON, and is ${size}`,
        ),
      ]
    : []
}

/**
 * Finds the mistakes of a schema (JSON Schema 2020-12, or draft-07 where declared). Compiling takes
 * up to the square of the size: 64 KiB can take many seconds.
 */
export function schemaMistakes(schema: Schema): readonly SchemaMistake[] {
  const tooLarge = sizeMistakes(schema)
  if (tooLarge.length > 0) return tooLarge

  const dialect = schema['$schema']
  if (
    dialect !== undefined &&
    (typeof dialect !== 'string' ||
      !(draft07.test(dialect) || dialect.replace(/#$/, '') === draft2020))
  )
    return [mistake('/$schema', 'schema_dialect', `must be ${draft2020} (or draft-07)`)]

  const found = [...shapeMistakes(schema), ...walk(schema)]
  if (found.length > 0) return found.slice(0, 20)

  const loop = findLoop(schema)
  if (loop !== undefined)
    return [
      mistake(
        loop,
        'schema_loop',
        'refers to itself without end: no value could ever be checked by it',
      ),
    ]

  try {
    compile(schema, true)
    // An accepted schema must compile in both ways later. Code that stops at the first mistake
    // nests as deep as there are rules.
    if (JSON.stringify(schema).length > smallSchema) compile(schema, false)
    return []
  } catch (error) {
    return [mistake('', 'schema_invalid', (error as Error).message.slice(0, 500))]
  }
}

function shapeMistakes(schema: Schema): SchemaMistake[] {
  // Each rule that a mistake breaks reports it; the first report of a place is enough.
  const places = new Map<string, SchemaMistake>()
  const dialect = dialectOf(schema)
  const meta = (dialect.meta ??= dialect.make({ ...options, validateSchema: true }))
  const errors = meta.validateSchema(schema) === true ? [] : (meta.errors ?? [])
  for (const { instancePath, message = 'is not valid' } of errors)
    if (!places.has(instancePath))
      places.set(instancePath, { pointer: instancePath, code: 'schema_invalid', detail: message })
  return [...places.values()]
}

/**
 * Counts the depth of a value, at most just beyond `most`. Works without recursion, because the
 * value may be too deep for it.
 */
export function depthOf(value: unknown, most: number): number {
  let level: unknown[] = [value]
  for (let depth = 0; ; depth += 1) {
    level = level.flatMap((each) =>
      typeof each === 'object' && each !== null ? Object.values(each) : [],
    )
    if (level.length === 0 || depth > most) return depth
  }
}

/** Keywords whose values are data, not schemas. */
const data = new Set(['const', 'enum', 'default', 'examples'])
/** Keywords whose values are schemas by name. */
const byName = new Set([
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
  'dependencies',
])

function* schemasIn(
  node: unknown,
  pointer: string,
): Generator<{ readonly node: Schema; readonly pointer: string }> {
  if (Array.isArray(node)) {
    for (const [index, each] of node.entries()) yield* schemasIn(each, `${pointer}/${index}`)
    return
  }
  if (typeof node !== 'object' || node === null) return
  yield { node: node as Schema, pointer }
  for (const [key, value] of Object.entries(node)) {
    if (data.has(key)) continue
    const place = `${pointer}/${escapePointer(key)}`
    if (byName.has(key) && typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [name, each] of Object.entries(value))
        yield* schemasIn(each, `${place}/${escapePointer(name)}`)
    else yield* schemasIn(value, place)
  }
}

/** Finds patterns and references that are not allowed. */
function walk(schema: Schema): SchemaMistake[] {
  const found: SchemaMistake[] = []

  const checkPattern = (text: string, pointer: string): void => {
    if (text.length > schemaLimits.pattern)
      found.push({
        pointer,
        code: 'pattern_too_long',
        detail: `must be at most ${schemaLimits.pattern} characters`,
      })
    else {
      try {
        void new RegExp(text, 'u')
      } catch (error) {
        found.push({
          pointer,
          code: 'pattern_invalid',
          detail: (error as Error).message.slice(0, 300),
        })
      }
    }
  }

  for (const { node, pointer } of schemasIn(schema, '')) {
    if (typeof node['pattern'] === 'string') checkPattern(node['pattern'], `${pointer}/pattern`)
    const patterns = node['patternProperties']
    if (typeof patterns === 'object' && patterns !== null)
      for (const text of Object.keys(patterns))
        checkPattern(text, `${pointer}/patternProperties/${escapePointer(text)}`)

    const { $ref } = node
    if (typeof $ref === 'string' && !$ref.startsWith('#') && schema['$id'] === undefined)
      found.push({
        pointer: `${pointer}/$ref`,
        code: 'schema_reference',
        detail: "must begin with '#': nothing is fetched from elsewhere",
      })
  }

  return found
}

/** Keywords that apply a schema to the same value, so that a cycle through them never ends. */
const inPlace = [
  'allOf',
  'anyOf',
  'oneOf',
  'not',
  'if',
  'then',
  'else',
  'dependentSchemas',
] as const

/** The pointer of a schema that applies to one value without end; undefined when there is none. */
function findLoop(schema: Schema): string | undefined {
  const at = new Map<string, Schema>()
  const anchors = new Map<string, string>()

  for (const { node, pointer } of schemasIn(schema, '')) {
    at.set(pointer, node)
    for (const name of ['$anchor', '$dynamicAnchor'])
      if (typeof node[name] === 'string') anchors.set(node[name], pointer)
  }

  const targets = (pointer: string): string[] => {
    const node = at.get(pointer)
    if (node === undefined) return []

    const next: string[] = []
    for (const name of ['$ref', '$dynamicRef']) {
      const reference = node[name]
      if (typeof reference === 'string' && reference.startsWith('#')) next.push(resolve(reference))
    }

    for (const key of inPlace) {
      const value = node[key]
      if (typeof value !== 'object' || value === null) continue
      if (Array.isArray(value)) next.push(...value.map((_, index) => `${pointer}/${key}/${index}`))
      else if (key === 'dependentSchemas')
        next.push(...Object.keys(value).map((name) => `${pointer}/${key}/${escapePointer(name)}`))
      else next.push(`${pointer}/${key}`)
    }

    return next
  }

  const resolve = (reference: string): string => {
    let fragment = reference.slice(1)
    try {
      fragment = decodeURIComponent(fragment)
    } catch {
      // Keep the fragment; the compiler will report that it leads nowhere.
    }

    return fragment === '' || fragment.startsWith('/') ? fragment : (anchors.get(fragment) ?? '?')
  }

  return loopFrom(at.keys(), targets)
}

/** The first place that leads back to itself. */
function loopFrom(
  starts: Iterable<string>,
  targets: (pointer: string) => string[],
): string | undefined {
  const state = new Map<string, 'open' | 'done'>()
  for (const start of starts) {
    // Depth first with an explicit stack, because chains of references may be long.
    const stack = [{ pointer: start, next: targets(start) }]
    if (state.has(start)) continue

    state.set(start, 'open')
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const pointer = top.next.pop()
      if (pointer === undefined) {
        state.set(top.pointer, 'done')
        stack.pop()
      } else if (state.get(pointer) === 'open') return pointer
      else if (!state.has(pointer)) {
        state.set(pointer, 'open')
        stack.push({ pointer, next: targets(pointer) })
      }
    }
  }

  return undefined
}

/** Finds the mistakes of a value. */
export type ValueCheck = (value: unknown) => readonly ValueMistake[]

/**
 * Compiles a schema without mistakes. `allErrors` reports all mistakes of a value instead of only
 * the first.
 */
export function compileCheck(schema: Schema, allErrors: boolean): ValueCheck {
  const check = compile(schema, allErrors)
  return (value) => {
    try {
      return check(value) ? [] : readable(check.errors ?? [])
    } catch (error) {
      if (error instanceof RangeError)
        return [{ pointer: '', detail: 'is nested too deeply to be checked' }]
      throw error
    }
  }
}

function readable(errors: readonly ErrorObject[]): ValueMistake[] {
  const found = new Map<string, ValueMistake>()
  for (const { instancePath, keyword, message = 'is not valid', params } of errors) {
    // The error of the chosen branch says more.
    if (keyword === 'if') continue

    const {
      missingProperty,
      additionalProperty,
      unevaluatedProperty,
      allowedValues,
      allowedValue,
    } = params as Record<string, unknown>

    const surplus = additionalProperty ?? unevaluatedProperty
    const member = missingProperty ?? surplus
    const pointer = (
      typeof member === 'string' ? `${instancePath}/${escapePointer(member)}` : instancePath
    ).slice(0, 500)

    const detail =
      typeof missingProperty === 'string'
        ? 'is required'
        : typeof surplus === 'string'
          ? 'is not an argument that is known here'
          : Array.isArray(allowedValues)
            ? `must be one of ${JSON.stringify(allowedValues).slice(0, 500)}`
            : allowedValue !== undefined
              ? `must be ${JSON.stringify(allowedValue).slice(0, 500)}`
              : message.slice(0, 500)

    const key = `${pointer} ${detail}`
    if (!found.has(key)) found.set(key, { pointer, detail })
    if (found.size === 20) break
  }

  return [...found.values()]
}

function escapePointer(segment: string): string {
  return segment.slice(0, 200).replaceAll('~', '~0').replaceAll('/', '~1')
}
