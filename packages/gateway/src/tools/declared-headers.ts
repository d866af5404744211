import type { paramHeaderMistake } from '@mcp-gateway/protocol'

/** An argument that a header repeats (`x-mcp-header`; MCP 2026-07-28, transports, custom headers). */
export type DeclaredHeader = Parameters<typeof paramHeaderMistake>[0][number]

/** The headers that an input schema declares. */
export function declaredHeaders(schema: unknown, path: readonly string[] = []): readonly DeclaredHeader[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { 'x-mcp-header': name, properties } = schema as Record<string, unknown>
  const own = typeof name === 'string' && path.length > 0 ? [{ header: `mcp-param-${name.toLowerCase()}`, path }] : []
  const inner = typeof properties === 'object' && properties !== null ? Object.entries(properties) : []
  return [...own, ...inner.flatMap(([property, each]) => declaredHeaders(each, [...path, property]))]
}
