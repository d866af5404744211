/** The lists that an MCP server offers (MCP 2026-07-28, server features). */
export const listKinds = {
  tools: { method: 'tools/list', member: 'tools', key: 'name' },
  prompts: { method: 'prompts/list', member: 'prompts', key: 'name' },
  resources: { method: 'resources/list', member: 'resources', key: 'uri' },
  templates: {
    method: 'resources/templates/list',
    member: 'resourceTemplates',
    key: 'uriTemplate',
  },
} as const

export type ListKind = keyof typeof listKinds

export const allListKinds = Object.keys(listKinds) as readonly ListKind[]

/** The kind of list that a method asks for; undefined for every other method. */
export function listKindOf(method: string): ListKind | undefined {
  return allListKinds.find((kind) => listKinds[kind].method === method)
}
