import { readArray, readObject, readString } from '@mcp-gateway/protocol'
import type { ParameterStyle } from '../../core/resource.ts'

/** A name and a value of a query or a form, not yet encoded. */
export type Pair = readonly [name: string, value: string]

type Styled = Required<{ readonly [Key in keyof ParameterStyle]: NonNullable<ParameterStyle[Key]> }>

/** The style of a parameter, with the defaults of OpenAPI 3. */
export function styleOf({ style, explode }: ParameterStyle, standard: 'simple' | 'form'): Styled {
  const name = style ?? standard
  return { style: name, explode: explode ?? name === 'form' }
}

/** True for an argument that is absent or null, and so has no text. */
export function isAbsent(raw: string | undefined): raw is undefined {
  return raw === undefined || raw === 'null'
}

/**
 * The parts of a value in path or header (style `simple`); its commas stand between them. Numbers
 * keep their digits, because values stay raw JSON.
 */
export function simpleParts(raw: string, explode: boolean): readonly (readonly string[])[] {
  const members = readObject(raw)
  if (members !== undefined)
    return explode
      ? [...members].map(([name, value]) => [name, textOf(value)])
      : [...members].flatMap(([name, value]) => [[name], [textOf(value)]])
  return (readArray(raw) ?? [raw]).map((element) => [textOf(element)])
}

/** The fields that a value of a query or a form makes. */
export function fieldsOf(name: string, raw: string, { style, explode }: Styled): Pair[] {
  if (style === 'json') return [[name, raw]]
  if (style === 'deepObject') return deepFields(name, raw)

  const separator = separators[style]
  const elements = readArray(raw)
  if (elements !== undefined) {
    if (explode) return elements.map((element) => [name, textOf(element)])
    return elements.length === 0 ? [] : [[name, elements.map(textOf).join(separator)]]
  }

  const members = readObject(raw)
  if (members === undefined) return [[name, textOf(raw)]]
  if (explode && style === 'form')
    return [...members].map(([member, value]) => [member, textOf(value)])
  const parts = [...members].flatMap(([member, value]) => [member, textOf(value)])
  return parts.length === 0 ? [] : [[name, parts.join(separator)]]
}

const separators = { simple: ',', form: ',', spaceDelimited: ' ', pipeDelimited: '|' } as const

/** Levels of `deepObject`, each of which reads the whole text below it. */
const deepest = 20

/** Fields of `deepObject`: `a[b][c]=1`, and `a[0]=1` for arrays. */
function deepFields(name: string, raw: string, depth = 0): Pair[] {
  const members = readObject(raw) ?? readArray(raw)?.map((each, index) => [index, each] as const)
  if (members === undefined || depth === deepest) return [[name, textOf(raw)]]
  return [...members].flatMap(([member, value]) =>
    deepFields(`${name}[${member}]`, value, depth + 1),
  )
}

/** A scalar as text; JSON for a nested value, for which OpenAPI names no form. */
export function textOf(raw: string): string {
  if (raw === 'null') return ''
  return readString(raw) ?? raw
}
