import { importJWK, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose'
import { GatewayError } from '../core/errors.ts'
import { RateLimit } from '../lib/rate-limit.ts'

/**
 * A key of an issuer. Tokens verified with it stay valid until they expire or the issuer withdraws
 * the key.
 */
export interface TrustedKey {
  readonly jwk: JWK
  /** True once the issuer no longer publishes the key. */
  withdrawn: boolean
}

export interface KeySetOptions {
  /** Fetches the issuer's current key set. Rejects if it cannot. */
  readonly fetch: () => Promise<unknown>
  /** Called once for each failure to fetch, and for each set with unusable keys. */
  readonly warn: (what: string, cause?: unknown) => void
  /** Monotonic clock in milliseconds, for the age of keys and for pauses. */
  readonly now: () => number
}

/** Milliseconds after which the gateway fetches a set again, without delaying requests. */
const freshMs = 10 * 60_000
/** Milliseconds for which a set stays usable while the issuer is unreachable. */
const usableMs = 24 * 3600_000
/** Milliseconds without another fetch after a failure. */
const retryMs = 5000
/** Limit on the keys of one set; the gateway ignores the rest. */
const mostKeys = 100
const longestKeyId = 512
/** Minimum of NIST SP 800-131A and RFC 7518 section 3.3. */
const fewestRsaBits = 2048

/**
 * An issuer's public keys: fetched on first use by one request at a time, and kept through outages.
 * A token with an unknown key (a rotation) causes another fetch, at a limited rate.
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
   * Returns the key that a token names in its header.
   * @throws GatewayError `unauthenticated` if the issuer has no such key, `issuer_unavailable` if
   * the issuer cannot be asked
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
        detail: 'The issuer does not publish the key that signed the token. Get another token.',
      })
    return key
  }

  /** Imports a key for one algorithm, once. */
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
        detail: 'The gateway cannot fetch the keys of the identity provider. Try again later.',
        headers: { 'retry-after': String(retryMs / 1000) },
      })
    }
  }

  /** Never rejects. If the fetch fails, the known keys stay. */
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

  /** Keeps the objects of keys that are still published. */
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
    // Without a key id, only a single match is safe. With an id, any match will do.
    return kid === undefined && fitting.length > 1 ? undefined : fitting[0]
  }
}

function identityOf({ kid, kty, alg, crv, n, e, x, y }: JWK): string {
  return JSON.stringify([kid, kty, alg, crv, n, e, x, y])
}

/** Curves of algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1). */
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

/**
 * Returns the keys of a set that may verify tokens.
 * @throws Error if the value is not a key set, or has no usable key
 */
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

/** True for public keys that may verify signatures and are long enough. */
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
