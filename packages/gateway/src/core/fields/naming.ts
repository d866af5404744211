/**
 * Names that no adapter or tool may have: paths of the gateway, parts beside it on a cluster, and
 * misleading words. The error message quotes the description.
 */
const reserved: ReadonlyMap<string, string> = new Map([
  ['mcp', 'the address of the tool router'],
  ['adapters', 'a path of the gateway'],
  ['tools', 'a path of the gateway'],
  ['agents', 'a path of the gateway'],
  ['sessions', 'a path of the gateway'],
  ['servers', 'a path of the gateway'],
  ['list', 'an index of stores'],
  ['gateway', 'the gateway itself'],
  ['mcpgateway', 'the gateway itself'],
  ['mcp-gateway', 'the gateway itself'],
  ['toolgateway', 'the tool router'],
  ['tool-gateway', 'the tool router'],
  ['redis', 'a part that runs beside the gateway'],
  ['postgres', 'a part that runs beside the gateway'],
  ['kubernetes', 'the API server of a cluster'],
  ['workload-sa', 'a service account of the gateway'],
])

/** Why a name is reserved, or undefined if it is free to use. */
export function reservedFor(name: string): string | undefined {
  return reserved.get(name)
}
