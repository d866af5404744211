import type { IncomingMessage } from 'node:http'
import { apiKeyPrefix } from '../core/api-key.ts'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'
import { countHeader } from '../lib/http/raw-headers.ts'

/**
 * Identifies the caller, without a promise where possible, because every MCP message passes here.
 * @throws GatewayError (or rejects with) `unauthenticated`, `insufficient_scope`,
 * `too_many_requests`, `issuer_unavailable`
 */
export type Authenticate = (request: IncomingMessage) => Principal | Promise<Principal>

/**
 * One way to authenticate. Returns the caller, or undefined if the request has no credential of
 * this kind. Throws or rejects if the credential is bad.
 */
export type Method = (request: IncomingMessage) => Principal | Promise<Principal> | undefined

export interface AuthenticationOptions {
  /** Asked in this order. The first method that recognises the credential decides. */
  readonly methods: readonly Method[]
  /**
   * True if requests without a credential pass as `anonymous`, for resources that are open to
   * everyone.
   */
  readonly allowAnonymous: boolean
  /** The network of a client, which separates anonymous callers when they share a pool. */
  readonly networkOf: (request: IncomingMessage) => string
}

export const anonymous: Principal = Object.freeze({
  id: '',
  issuer: 'anonymous',
  name: 'anonymous',
  roles: Object.freeze([]),
})

/** Networks whose anonymous caller is cached, because pools identify callers by object. */
const mostNetworks = 10_000

export function createAuthenticate({
  methods,
  allowAnonymous,
  networkOf,
}: AuthenticationOptions): Authenticate {
  const anonymousOf = new BoundedCache<string, Principal>(mostNetworks)

  return (request) => {
    checkCredentials(request)
    for (const method of methods) {
      const found = method(request)
      if (found !== undefined) return found
    }

    if (hasCredential(request))
      throw new GatewayError('unauthenticated', {
        detail:
          'The gateway does not accept this kind of credential. Send a bearer token or an API key.',
      })
    if (!allowAnonymous) throw new GatewayError('unauthenticated')

    const network = networkOf(request)
    let caller = anonymousOf.get(network)
    if (caller === undefined) {
      caller = Object.freeze({ ...anonymous, network })
      anonymousOf.set(network, caller)
    }
    return caller
  }
}

/**
 * True if a request has a credential of any kind, good or bad. `X-API-Key` counts only with a key
 * of the gateway, because servers have such keys too.
 */
export function hasCredential({ headers }: IncomingMessage): boolean {
  return headers.authorization !== undefined || hasApiKey(headers)
}

/**
 * Refuses two credentials, because it would be unclear which one decides.
 * @throws GatewayError `unauthenticated`
 */
function checkCredentials({ headers, rawHeaders }: IncomingMessage): void {
  const { authorization } = headers
  if (authorization === undefined) return
  if (
    countHeader(rawHeaders, 'authorization') > 1 ||
    (hasApiKey(headers) && !authorization.includes(apiKeyPrefix))
  )
    throw new GatewayError('unauthenticated', {
      detail: 'The request has more than one credential. Send one.',
    })
}

function hasApiKey({ 'x-api-key': given }: IncomingMessage['headers']): boolean {
  return given !== undefined && String(given).includes(apiKeyPrefix)
}
