import type { IncomingMessage } from 'node:http'

/** The parts of the address of an MCP request. */
export interface Target {
  /** The adapter, or empty if the address does not belong to the data plane. */
  readonly name: string
  readonly sessionId: string | undefined
  /** The query for the server, with its `?`. */
  readonly query: string
}

const prefix = '/adapters/'
const suffix = '/mcp'
const nowhere: Target = { name: '', sessionId: undefined, query: '' }

/**
 * Reads `/adapters/{name}/mcp`. A trailing slash is allowed, because people and clients add one. No
 * other spelling (escapes, doubled slashes) reaches a server.
 */
export function parseTarget(url: string): Target {
  if (!url.startsWith(prefix)) return nowhere
  const question = url.indexOf('?')
  const whole = question === -1 ? url.length : question
  const end = url.endsWith(`${suffix}/`, whole) ? whole - 1 : whole
  const slash = url.indexOf('/', prefix.length)
  if (slash <= prefix.length || end - slash !== suffix.length || !url.startsWith(suffix, slash))
    return nowhere
  const name = url.slice(prefix.length, slash)
  return question === -1
    ? { name, sessionId: undefined, query: '' }
    : { name, ...splitQuery(url.slice(question + 1)) }
}

/**
 * The original accepts a session id as `session_id` in the query. The id belongs to the gateway, so
 * the server does not get it.
 */
function splitQuery(query: string): { sessionId: string | undefined; query: string } {
  const parts = query.split('&')
  const kept = parts.filter((part) => !part.startsWith('session_id='))
  const given = parts.find((part) => part.startsWith('session_id='))?.slice('session_id='.length)
  return {
    sessionId: given === '' ? undefined : given,
    query: kept.length === 0 || query === '' ? '' : `?${kept.join('&')}`,
  }
}

/**
 * The session that a request names. The header outranks the query, because a query comes from a
 * configuration file and may be old.
 */
export function sessionIdOf(
  { headers, url = '' }: IncomingMessage,
  target?: Target,
): string | undefined {
  const header = headers['mcp-session-id']
  // Node joins repeated headers with a comma. No sealed id has one, so such a request opens
  // nothing.
  if (typeof header === 'string' && header !== '') return header
  if (target !== undefined) return target.sessionId
  const question = url.indexOf('?')
  return question === -1 ? undefined : splitQuery(url.slice(question + 1)).sessionId
}

/** The path for a log, shortened because a caller may send a name of any length. */
export function loggedPath({ name }: Target): string {
  return `${prefix}${name.slice(0, 64)}${suffix}`
}
