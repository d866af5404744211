import type { Principal } from '../core/principal.ts'

/**
 * Which headers cross the gateway. Everything else passes as it is, byte for byte and in order: servers and clients may
 * agree on headers that the gateway has never heard of (`Mcp-Param-*`, `traceparent`, rate limits).
 */

/** RFC 9110 section 7.6.1, and what browsers and old proxies send of that kind. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

const requestDenied: ReadonlySet<string> = new Set([
  ...hopByHop,
  // Set anew for the replica.
  'host',
  'content-length',
  'expect',
  'mcp-session-id',
  'x-request-id',
  'forwarded',
  // Checked at the edge; a server that checks its own would refuse the public one.
  'origin',
  // The caller's credentials are for the gateway. The server never sees them.
  'authorization',
  'cookie',
  // Identity is the gateway's word, not the client's.
  'x-mcp-userid',
  'x-mcp-username',
  'x-mcp-roles',
  'x-gateway-secret',
  'x-dev-userid',
  'x-dev-name',
  'x-dev-roles',
  // Spoofable descriptions of hops before us.
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-real-ip',
])

const responseDenied: ReadonlySet<string> = new Set([
  ...hopByHop,
  // Set anew for the client.
  'mcp-session-id',
  'x-request-id',
  // A cookie of one server would go to all servers of the gateway.
  'set-cookie',
  // A server's challenge names the server's own authorization, which the caller has no part in.
  'www-authenticate',
  // CORS is decided at the edge.
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-expose-headers',
])

export interface RequestContext {
  readonly principal: Principal
  readonly requestId: string
  readonly upstreamSession: string | undefined
  readonly remoteAddress: string | undefined
  /** The Host that the client named. */
  readonly host: string | undefined
}

/** Headers for the server, as undici takes them: name, value, name, value. Does not hold Host and Content-Length. */
export function requestHeaders(raw: readonly string[], connection: string | undefined, context: RequestContext): string[] {
  const named = namedByConnection(connection)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    const lower = name.toLowerCase()
    if (requestDenied.has(lower) || named?.has(lower)) continue
    headers.push(name, raw[index + 1] as string)
  }
  if (context.upstreamSession !== undefined) headers.push('mcp-session-id', context.upstreamSession)
  headers.push('x-request-id', context.requestId, 'forwarded', forwarded(context))
  const identity = identityHeaders(context.principal)
  for (const part of identity) headers.push(part)
  return headers
}

/** Headers for the client: the server's, as raw name and value pairs, without those that end here. */
export function responseHeaders(raw: readonly Buffer[], requestId: string): string[] {
  const headers: string[] = []
  let named: ReadonlySet<string> | undefined
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as Buffer).toString('latin1')
    const lower = name.toLowerCase()
    if (lower === 'connection') named = namedByConnection((raw[index + 1] as Buffer).toString('latin1'))
    if (responseDenied.has(lower)) continue
    headers.push(name, (raw[index + 1] as Buffer).toString('latin1'))
  }
  headers.push('x-request-id', requestId)
  return named === undefined ? headers : headers.filter((_, index) => !named.has((headers[index & ~1] as string).toLowerCase()))
}

/** The first value of a header in a raw list, or undefined. `name` in lower case. */
export function rawHeader(raw: readonly Buffer[], name: string): string | undefined {
  for (let index = 0; index < raw.length; index += 2) {
    const key = raw[index] as Buffer
    if (key.length === name.length && key.toString('latin1').toLowerCase() === name) return (raw[index + 1] as Buffer).toString('latin1')
  }
  return undefined
}

/** Header names that `Connection` makes hop-by-hop; undefined in the usual case that there are none. */
function namedByConnection(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close' || connection === 'Keep-Alive') return undefined
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()))
}

/** RFC 7239; IPv6 addresses in brackets and quotes. Values that would need escaping are left out. */
function forwarded({ remoteAddress, host }: RequestContext): string {
  const address = remoteAddress === undefined ? 'unknown' : remoteAddress.includes(':') ? `"[${remoteAddress}]"` : remoteAddress
  return host !== undefined && /^[\w.:[\]-]+$/.test(host) ? `for=${address};proto=http;host="${host}"` : `for=${address};proto=http`
}

const encoded = new WeakMap<Principal, readonly string[]>()

/**
 * Who calls, for servers, by the original's names. Values are percent-encoded UTF-8 (RFC 3986), each role by itself, so that commas and
 * letters beyond ASCII survive; plain values read as they are.
 */
function identityHeaders(principal: Principal): readonly string[] {
  let headers = encoded.get(principal)
  if (headers === undefined) {
    headers = [
      'x-mcp-userid',
      encodeValue(principal.id),
      'x-mcp-username',
      encodeValue(principal.name),
      'x-mcp-roles',
      principal.roles.map(encodeValue).join(','),
    ]
    encoded.set(principal, headers)
  }
  return headers
}

function encodeValue(value: string): string {
  return value.replace(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  )
}
