import { decodeHeaderValue, encodeHeaderValue, type DeclaredHeader } from '../modern.ts'
import { withinStack } from './exchange.ts'

const primitive = new Set(['string', 'integer', 'number', 'boolean'])
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/**
 * The headers that an input schema declares; empty if there are none or one is malformed. A tool
 * with a malformed header must not be called over HTTP.
 */
export function declaredHeaders(schema: string | undefined): readonly DeclaredHeader[] {
  return inspectHeaders(schema) ?? []
}

/**
 * As `declaredHeaders`, but undefined if a declaration is malformed or nested too deeply to read.
 */
export function inspectHeaders(schema: string | undefined): readonly DeclaredHeader[] | undefined {
  if (schema?.includes('"x-mcp-header"') !== true) return []
  const found = new Map<string, DeclaredHeader>()

  const visit = (node: unknown, path: readonly string[], reachable: boolean): boolean => {
    if (typeof node !== 'object' || node === null) return true
    if (Array.isArray(node)) return node.every((each) => visit(each, path, false))

    const entries = node as Record<string, unknown>
    const name = entries['x-mcp-header']
    if (name !== undefined) {
      const header = typeof name === 'string' ? `mcp-param-${name.toLowerCase()}` : ''
      const fine =
        reachable &&
        path.length > 0 &&
        typeof name === 'string' &&
        token.test(name) &&
        primitive.has(String(entries['type']))
      if (!fine || found.has(header)) return false

      found.set(header, { header, path })
    }

    return Object.entries(entries).every(([key, value]) => {
      if (key !== 'properties' || typeof value !== 'object' || value === null)
        return data.has(key) || visit(value, path, false)
      return Object.entries(value).every(([property, child]) =>
        visit(child, [...path, property], reachable),
      )
    })
  }

  return withinStack(() => visit(JSON.parse(schema), [], true)) === true
    ? [...found.values()]
    : undefined
}

/** Keywords whose values are data, not schemas. */
const data = new Set(['const', 'enum', 'default', 'examples', 'x-mcp-header'])

/** The argument at a path, if a header can repeat it. */
function primitiveAt(
  args: unknown,
  path: readonly string[],
): string | number | boolean | undefined {
  let node = args
  for (const name of path) {
    if (typeof node !== 'object' || node === null) return undefined
    node = (node as Record<string, unknown>)[name]
  }
  if (typeof node === 'number')
    return Number.isFinite(node) && (!Number.isInteger(node) || Number.isSafeInteger(node))
      ? node
      : undefined
  return typeof node === 'string' || typeof node === 'boolean' ? node : undefined
}

/** The headers to send with a call. `args` is the raw arguments object. */
export function paramHeaders(
  declared: readonly DeclaredHeader[],
  args: string | undefined,
): Record<string, string> {
  const values: unknown = args === undefined || declared.length === 0 ? undefined : JSON.parse(args)
  const headers: Record<string, string> = {}
  for (const { header, path } of declared) {
    const value = primitiveAt(values, path)
    if (value !== undefined) headers[header] = encodeHeaderValue(String(value))
  }
  return headers
}

const numeric = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i

/** Says how headers and arguments disagree; undefined if they agree. */
export function paramHeaderMistake(
  declared: readonly DeclaredHeader[],
  args: string | undefined,
  headerOf: (name: string) => string | undefined,
): string | undefined {
  const values: unknown = args === undefined || declared.length === 0 ? undefined : JSON.parse(args)
  for (const { header, path } of declared) {
    const value = primitiveAt(values, path)
    const given = headerOf(header)

    if (value === undefined) {
      if (given !== undefined)
        return `the header ${header} is given, but the argument ${path.join('.')} is not.`
      continue
    }
    if (given === undefined)
      return `the header ${header} is required, as the argument ${path.join('.')} is given.`

    const decoded = decodeHeaderValue(given.trim())
    const equal =
      typeof value === 'number'
        ? numeric.test(decoded ?? '') && Number(decoded) === value
        : decoded === String(value)
    if (!equal) return `the header ${header} and the argument ${path.join('.')} differ.`
  }

  return undefined
}
