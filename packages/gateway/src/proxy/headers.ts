import { apiKeyPrefix } from '../core/api-key.ts'
import type { Principal } from '../core/principal.ts'
import { canonicalName } from '../lib/header-names.ts'
import type { Outgoing } from './outgoing.ts'

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
  'x-mcp-identity',
  'x-gateway-secret',
  'x-mcpgw-caller',
  'x-mcpgw-hop',
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
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-expose-headers',
  'access-control-max-age',
  // One server may not speak for the origin, which is that of the gateway and of all its servers.
  'alt-svc',
  'clear-site-data',
  'nel',
  'report-to',
  'service-worker-allowed',
  'strict-transport-security',
])

export interface RequestContext {
  readonly outgoing: Outgoing
  readonly requestId: string
  readonly upstreamSession: string | undefined
  readonly remoteAddress: string | undefined
  /** The Host that the client named. */
  readonly host: string | undefined
}

/** Headers for the server, as undici takes them: name, value, name, value. Does not hold Host and Content-Length. */
export function requestHeaders(
  raw: readonly string[],
  connection: string | undefined,
  context: RequestContext,
): string[] {
  const named = namedByConnection(connection)
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    const lower = canonicalName(name)
    if (requestDenied.has(lower) || lower === context.outgoing.replaces || named?.has(lower))
      continue
    const value = raw[index + 1] as string
    // A key of the gateway is for the gateway. Other keys of this name are the server's affair.
    if (lower === 'x-api-key' && value.includes(apiKeyPrefix)) continue
    headers.push(name, value)
  }
  if (context.upstreamSession !== undefined) headers.push('mcp-session-id', context.upstreamSession)
  headers.push('x-request-id', context.requestId, 'forwarded', forwarded(context))
  for (const part of context.outgoing.headers) headers.push(part)
  return headers
}

/** What browsers never show as a page. A list, or a second header, may mean the last one to them. */
const inertType = /^(application\/json|text\/event-stream)[ \t]*(;[^,]*)?$/i

/**
 * Headers for the client: the server's, as raw name and value pairs, without those that end here. `origin` is the replica's address,
 * which is nobody's business.
 */
export function responseHeaders(
  raw: readonly Buffer[],
  requestId: string,
  origin: string,
): string[] {
  let headers: string[] = []
  let named: ReadonlySet<string> | undefined
  let types = 0
  let inert = true
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as Buffer).toString('latin1')
    const lower = name.toLowerCase()
    if (lower === 'connection')
      named = namedByConnection((raw[index + 1] as Buffer).toString('latin1'))
    if (responseDenied.has(lower)) continue
    const value = (raw[index + 1] as Buffer).toString('latin1')
    if (lower === 'location' && value.startsWith(origin)) continue
    if (lower === 'content-type') {
      types += 1
      inert &&= inertType.test(value)
    }
    headers.push(name, value)
  }
  if (named !== undefined)
    headers = headers.filter((_, index) => !named.has(canonicalName(headers[index & ~1] as string)))
  headers.push('x-request-id', requestId)
  // A page of a server would have the gateway's origin, and with it the whole REST API, were it not put in a sandbox.
  if (types !== 1 || !inert || named?.has('content-type') === true)
    headers.push(
      'content-security-policy',
      "sandbox; default-src 'none'",
      'x-content-type-options',
      'nosniff',
    )
  return headers
}

/** The first value of a header in a raw list, or undefined. `name` in lower case. */
export function rawHeader(raw: readonly Buffer[], name: string): string | undefined {
  for (let index = 0; index < raw.length; index += 2) {
    const key = raw[index] as Buffer
    if (key.length === name.length && key.toString('latin1').toLowerCase() === name)
      return (raw[index + 1] as Buffer).toString('latin1')
  }
  return undefined
}

/** Header names that `Connection` makes hop-by-hop; undefined in the usual case that there are none. */
function namedByConnection(connection: string | undefined): ReadonlySet<string> | undefined {
  if (
    connection === undefined ||
    connection === 'keep-alive' ||
    connection === 'close' ||
    connection === 'Keep-Alive'
  )
    return undefined
  return new Set(connection.split(',').map((name) => canonicalName(name.trim())))
}

/** RFC 7239; IPv6 addresses in brackets and quotes. Values that would need escaping are left out. */
function forwarded({ remoteAddress, host }: RequestContext): string {
  const address =
    remoteAddress === undefined
      ? 'unknown'
      : remoteAddress.includes(':')
        ? `"[${remoteAddress}]"`
        : remoteAddress
  return host !== undefined && /^[\w.:[\]-]+$/.test(host)
    ? `for=${address};proto=http;host="${host}"`
    : `for=${address};proto=http`
}

const encoded = new WeakMap<Principal, readonly string[]>()

/**
 * Who calls, for servers, by the original's names. Values are percent-encoded UTF-8 (RFC 3986), each role by itself, so that commas and
 * letters beyond ASCII survive; plain values read as they are.
 */
export function identityHeaders(principal: Principal): readonly string[] {
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
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  )
}
