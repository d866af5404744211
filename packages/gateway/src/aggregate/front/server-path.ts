/** The virtual server that an address names. */
export interface ServerPlace {
  /** Undefined for the built-in server at `/mcp`. */
  readonly name: string | undefined
  /** True for the address at which tools are found by search. */
  readonly searches: boolean
  /** The address for a log, shortened because a caller may send a name of any length. */
  readonly logged: string
}

/** The name that the built-in server gives itself. */
export const builtInName = 'mcp-gateway'

const named = /^\/servers\/([^/?]+)(\/search)?\/mcp\/?(?:\?|$)/
const builtIn: ServerPlace = { name: undefined, searches: false, logged: '/mcp' }

/**
 * Reads `/mcp`, `/servers/{name}/mcp` and `/servers/{name}/search/mcp`. A trailing slash is
 * allowed, because people and clients add one. Undefined for every other address.
 */
export function parseServerPath(url: string): ServerPlace | undefined {
  if (/^\/mcp\/?(\?|$)/.test(url)) return builtIn
  const [, name, search] = named.exec(url) ?? []
  if (name === undefined) return undefined
  const tail = search === undefined ? '/mcp' : '/search/mcp'
  return {
    name,
    searches: search !== undefined,
    logged: `/servers/${name.slice(0, 64)}${tail}`,
  }
}
