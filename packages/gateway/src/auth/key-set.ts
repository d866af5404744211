import { importJWK, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose'
import { GatewayError } from '../core/errors.ts'
import { RateLimit } from '../lib/rate-limit.ts'

/** A key of an issuer. Tokens that were verified with it stay good until they expire or the issuer withdraws it. */
export interface TrustedKey {
  readonly jwk: JWK
  /** The issuer does not publish it any more. */
  withdrawn: boolean
}

export interface KeySetOptions {
  /** Where the issuer's keys are now. Rejects when it cannot be told. */
  readonly fetch: () => Promise<unknown>
  /** Told once for each failure to fetch, and for each set with keys that are not usable. */
  readonly warn: (what: string, cause?: unknown) => void
  /** Milliseconds that never jump: keys have an age, and the issuer has pauses. */
  readonly now: () => number
}

/** A set is asked for anew, beside the requests, once it is as old as this. */
const freshMs = 10 * 60_000
/** How long a set is good when the issuer cannot be reached any more. */
const usableMs = 24 * 3600_000
/** After a failure the issuer is left in peace for so long. */
const retryMs = 5000
/** More keys than these are not looked at. */
const mostKeys = 100
const longestKeyId = 512
/** NIST SP 800-131A; RFC 7518 section 3.3. */
const fewestRsaBits = 2048

/**
 * The public keys of one issuer: fetched when first needed, by one request at a time, kept through the issuer's outages, and asked for anew
 * when a token names a key that is not known (a rotation), which strangers cannot make happen without limit.
 */
export class KeySet {
  readonly #options: KeySetOptions
  readonly #imported = new WeakMap<TrustedKey, Map<string, Promise<CryptoKey | Uint8Array>>>()
  readonly #surprises = new RateLimit({ burst: 5, perSecond: 1 / 30, keys: 1 })
  #keys: readonly TrustedKey[] | undefined
  #fetchedAt = Number.NEGATIVE_INFINITY
  #failedAt = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | undefined

  constructor(options: KeySetOptions) {
    this.#options = options
  }

  /**
   * The key that a token says it is signed with.
   * @throws GatewayError `unauthenticated` when the issuer has no such key, `issuer_unavailable` when it cannot be asked
   */
  async find(header: JWTHeaderParameters): Promise<TrustedKey> {
    await this.#ensure()
    let key = this.#match(header)
    if (key === undefined && this.#surprises.take('', this.#options.now()) === 0) {
      await this.#refresh()
      key = this.#match(header)
    }
    if (key === undefined)
      throw new GatewayError('unauthenticated', {
        detail: 'The token is signed with a key that the issuer does not have.',
      })
    return key
  }

  /** The key for use with one algorithm. */
  import(key: TrustedKey, algorithm: string): Promise<CryptoKey | Uint8Array> {
    let imports = this.#imported.get(key)
    if (imports === undefined) this.#imported.set(key, (imports = new Map()))
    let imported = imports.get(algorithm)
    if (imported === undefined) imports.set(algorithm, (imported = importJWK(key.jwk, algorithm)))
    return imported
  }

  async #ensure(): Promise<void> {
    const age = this.#options.now() - this.#fetchedAt
    if (age < freshMs) return
    if (this.#keys !== undefined && age < usableMs) return void this.#refresh()
    await this.#refresh()
    if (this.#keys === undefined || this.#options.now() - this.#fetchedAt >= usableMs) {
      throw new GatewayError('issuer_unavailable', {
        detail: "The identity provider's keys cannot be fetched. Try again later.",
        headers: { 'retry-after': String(retryMs / 1000) },
      })
    }
  }

  /** Never rejects: what was known stays known. */
  #refresh(): Promise<void> {
    if (this.#options.now() - this.#failedAt < retryMs) return Promise.resolve()
    this.#fetching ??= this.#load().finally(() => (this.#fetching = undefined))
    return this.#fetching
  }

  async #load(): Promise<void> {
    try {
      this.#replace(usableKeys(await this.#options.fetch(), (what) => this.#options.warn(what)))
      this.#fetchedAt = this.#options.now()
    } catch (cause) {
      this.#failedAt = this.#options.now()
      this.#options.warn('the keys could not be fetched', cause)
    }
  }

  /** Keys that are still there stay the same objects. */
  #replace(jwks: readonly JWK[]): void {
    const before = new Map(this.#keys?.map((key) => [identityOf(key.jwk), key]))
    this.#keys = jwks.map((jwk) => before.get(identityOf(jwk)) ?? { jwk, withdrawn: false })
    const now = new Set(this.#keys)
    for (const key of before.values()) key.withdrawn = !now.has(key)
  }

  #match({ kid, alg }: JWTHeaderParameters): TrustedKey | undefined {
    const fitting = (this.#keys ?? []).filter(
      ({ jwk }) => fits(jwk, alg) && (kid === undefined || jwk.kid === kid),
    )
    // Without a name there must be no choice; with one, the first is as good as any.
    return kid === undefined && fitting.length > 1 ? undefined : fitting[0]
  }
}

function identityOf({ kid, kty, alg, crv, n, e, x, y }: JWK): string {
  return JSON.stringify([kid, kty, alg, crv, n, e, x, y])
}

/** RFC 7518 section 3.1, RFC 8037 section 3.1. */
const curves: Readonly<Record<string, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
}

function fits({ kty, alg: wanted, crv }: JWK, alg: string): boolean {
  if (wanted !== undefined && wanted !== alg) return false
  return kty === 'RSA'
    ? alg.startsWith('RS') || alg.startsWith('PS')
    : crv !== undefined && curves[alg] === crv
}

/** The keys of a set that may verify tokens. @throws Error when it is no key set */
function usableKeys(set: unknown, warn: (what: string) => void): JWK[] {
  const keys = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined
  if (!Array.isArray(keys)) throw new Error('The answer is not a JSON Web Key Set.')
  if (keys.length > mostKeys)
    warn(`the issuer has ${keys.length} keys, of which the first ${mostKeys} are looked at`)
  const looked = keys.slice(0, mostKeys) as unknown[]
  const usable = looked.filter(isUsable)
  const weak = looked.filter((key) => isRsa(key) && rsaBits(key) < fewestRsaBits).length
  if (weak > 0)
    warn(`the issuer has ${weak} RSA keys of less than ${fewestRsaBits} bits, which are not used`)
  if (usable.length === 0) throw new Error('The JSON Web Key Set has no key that can be used.')
  return usable
}

/** Public, asymmetric, for signatures, long enough. */
function isUsable(key: unknown): key is JWK {
  if (typeof key !== 'object' || key === null) return false
  const { kty, use, kid, key_ops: operations } = key as JWK
  if (use !== undefined && use !== 'sig') return false
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return false
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > longestKeyId)) return false
  return (
    (isRsa(key) && rsaBits(key) >= fewestRsaBits && rsaBits(key) <= 16_384) ||
    kty === 'EC' ||
    kty === 'OKP'
  )
}

function isRsa(key: unknown): key is JWK & { readonly n: string } {
  return (
    typeof key === 'object' &&
    key !== null &&
    (key as JWK).kty === 'RSA' &&
    typeof (key as JWK).n === 'string'
  )
}

function rsaBits({ n }: { readonly n: string }): number {
  const bytes = Buffer.from(n, 'base64url')
  const first = bytes.findIndex((byte) => byte !== 0)
  return first === -1 ? 0 : (bytes.length - first - 1) * 8 + (32 - Math.clz32(bytes[first] ?? 0))
}
