import { metaKey, type DeclaredHeader } from '../modern.ts'
import {
  readArray,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import { latestLegacyVersion, legacyVersions } from '../versions.ts'
import { withinStack } from './exchange.ts'
import { inspectHeaders } from './param-headers.ts'

/** The facts about a tool of a modern server. */
export interface ModernTool {
  readonly headers: readonly DeclaredHeader[]
  /**
   * Its structured content is not an object. Legacy clients get it as the member `result` of one.
   */
  readonly wrapped: boolean
}

/**
 * Brings a modern server's result into the shape of 2025-11-25 and before, and changes `result` for
 * it. `learn` gets each tool of a list.
 */
export function legacyResult(
  method: string,
  result: RawObject,
  tool: ModernTool | undefined,
  learn: (name: string, tool: ModernTool) => void,
): string {
  for (const name of ['resultType', 'ttlMs', 'cacheScope']) result.delete(name)
  const meta = readObject(result.get('_meta'))
  if (meta?.delete(metaKey.serverInfo) === true) {
    if (meta.size > 0) result.set('_meta', writeObject(meta))
    else result.delete('_meta')
  }

  if (method === 'tools/list')
    result.set('tools', `[${legacyTools(result.get('tools'), learn).join(',')}]`)
  const structured = result.get('structuredContent')
  if (
    method === 'tools/call' &&
    structured !== undefined &&
    (tool?.wrapped === true || !structured.startsWith('{'))
  )
    result.set('structuredContent', writeObject([['result', structured]]))

  return writeObject(result)
}

/**
 * Omits tools with malformed header annotations, which must not be called over HTTP (MCP
 * 2026-07-28, transports, custom headers), and tools whose schemas are nested too deeply to read.
 */
function legacyTools(
  tools: string | undefined,
  learn: (name: string, tool: ModernTool) => void,
): string[] {
  return (readArray(tools) ?? []).flatMap((raw) => {
    const tool = readObject(raw)
    const name = readString(tool?.get('name'))
    const headers = inspectHeaders(tool?.get('inputSchema'))
    if (tool === undefined || name === undefined || headers === undefined) return []
    const schema = tool.get('outputSchema')
    const wrapped = schema !== undefined && readString(readObject(schema)?.get('type')) !== 'object'
    const moved = wrapped ? withinStack(() => wrappedSchema(schema)) : undefined
    if (wrapped && moved === undefined) return []
    learn(name, { headers, wrapped })
    return moved === undefined ? [raw] : [writeObject(new Map(tool).set('outputSchema', moved))]
  })
}

const nameMaps = new Set([
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
  'dependencies',
])
const data = new Set(['const', 'enum', 'default', 'examples'])

/**
 * Moves a schema into the member `result` of an object schema. References to the root of the schema
 * follow it there (JSON Schema 2020-12, 8.2.3).
 */
function wrappedSchema(raw: string): string {
  const schema: unknown = JSON.parse(raw)
  const dialect = (schema as { $schema?: unknown } | null)?.$schema

  const moved = (node: unknown, isNameMap: boolean): unknown => {
    if (Array.isArray(node)) return node.map((each) => moved(each, false))
    if (typeof node !== 'object' || node === null) return node

    const { $id } = node as { $id?: unknown }
    // References below another `$id` are relative to that `$id`, so they stay.
    if (!isNameMap && $id !== undefined && !(typeof $id === 'string' && $id.startsWith('#')))
      return node

    return Object.fromEntries(
      Object.entries(node).map(([key, value]): [string, unknown] => {
        if (isNameMap) return [key, moved(value, false)]
        if (
          (key === '$ref' || key === '$dynamicRef') &&
          typeof value === 'string' &&
          (value === '#' || value.startsWith('#/'))
        )
          return [key, `#/properties/result${value.slice(1)}`]

        return [key, data.has(key) ? value : moved(value, nameMaps.has(key))]
      }),
    )
  }

  return JSON.stringify({
    ...(typeof dialect === 'string' ? { $schema: dialect } : {}),
    type: 'object',
    properties: { result: moved(schema, false) },
    required: ['result'],
  })
}

/** The answer to `initialize`, made from the DiscoverResult of a modern server. */
export function initializeResult(discovered: RawObject, version: string): string {
  const capabilities = readObject(discovered.get('capabilities')) ?? new Map<string, string>()
  const extensions = readObject(capabilities.get('extensions'))
  if (extensions?.delete('io.modelcontextprotocol/tasks') === true) {
    if (extensions.size > 0) capabilities.set('extensions', writeObject(extensions))
    else capabilities.delete('extensions')
  }
  const result: RawObject = new Map([
    ['protocolVersion', JSON.stringify(version)],
    ['capabilities', writeObject(capabilities)],
    [
      'serverInfo',
      readObject(discovered.get('_meta'))?.get(metaKey.serverInfo) ??
        '{"name":"mcp-server","version":"0"}',
    ],
  ])
  const instructions = discovered.get('instructions')
  if (instructions !== undefined) result.set('instructions', instructions)
  return writeObject(result)
}

/**
 * The version for a legacy client: the requested one if it is a legacy version, else the newest.
 */
export function negotiatedVersion(requested: string | undefined): string {
  return legacyVersions.find((version) => version === requested) ?? latestLegacyVersion
}
