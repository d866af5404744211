import { readArray, readObject, writeObject, type RawObject } from '@mcp-gateway/protocol'
import { z } from 'zod'
import type { ListKind } from './list-kinds.ts'

/** A definition that all clients can read, or the reason why there is none. */
export type Shaped =
  | { readonly json: string; readonly leftOut: readonly string[] }
  | { readonly mistake: string }

/** Readers in some languages give up earlier than others. Schemas of real tools are far below. */
const deepest = 100

const icon = z.looseObject({
  src: z.string(),
  mimeType: z.string().optional(),
  sizes: z.array(z.string()).optional(),
  theme: z.enum(['light', 'dark']).optional(),
})
const shared = {
  title: z.string(),
  description: z.string(),
  icons: z.array(icon),
  _meta: z.looseObject({}),
}
const ofResources = {
  ...shared,
  mimeType: z.string(),
  annotations: z.looseObject({
    audience: z.array(z.enum(['user', 'assistant'])).optional(),
    priority: z.number().min(0).max(1).optional(),
    lastModified: z.iso.datetime({ offset: true }).optional(),
  }),
}

/** The members of a definition that a server may leave out (MCP 2026-07-28, schema). */
const optional: Readonly<Record<ListKind, Readonly<Record<string, z.ZodType>>>> = {
  tools: {
    ...shared,
    annotations: z.looseObject({
      title: z.string().optional(),
      readOnlyHint: z.boolean().optional(),
      destructiveHint: z.boolean().optional(),
      idempotentHint: z.boolean().optional(),
      openWorldHint: z.boolean().optional(),
    }),
    execution: z.looseObject({
      taskSupport: z.enum(['required', 'optional', 'forbidden']).optional(),
    }),
    outputSchema: z.looseObject({}),
  },
  prompts: {
    ...shared,
    arguments: z.array(
      z.looseObject({
        name: z.string(),
        description: z.string().optional(),
        required: z.boolean().optional(),
      }),
    ),
  },
  resources: { ...ofResources, size: z.number() },
  templates: ofResources,
}

/**
 * Checks the definition of an item, because clients refuse a whole list for one item that they
 * cannot read. Optional members that break the protocol are left out; the rest stays byte by byte.
 */
export function shapeItem(kind: ListKind, key: string, json: string): Shaped {
  const definition = readObject(json)
  const value = JSON.parse(json) as Readonly<Record<string, unknown>>
  const trouble = troubleOf(value, deepest)
  if (definition === undefined || trouble !== undefined)
    return { mistake: `The definition of ${shortOf(key)} ${trouble ?? 'is no object'}.` }

  const leftOut: string[] = []
  let changed = false
  for (const [name, schema] of Object.entries(optional[kind])) {
    if (!definition.has(name) || schema.safeParse(value[name]).success) continue
    changed = definition.delete(name)
    // Some libraries write null for an absent member.
    if (value[name] !== null) leftOut.push(`${name} of ${shortOf(key)}`)
  }

  if (kind === 'resources' || kind === 'templates') {
    if (typeof value['name'] !== 'string') changed = setTo(definition, 'name', JSON.stringify(key))
  } else if (kind === 'tools') {
    const given = definition.get('inputSchema')
    const schema = inputSchemaOf(given)
    if (schema === undefined)
      return { mistake: `The inputSchema of ${shortOf(key)} is no schema of an object.` }
    if (schema !== given) changed = setTo(definition, 'inputSchema', schema)
  }
  return { json: changed ? writeObject(definition) : json, leftOut }
}

const shortOf = (key: string): string => JSON.stringify(key.slice(0, 100))

function setTo(definition: RawObject, name: string, raw: string): true {
  definition.set(name, raw)
  return true
}

/** The schema as all clients can read it. Undefined if it is no schema of an object. */
function inputSchemaOf(raw: string | undefined): string | undefined {
  if (raw === undefined || raw === 'null') return '{"type":"object"}'
  const schema = readObject(raw)
  const type = schema?.get('type')
  if (schema === undefined || (type !== undefined && type !== '"object"')) return undefined

  const required = schema.get('required')
  if (required !== undefined && !isTexts(readArray(required))) return undefined
  const properties = schema.get('properties')
  const shown = properties === undefined ? undefined : propertiesOf(properties)
  if (properties !== undefined && shown === undefined) return undefined
  if (type !== undefined && shown === properties) return raw

  schema.set('type', '"object"')
  if (shown !== undefined) schema.set('properties', shown)
  return writeObject(schema)
}

function isTexts(values: readonly string[] | undefined): boolean {
  return values !== undefined && values.every((value) => value.startsWith('"'))
}

/** JSON Schema has `true` and `false` for schemas, which some clients refuse. */
const asObject: Readonly<Record<string, string>> = { true: '{}', false: '{"not":{}}' }

function propertiesOf(raw: string): string | undefined {
  const properties = readObject(raw)
  if (properties === undefined) return undefined
  let changed = false
  for (const [name, schema] of properties) {
    const shown = asObject[schema] ?? schema
    if (!shown.startsWith('{')) return undefined
    if (shown !== schema) changed = setTo(properties, name, shown)
  }
  return changed ? writeObject(properties) : raw
}

/** Why some readers of JSON would refuse a value. */
function troubleOf(value: unknown, depth: number): string | undefined {
  if (typeof value === 'string') return troubleOfText(value)
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : 'has a number that is too large'
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === 0) return `is nested more than ${deepest} levels deep`
  for (const [name, part] of Object.entries(value)) {
    const trouble = troubleOfText(name) ?? troubleOf(part, depth - 1)
    if (trouble !== undefined) return trouble
  }
  return undefined
}

function troubleOfText(text: string): string | undefined {
  return !/\p{Cs}/u.test(text) ? undefined : 'has half of a character (a lone surrogate)'
}
