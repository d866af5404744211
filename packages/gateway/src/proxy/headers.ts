import { apiKeyPrefix } from '../core/api-key.ts'
import { headerFilter, type Passage } from '../core/header-table.ts'
import { canonicalName } from '../lib/http/header-names.ts'
import type { Outgoing } from '../upstream/outgoing.ts'

export interface HeaderContext {
  readonly outgoing: Outgoing
  readonly requestId: string
  readonly upstreamSession: string | undefined
  readonly remoteAddress: string | undefined
  /** The Host that the client named. */
  readonly host: string | undefined
}

/** The headers that cross the gateway, with those that the operator adds. */
export interface HeaderRules {
  readonly toServer: (name: string) => Passage
  readonly toClient: (name: string) => Passage
}

export function headerRules(
  added: { requestHeaders?: readonly string[]; responseHeaders?: readonly string[] } = {},
): HeaderRules {
  return {
    toServer: headerFilter('server', added.requestHeaders),
    toClient: headerFilter('client', added.responseHeaders),
  }
}

/**
 * Headers for the server, as undici takes them: name, value, name, value. Without Host and
 * Content-Length.
 */
export function requestHeaders(
  raw: readonly string[],
  connection: string | undefined,
  context: HeaderContext,
  { toServer }: HeaderRules,
): string[] {
  const named = namedByConnection(connection)
  const { replaces } = context.outgoing
  const headers: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string
    const passage = toServer(name)
    if (passage !== 'pass' && passage !== 'key') continue
    if (replaces?.includes(canonicalName(name)) === true) continue
    if (named?.has(canonicalName(name))) continue
    const value = raw[index + 1] as string
    // A key of the gateway ends here. Any other key is for the server.
    if (passage === 'key' && value.includes(apiKeyPrefix)) continue
    headers.push(name, value)
  }
  if (context.upstreamSession !== undefined) headers.push('mcp-session-id', context.upstreamSession)
  headers.push('x-request-id', context.requestId, 'forwarded', forwarded(context))
  for (const part of context.outgoing.headers) headers.push(part)
  return headers
}

/**
 * Types that browsers never show as a page. In a list or with a second header, browsers may use the
 * last type.
 */
const inertType = /^(application\/json|text\/event-stream)[ \t]*(;[^,]*)?$/i

/**
 * Headers for the client, as raw name and value pairs: those of the server that may cross.
 * `origin` is the replica's address, which clients must not learn.
 */
export function responseHeaders(
  raw: readonly Buffer[],
  requestId: string,
  origin: string,
  { toClient }: HeaderRules,
): string[] {
  let headers: string[] = []
  let named: ReadonlySet<string> | undefined
  let types = 0
  let inert = true
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as Buffer).toString('latin1')
    const passage = toClient(name)
    if (passage === '-') continue
    const value = (raw[index + 1] as Buffer).toString('latin1')
    switch (passage) {
      case 'never':
        if (name.toLowerCase() === 'connection') named = namedByConnection(value)
        continue
      case 'place':
        if (value.startsWith(origin)) continue
        break
      case 'buffer':
        // `no` tells a proxy before the gateway to stream. Any other value of these headers is an
        // order.
        if (value !== 'no') continue
        break
      case 'type':
        types += 1
        inert &&= inertType.test(value)
        break
      case 'caching':
        headers.push(name, isPrivate(value) ? value : 'no-store')
        continue
      case 'pass':
      case 'key':
        break
    }
    headers.push(name, value)
  }
  if (named !== undefined)
    headers = headers.filter((_, index) => !named.has(canonicalName(headers[index & ~1] as string)))
  headers.push('x-request-id', requestId)
  // A page of a server would have the gateway's origin, and so the whole REST API, without a
  // sandbox.
  if (types !== 1 || !inert || named?.has('content-type') === true)
    headers.push(
      'content-security-policy',
      "sandbox; default-src 'none'",
      'x-content-type-options',
      'nosniff',
    )
  return headers
}

const keepsPrivate: ReadonlySet<string> = new Set(['no-store', 'private', 'no-cache'])

/** True if a Cache-Control lets no shared cache give the answer to another caller (RFC 9111). */
function isPrivate(value: string): boolean {
  const directives = value.split(',').map((directive) => directive.trim().toLowerCase())
  return (
    directives.some((directive) => keepsPrivate.has(directive)) &&
    directives.every(
      (directive) =>
        keepsPrivate.has(directive) ||
        directive === 'no-transform' ||
        /^max-age=\d{1,10}$/.test(directive),
    )
  )
}

/** Header names that `Connection` makes hop-by-hop. Undefined, as is usual, if there are none. */
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

/**
 * The value of `Forwarded` (RFC 7239), with IPv6 addresses in brackets and quotes.
 * Hosts that would need escaping are left out.
 */
function forwarded({ remoteAddress, host }: HeaderContext): string {
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
