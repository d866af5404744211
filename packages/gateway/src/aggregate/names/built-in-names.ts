/** The claim of an adapter or tool to names at `/mcp`. */
export interface Claim {
  /** The alias of an adapter, or the MCP name of a tool. */
  readonly name: string
  /** The name of the resource, which decides between claims of one moment. */
  readonly resource: string
  /** ISO 8601, UTC. */
  readonly since: string
}

/** Puts the earliest claim first. */
export function byTime(a: Omit<Claim, 'name'>, b: Omit<Claim, 'name'>): number {
  if (a.since !== b.since) return a.since < b.since ? -1 : 1
  return a.resource < b.resource ? -1 : 1
}

/** The names of registered tools that begin as the names of an adapter's tools do. */
export interface ToolNames {
  /** Names of tools that were there before the adapter. Its own tools do not get them. */
  readonly kept: ReadonlySet<string>
  /** Names of tools that came after the adapter. These tools get other names. */
  readonly ceded: ReadonlySet<string>
}

/**
 * Decides who has which name at `/mcp`, where registered tools have no alias. From the moment that
 * it joins, an adapter owns all names that begin with its alias. A tool that was there before keeps
 * its name.
 */
export function builtInNames(adapters: readonly Claim[], tools: Iterable<Claim>): ToolNames {
  const holders = new Map<string, Claim>()
  for (const adapter of adapters.toSorted(byTime))
    if (!holders.has(adapter.name)) holders.set(adapter.name, adapter)

  const names = { kept: new Set<string>(), ceded: new Set<string>() }
  for (const tool of tools) {
    const end = tool.name.indexOf('_')
    const holder = end === -1 ? undefined : holders.get(tool.name.slice(0, end))
    if (holder === undefined) continue
    const isCeded = byTime(holder, tool) < 0
    names[isCeded ? 'ceded' : 'kept'].add(tool.name)
  }
  return names
}
