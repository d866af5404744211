import { metaKey, type DeclaredHeader } from '../modern.ts'
import { readArray, readObject, readString, writeObject, type RawObject } from '../raw-object.ts'
import { latestLegacyVersion, legacyVersions } from '../versions.ts'
import { withinStack } from './exchange.ts'
import { inspectHeaders } from './param-headers.ts'

/** What is known of a tool of a modern server. */
export interface ModernTool {
  readonly headers: readonly DeclaredHeader[]
  /** Its structured content is no object, which legacy clients must get as the member `result` of one. */
  readonly wrapped: boolean
}

/** The result of a modern server in the shape of 2025-11-25 and before. `learn` is told of each tool of a list. */
export function legacyResult(
  method: string,
  modern: RawObject,
  tool: ModernTool | undefined,
  learn: (name: string, tool: ModernTool) => void,
): string {
  const result = new Map(modern)
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
 * Tools with malformed header annotations are not to be called over HTTP, so they are left out (MCP 2026-07-28, transports, custom
 * headers); so are those whose schemas are nested too deeply to be read.
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

/** A schema as the member `result` of an object's; references to its root follow it there (JSON Schema 2020-12, 8.2.3). */
function wrappedSchema(raw: string): string {
  const schema: unknown = JSON.parse(raw)
  const dialect = (schema as { $schema?: unknown } | null)?.$schema
  const moved = (node: unknown, isNameMap: boolean): unknown => {
    if (Array.isArray(node)) return node.map((each) => moved(each, false))
    if (typeof node !== 'object' || node === null) return node
    const { $id } = node as { $id?: unknown }
    // References below an identifier of its own are relative to that.
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

/** The answer to `initialize`, from a modern server's DiscoverResult. */
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

/** The version that a legacy client gets: the one it asks for if there is such a one, else the newest. */
export function negotiatedVersion(requested: string | undefined): string {
  return legacyVersions.find((version) => version === requested) ?? latestLegacyVersion
}
