import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JWTHeaderParameters,
  type JWTPayload,
} from 'jose'
import { GatewayError, toGatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'
import type { Method } from './authenticate.ts'
import type { FailureLimit } from './failures.ts'
import type { IssuerRules } from './issuer.ts'
import type { KeySet, TrustedKey } from './key-set.ts'
import { monotonicNow } from '../lib/clock.ts'

export interface TokenOptions {
  readonly issuers: readonly { readonly rules: IssuerRules; readonly keys: KeySet }[]
  /**
   * Audiences accepted besides the configured ones (RFC 8707): the address of the requested
   * resource, and that of the whole gateway.
   */
  readonly resourcesOf: (request: IncomingMessage) => readonly string[]
  readonly failures: FailureLimit
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** The result of a verified token, without the token. Small, because there are many. */
interface Verified {
  readonly principal: Principal
  readonly until: number
  readonly key: TrustedKey
  /** The resources that the token is for. Undefined if it is for the whole gateway. */
  readonly resources: readonly string[] | undefined
}

interface Refused {
  readonly error: GatewayError
  /** In milliseconds of the monotonic clock. */
  readonly until: number
}

const longestToken = 16 * 1024
const mostVerified = 100_000
const mostRefused = 10_000
/** Milliseconds for which a refusal is repeated from the cache. */
const refusedMs = 10_000

/**
 * Bearer tokens (RFC 6750): JSON Web Tokens of a configured issuer (RFC 9068 and older forms).
 * Verification costs more than forwarding, so results are cached by digest until expiry.
 */
export function tokenMethod({ issuers, resourcesOf, failures, now }: TokenOptions): Method {
  const byIssuer = new Map(
    issuers.flatMap((issuer) => issuer.rules.issuers.map((name) => [name, issuer] as const)),
  )
  const verified = new BoundedCache<string, Verified>(mostVerified)
  const refused = new BoundedCache<string, Refused>(mostRefused)
  const verifying = new Map<string, Promise<Verified>>()
  /** Shares equal lists, because most callers have the same few lists of roles. */
  const roleLists = new BoundedCache<string, readonly string[]>(10_000)

  async function verify(token: string): Promise<Verified> {
    const { header, claims } = decode(token)
    const issuer = byIssuer.get(claims.iss ?? '')
    if (issuer === undefined) throw refusal('The token is of an issuer that is not accepted.')
    const { rules, keys } = issuer
    // Check before the key lookup, which may ask the issuer.
    if (!rules.algorithms.includes(header.alg))
      throw refusal('The token is signed by an algorithm that is not accepted.')
    const key = await keys.find(header)
    try {
      await jwtVerify(token, await keys.import(key, header.alg), {
        issuer: [...rules.issuers],
        algorithms: [...rules.algorithms],
        clockTolerance: rules.clockSkewSeconds,
        requiredClaims: ['exp'],
        currentDate: new Date(now()),
      })
    } catch (error) {
      throw explained(error)
    }
    if (typeof claims.iat === 'number' && claims.iat * 1000 > now() + rules.clockSkewSeconds * 1000)
      throw refusal('The token is from the future.')
    rules.checkKind(header, claims)
    const audiences = rules.audiencesOf(claims)
    rules.checkScopes(claims)
    const { roles, ...principal } = rules.principalOf(claims)
    const rolesKey = roles.join('\n')
    const sameRoles = roleLists.get(rolesKey) ?? roles
    roleLists.set(rolesKey, sameRoles)
    return {
      principal: { ...principal, roles: sameRoles },
      until: ((claims.exp ?? 0) + rules.clockSkewSeconds) * 1000,
      key,
      resources: audiences.some((audience) => rules.audiences.includes(audience))
        ? undefined
        : audiences,
    }
  }

  /**
   * Verifies an unknown token. Requests that show the same token at once share one verification.
   */
  function once(digest: string, token: string, address: string): Promise<Verified> {
    const begun = verifying.get(digest)
    if (begun !== undefined) return begun
    // Count before the result is known, because many tokens may arrive at once.
    const tooMany = failures.count(address)
    if (tooMany !== undefined) return tooMany
    const work = verify(token)
      .then(
        (result) => {
          verified.set(digest, result)
          failures.giveBack(address)
          return result
        },
        (thrown: unknown) => {
          const error = toGatewayError(thrown)
          // A failure that may pass is not the token's fault.
          if (error.code === 'unauthenticated' || error.code === 'insufficient_scope')
            refused.set(digest, { error, until: monotonicNow() + refusedMs })
          else failures.giveBack(address)
          throw error
        },
      )
      .finally(() => verifying.delete(digest))
    verifying.set(digest, work)
    return work
  }

  /**
   * Checks the audience for each request, because the same token may reach resources that it is not
   * for.
   * @throws GatewayError `unauthenticated`
   */
  function admit({ principal, resources }: Verified, request: IncomingMessage): Principal {
    if (resources === undefined) return principal
    const own = resourcesOf(request)
    if (resources.some((resource) => own.includes(resource))) return principal
    throw refusal('The token is meant for another audience.')
  }

  /**
   * The last credential of each connection. The next request mostly repeats it, and then needs no
   * digest.
   */
  const shown = new WeakMap<Socket, { readonly authorization: string; readonly known: Verified }>()

  return (request) => {
    const { authorization } = request.headers
    const last = shown.get(request.socket)
    if (last !== undefined && last.authorization === authorization && isGood(last.known))
      return admit(last.known, request)
    const token = bearerToken(authorization)
    if (token === undefined) return undefined
    if (token.length > longestToken)
      return failures.refuse(
        request,
        refusal(`The token is longer than ${longestToken} characters.`),
      )
    const digest = hash('sha256', token, 'binary')
    const known = verified.get(digest)
    if (known !== undefined) {
      if (isGood(known)) {
        shown.set(request.socket, { authorization: authorization as string, known })
        return admit(known, request)
      }
      verified.delete(digest)
    }
    const bad = refused.get(digest)
    if (bad !== undefined && bad.until > monotonicNow()) return failures.refuse(request, bad.error)
    return once(digest, token, failures.addressOf(request)).then((result) => admit(result, request))
  }

  function isGood({ until, key }: Verified): boolean {
    return until > now() && !key.withdrawn
  }
}

/** RFC 6750 section 2.1. The scheme's name has no case (RFC 9110 section 11.1). */
function bearerToken(authorization: string | undefined): string | undefined {
  if (
    authorization === undefined ||
    authorization.length < 7 ||
    authorization.slice(0, 6).toLowerCase() !== 'bearer'
  )
    return undefined
  return authorization[6] === ' ' ? authorization.slice(7).trim() : undefined
}

function decode(token: string): {
  readonly header: JWTHeaderParameters
  readonly claims: JWTPayload
} {
  try {
    const header = decodeProtectedHeader(token)
    const { alg } = header
    if (typeof alg !== 'string') throw new TypeError('no algorithm')
    return { header: { ...header, alg }, claims: decodeJwt(token) }
  } catch {
    throw refusal('The token is not a JSON Web Token.')
  }
}

function explained(error: unknown): GatewayError {
  if (error instanceof errors.JWTExpired) return refusal('The token has expired.')
  if (error instanceof errors.JWTClaimValidationFailed) {
    return refusal(
      error.claim === 'nbf'
        ? 'The token is not valid yet.'
        : `The claim '${error.claim}' of the token is not acceptable.`,
    )
  }
  return refusal('The signature of the token is not valid.')
}

function refusal(detail: string): GatewayError {
  return new GatewayError('unauthenticated', { detail })
}
