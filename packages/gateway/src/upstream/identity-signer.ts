import {
  createECDH,
  createHash,
  createHmac,
  createPrivateKey,
  randomUUID,
  sign,
  type KeyObject,
} from 'node:crypto'
import { isAnonymous, type Principal } from '../core/principal.ts'
import { deriveKey } from '../crypto/keys.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'

export interface IdentitySignerOptions {
  /**
   * Keys of 32 bytes that all gateway processes share. Signing keys derive from them: the first
   * signs, all are published.
   */
  readonly keys: readonly Buffer[]
  /** The gateway's own address, the `iss` of tokens. Read for each new token. */
  readonly issuer: () => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** A public key by which servers verify tokens (RFC 7517). */
export interface PublishedKey {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
  readonly kid: string
  readonly alg: 'ES256'
  readonly use: 'sig'
}

interface SigningKey {
  readonly private: KeyObject
  readonly published: PublishedKey
  /** The first part of every token. */
  readonly header: string
}

const lifetimeSeconds = 300
/** A token is reused for so long. Its receiver then has the rest of the lifetime to verify it. */
const reuseMs = 150_000

/**
 * Makes the JWTs (RFC 7519) that tell servers the caller. Libraries of all languages verify ES256.
 * Cached and synchronous, because every request needs one: a signature costs ~100 µs, a look-up 3.
 */
export class IdentitySigner {
  readonly #options: IdentitySignerOptions
  readonly #keys: readonly SigningKey[]
  readonly #pseudonymKey: Buffer
  readonly #pseudonyms = new BoundedCache<string, string>(10_000)
  readonly #made = new BoundedCache<string, { readonly token: string; readonly at: number }>(10_000)

  constructor(options: IdentitySignerOptions) {
    this.#options = options
    this.#keys = options.keys.map(signingKey)
    this.#pseudonymKey = deriveKey(options.keys[0] as Buffer, 'pseudonym')
  }

  /** A token that tells one server (`/adapters/{name}`, `/tools/{name}`) who the caller is. */
  token(principal: Principal, path: string): string {
    const now = this.#options.now()
    const { id, issuer, name, roles } = principal
    const origin = this.#options.issuer()
    const cacheKey = JSON.stringify([origin, path, id, issuer, name, roles])

    const known = this.#made.get(cacheKey)
    // Clocks may be set back, too.
    if (known !== undefined && Math.abs(now - known.at) < reuseMs) return known.token

    const iat = Math.floor(now / 1000)
    const token = this.#sign({
      iss: origin,
      aud: origin + path,
      ...(isAnonymous(principal) ? {} : { sub: id, idp: issuer }),
      name,
      roles,
      iat,
      exp: iat + lifetimeSeconds,
      jti: randomUUID(),
    })

    this.#made.set(cacheKey, { token, at: now })
    return token
  }

  /**
   * Tells callers apart for one incarnation of a server, without their identity. No two servers get
   * the same pseudonym of a caller (pairwise, as in OpenID Connect Core section 8.1).
   */
  pseudonym({ issuer, id }: Principal, uid: string): string {
    const text = `${uid}\n${issuer}\n${id}`
    let pseudonym = this.#pseudonyms.get(text)
    if (pseudonym === undefined) {
      pseudonym = createHmac('sha256', this.#pseudonymKey)
        .update(text)
        .digest()
        .subarray(0, 16)
        .toString('base64url')
      this.#pseudonyms.set(text, pseudonym)
    }
    return pseudonym
  }

  /** The keys that verify tokens, as servers fetch them (RFC 7517 section 5). */
  get jwks(): { readonly keys: readonly PublishedKey[] } {
    return { keys: this.#keys.map(({ published }) => published) }
  }

  #sign(claims: object): string {
    const [{ header, private: key }] = this.#keys as [SigningKey]
    const input = `${header}.${encode(claims)}`
    return `${input}.${sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
}

/** The order of the group of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3). */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/**
 * The P-256 key pair of a secret, equal in every process. Derived with extra random bits (FIPS
 * 186-5 appendix A.2.1).
 */
function signingKey(secret: Buffer): SigningKey {
  const bits = deriveKey(secret, 'identity')
  const scalar = (BigInt(`0x${bits.toString('hex')}`) % (order - 1n)) + 1n
  const d = Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex')
  const curve = createECDH('prime256v1')

  curve.setPrivateKey(d)
  const point = curve.getPublicKey()
  const pair = {
    crv: 'P-256',
    kty: 'EC',
    x: point.subarray(1, 33).toString('base64url'),
    y: point.subarray(33).toString('base64url'),
  } as const

  // RFC 7638: members in order of their names.
  const kid = createHash('sha256').update(JSON.stringify(pair)).digest('base64url')
  return {
    private: createPrivateKey({ format: 'jwk', key: { ...pair, d: d.toString('base64url') } }),
    published: { ...pair, kid, alg: 'ES256', use: 'sig' },
    header: encode({ alg: 'ES256', typ: 'JWT', kid }),
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
