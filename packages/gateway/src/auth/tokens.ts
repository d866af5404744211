import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type CryptoKey,
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
export function tokenMethod(options: TokenOptions): Method {
  const tokens = new Tokens(options)
  return (request) => tokens.authenticate(request)
}

/** The known tokens, good and bad, and those that are being verified. */
class Tokens {
  readonly #options: TokenOptions
  readonly #verifier: Verifier
  readonly #verified = new BoundedCache<string, Verified>(mostVerified)
  readonly #refused = new BoundedCache<string, Refused>(mostRefused)
  readonly #verifying = new Map<string, Promise<Verified>>()
  /**
   * The last credential of each connection. The next request mostly repeats it, and then needs no
   * digest.
   */
  readonly #shown = new WeakMap<
    Socket,
    { readonly authorization: string; readonly known: Verified }
  >()

  constructor(options: TokenOptions) {
    this.#options = options
    this.#verifier = new Verifier(options)
  }

  authenticate(request: IncomingMessage): ReturnType<Method> {
    const { authorization } = request.headers
    const last = this.#shown.get(request.socket)
    if (last !== undefined && last.authorization === authorization && this.#isGood(last.known))
      return this.#admit(last.known, request)

    const token = bearerToken(authorization)
    if (token === undefined) return undefined
    const { failures } = this.#options
    if (token.length > longestToken)
      return failures.refuse(
        request,
        refusal(`The token is longer than ${longestToken} characters.`),
      )

    const digest = hash('sha256', token, 'binary')
    const known = this.#verified.get(digest)
    if (known !== undefined) {
      if (this.#isGood(known)) {
        this.#shown.set(request.socket, { authorization: authorization as string, known })
        return this.#admit(known, request)
      }
      this.#verified.delete(digest)
    }

    const bad = this.#refused.get(digest)
    if (bad !== undefined && bad.until > monotonicNow()) return failures.refuse(request, bad.error)
    return this.#verifyOnce(digest, token, failures.addressOf(request)).then((result) =>
      this.#admit(result, request),
    )
  }

  #isGood({ until, key }: Verified): boolean {
    return until > this.#options.now() && !key.withdrawn
  }

  /**
   * Checks the audience for each request, because the same token may reach resources that it is not
   * for.
   * @throws GatewayError `unauthenticated`
   */
  #admit({ principal, resources }: Verified, request: IncomingMessage): Principal {
    if (resources === undefined) return principal
    const own = this.#options.resourcesOf(request)
    if (resources.some((resource) => own.includes(resource))) return principal
    throw refusal('The token is meant for another audience.')
  }

  /**
   * Verifies an unknown token. Requests that show the same token at once share one verification.
   */
  #verifyOnce(digest: string, token: string, address: string): Promise<Verified> {
    const begun = this.#verifying.get(digest)
    if (begun !== undefined) return begun

    // Count before the result is known, because many tokens may arrive at once.
    const tooMany = this.#options.failures.count(address)
    if (tooMany !== undefined) return tooMany

    const work = this.#verify(digest, token, address).finally(() => this.#verifying.delete(digest))
    this.#verifying.set(digest, work)
    return work
  }

  async #verify(digest: string, token: string, address: string): Promise<Verified> {
    const { failures } = this.#options
    try {
      const result = await this.#verifier.verify(token)
      this.#verified.set(digest, result)
      failures.giveBack(address)
      return result
    } catch (thrown) {
      const error = toGatewayError(thrown)
      // A failure that may pass is not the token's fault.
      if (error.code === 'unauthenticated' || error.code === 'insufficient_scope')
        this.#refused.set(digest, { error, until: monotonicNow() + refusedMs })
      else failures.giveBack(address)
      throw error
    }
  }
}

/** Checks tokens against the rules and keys of their issuers. */
class Verifier {
  readonly #byIssuer: ReadonlyMap<string, TokenOptions['issuers'][number]>
  readonly #now: () => number
  /** Shares equal lists, because most callers have the same few lists of roles. */
  readonly #roleLists = new BoundedCache<string, readonly string[]>(10_000)

  constructor({ issuers, now }: Pick<TokenOptions, 'issuers' | 'now'>) {
    this.#byIssuer = new Map(
      issuers.flatMap((issuer) => issuer.rules.issuers.map((name) => [name, issuer] as const)),
    )
    this.#now = now
  }

  /** @throws GatewayError `unauthenticated`, `insufficient_scope`, `issuer_unavailable` */
  async verify(token: string): Promise<Verified> {
    const { header, claims } = decode(token)
    const issuer = this.#byIssuer.get(claims.iss ?? '')
    if (issuer === undefined) throw refusal('The token is of an issuer that is not accepted.')

    const { rules, keys } = issuer
    // Check before the key lookup, which may ask the issuer.
    if (!rules.algorithms.includes(header.alg))
      throw refusal('The token is signed by an algorithm that is not accepted.')
    const key = await keys.find(header)
    await this.#checkSignature(token, keys.import(key, header.alg), rules)
    this.#checkIssueTime(claims, rules)
    rules.checkKind(header, claims)
    const audiences = rules.audiencesOf(claims)
    rules.checkScopes(claims)

    return {
      principal: this.#withSharedRoles(rules.principalOf(claims)),
      until: ((claims.exp ?? 0) + rules.clockSkewSeconds) * 1000,
      key,
      resources: audiences.some((audience) => rules.audiences.includes(audience))
        ? undefined
        : audiences,
    }
  }

  /** Checks the issuer and the expiry too. */
  async #checkSignature(
    token: string,
    key: Promise<CryptoKey | Uint8Array>,
    rules: IssuerRules,
  ): Promise<void> {
    try {
      await jwtVerify(token, await key, {
        issuer: [...rules.issuers],
        algorithms: [...rules.algorithms],
        clockTolerance: rules.clockSkewSeconds,
        requiredClaims: ['exp'],
        currentDate: new Date(this.#now()),
      })
    } catch (error) {
      throw explained(error)
    }
  }

  #checkIssueTime({ iat }: JWTPayload, { clockSkewSeconds }: IssuerRules): void {
    if (typeof iat === 'number' && iat * 1000 > this.#now() + clockSkewSeconds * 1000)
      throw refusal('The token is from the future.')
  }

  #withSharedRoles({ roles, ...principal }: Principal): Principal {
    const key = roles.join('\n')
    const shared = this.#roleLists.get(key) ?? roles
    this.#roleLists.set(key, shared)
    return { ...principal, roles: shared }
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
