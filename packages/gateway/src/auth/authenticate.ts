import type { IncomingMessage } from 'node:http'
import { apiKeyPrefix } from '../core/api-key.ts'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'
import { countHeader } from '../lib/http/raw-headers.ts'

/**
 * Turns a request into who calls; at once where it can, because every MCP message passes here.
 * @throws GatewayError (or rejects with) `unauthenticated`, `insufficient_scope`, `too_many_requests`, `issuer_unavailable`
 */
export type Authenticate = (request: IncomingMessage) => Principal | Promise<Principal>

/** One way to authenticate: who calls, or undefined when the request has no credential of its kind, or it throws. */
export type Method = (request: IncomingMessage) => Principal | Promise<Principal> | undefined

export interface AuthenticationOptions {
  /** Asked in this order; the first that knows the credential decides. */
  readonly methods: readonly Method[]
  /** Whether a request without any credential is `anonymous`, who may what a resource lets anybody do. */
  readonly allowAnonymous: boolean
  /** The network of a client, by which anonymous callers are told apart when things are shared. */
  readonly networkOf: (request: IncomingMessage) => string
}

export const anonymous: Principal = Object.freeze({
  id: '',
  issuer: 'anonymous',
  name: 'anonymous',
  roles: Object.freeze([]),
})

/** Networks whose anonymous caller is remembered, as callers are known by their object. */
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
        detail: 'The credential is of a kind that is not accepted here.',
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

/** Whether a request shows a credential of any kind, be it good or not. `X-API-Key` counts when it is ours: servers have such keys too. */
export function hasCredential({ headers }: IncomingMessage): boolean {
  return headers.authorization !== undefined || hasApiKey(headers)
}

/** Two credentials would leave it open whose word counts. */
function checkCredentials({ headers, rawHeaders }: IncomingMessage): void {
  const { authorization } = headers
  if (authorization === undefined) return
  if (
    countHeader(rawHeaders, 'authorization') > 1 ||
    (hasApiKey(headers) && !authorization.includes(apiKeyPrefix))
  )
    throw new GatewayError('unauthenticated', {
      detail: 'The request has more than one credential.',
    })
}

function hasApiKey({ 'x-api-key': given }: IncomingMessage['headers']): boolean {
  return given !== undefined && String(given).includes(apiKeyPrefix)
}
