import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Owner } from '../core/resource.ts'
import { unprintable } from './claims.ts'

/** The issuer of callers who state their own identity. */
export const developmentIssuer = 'development'
const defaultRoles = ['mcp.dev'] as const
/** The caller who sends no identity headers. */
export const developmentOwner: Owner = Object.freeze({ id: 'dev', issuer: developmentIssuer })
const nobodySaid: Principal = Object.freeze({
  ...developmentOwner,
  name: 'dev',
  roles: defaultRoles,
})

/** Headers that proxies, tunnels and gateways add to a request. No client sends them on its own. */
const forwardingHeader = new RegExp(
  `^(?:${[
    '(?:x-)?forwarded(?:-.+)?',
    'via',
    'cdn-loop',
    '(?:(?:x-)?(?:true|cluster|proxy)-|x-|fastly-|fly-|do-)?(?:client|real|connecting)-?ip',
    'x-(?:nf|vercel|azure|appengine|arr|envoy|proxyuser|original|rewrite)-.+',
    'x-(?:auth-request|authentik|pomerium|remote|goog-iap|ms-client-principal)(?:-.+)?',
    'x-(?:scheme|forwarder-for|remote)',
    '(?:cf|cloudfront|tailscale|remote)-.+',
    'front-end-https',
  ].join('|')})$`,
)

/**
 * Development identity, as in the original: callers name themselves in `X-Dev-UserId`,
 * `X-Dev-Name`, `X-Dev-Roles` (comma separated). The configuration allows loopback addresses only.
 * @throws GatewayError `forwarded_request` if a proxy forwarded the request, or `unauthenticated`
 */
export function authenticateDevelopment({ headers }: IncomingMessage): Principal {
  refuseForwarded(headers)

  const id = headers['x-dev-userid']
  const name = headers['x-dev-name']
  const roles = headers['x-dev-roles']
  if (id === undefined && name === undefined && roles === undefined) return nobodySaid
  const userId = text(id, 'X-Dev-UserId') || 'dev'
  return {
    id: userId,
    issuer: developmentIssuer,
    name: text(name, 'X-Dev-Name') || userId,
    roles: roles === undefined ? defaultRoles : distinct(text(roles, 'X-Dev-Roles').split(',')),
  }
}

/** Refuses forwarded requests. A proxy on this machine makes remote requests look local. */
function refuseForwarded(headers: IncomingMessage['headers']): void {
  for (const name in headers)
    if (forwardingHeader.test(name))
      throw new GatewayError('forwarded_request', {
        detail:
          `A proxy forwarded this request (it has the header '${name}'), and development ` +
          'identity ' +
          'serves clients on this machine only. Call the gateway directly, use an API ' +
          'key, or set ' +
          'identity.mode to oidc.',
      })
}

/**
 * Decodes UTF-8 from a header value, which arrives as Latin-1. RFC 9110 section 5.5 leaves the
 * encoding to the gateway.
 */
function text(value: string | string[] | undefined, header: string): string {
  const joined = Array.isArray(value) ? value.join(',') : (value ?? '')
  if (joined.length > 4096)
    throw new GatewayError('unauthenticated', {
      detail: `${header} is too long. Send a shorter value.`,
    })
  const bytes = Buffer.from(joined, 'latin1')
  // Replacement characters could make two callers look the same.
  if (!isUtf8(bytes))
    throw new GatewayError('unauthenticated', {
      detail: `${header} is not valid UTF-8. Send it in UTF-8.`,
    })
  const read = bytes.toString().trim()
  if (unprintable.test(read))
    throw new GatewayError('unauthenticated', {
      detail: `${header} has control characters. Send it without them.`,
    })
  return read
}

function distinct(roles: readonly string[]): string[] {
  return [...new Set(roles.map((role) => role.trim()).filter((role) => role !== ''))]
}
