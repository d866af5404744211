import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { apiKeyId, apiKeyPrefix, digestOf, type ApiKey } from '../core/api-key.ts'
import { GatewayError } from '../core/errors.ts'
import { hasRole, type Principal } from '../core/principal.ts'
import { Listeners } from '../lib/async/listeners.ts'
import { follow } from '../store/follow.ts'
import type { Collection } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import { developmentIssuer } from './development.ts'

export interface ApiKeysOptions {
  readonly collection: Collection<ApiKey>
  readonly log: Log
  readonly now: () => number
  /**
   * True if development identity is on. Keys made under it work only under it, because nobody has
   * verified their owners and roles.
   */
  readonly development: boolean
  /** Milliseconds between writes of the last uses of keys to the store. */
  readonly tellUseMs: number
}

interface Known {
  readonly key: ApiKey
  readonly digest: Buffer
  readonly endsAt: number
  /**
   * One frozen object per version of a key, so that callers can cache values for it by identity.
   */
  readonly principal: Principal
  usedAt: number
}

/**
 * Authenticates API keys from memory: requests never wait for the store, and a revoked key fails
 * once the store reports it. A key acts as its owner with the key's roles; its work outlives it.
 */
export class ApiKeys implements AsyncDisposable {
  readonly #options: ApiKeysOptions
  readonly #known = new Map<string, Known>()
  readonly #listeners = new Listeners()
  readonly #timer: NodeJS.Timeout
  #following: AsyncDisposable | undefined
  #telling: Promise<void> = Promise.resolve()

  private constructor(options: ApiKeysOptions) {
    this.#options = options
    this.#timer = setInterval(
      () => void (this.#telling = this.#tellUse()),
      options.tellUseMs,
    ).unref()
  }

  /** Reads all keys, and then follows the store. */
  static async open(options: ApiKeysOptions): Promise<ApiKeys> {
    const keys = new ApiKeys(options)
    keys.#following = await follow(
      options.collection,
      {},
      ({ name, resource }) => keys.#take(name, resource),
      (error) => options.log.error({ err: error }, 'following the API keys failed, trying again'),
    )
    return keys
  }

  /**
   * Returns the caller, or undefined if the request has no key of the gateway.
   * @throws GatewayError `unauthenticated` for an invalid key, so that no other method accepts the
   * request
   */
  authenticate(request: IncomingMessage): Principal | undefined {
    const text = keyOf(request)
    if (text === undefined) return undefined

    const id = apiKeyId(text)
    if (id === undefined)
      throw refused('The API key is not whole, or has a typing mistake: its checksum does not fit.')

    const known = this.#known.get(id)
    if (known === undefined || !timingSafeEqual(digestOf(text), known.digest))
      throw refused('The API key is not known, or was revoked.')
    if (known.principal.issuer === developmentIssuer && !this.#options.development)
      throw refused(
        'The API key was made with development identity, which counts for nothing here.',
      )

    const now = this.#options.now()
    if (now >= known.endsAt) throw refused('The API key has expired.')
    known.usedAt = now
    return known.principal
  }

  /** Calls back when a key is revoked or loses a role. */
  onEnd(listener: () => void): void {
    this.#listeners.add(listener)
  }

  #ended(): void {
    this.#listeners.tell()
  }

  #take(id: string, key: ApiKey | undefined): void {
    const before = this.#known.get(id)
    if (key === undefined) {
      if (this.#known.delete(id)) this.#ended()
      return
    }

    const { owner, spec } = key
    const endsAt =
      spec.expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(spec.expiresAt)
    const same =
      before !== undefined && before.key.uid === key.uid && before.key.version === key.version
    const principal = same
      ? before.principal
      : Object.freeze({
          id: owner.id,
          issuer: owner.issuer,
          name: spec.name,
          roles: Object.freeze([...spec.roles]),
          apiKey: id,
        })

    const usedAt = Math.max(before?.usedAt ?? 0, Date.parse(spec.lastUsedAt ?? '') || 0)
    this.#known.set(id, { key, digest: Buffer.from(spec.digest, 'hex'), endsAt, principal, usedAt })

    if (before !== undefined && before.principal.roles.some((role) => !hasRole(principal, role)))
      this.#ended()
  }

  /**
   * Writes the last uses to the store. If the store fails or a key has changed, the next run tries
   * again.
   */
  async #tellUse(): Promise<void> {
    const { collection, log, tellUseMs } = this.#options
    for (const { key, usedAt } of this.#known.values()) {
      const told = Date.parse(key.spec.lastUsedAt ?? '') || 0
      if (usedAt - told < tellUseMs) continue

      const lastUsedAt = new Date(usedAt).toISOString()
      await collection
        .replace({ ...key, spec: { ...key.spec, lastUsedAt } }, key.version)
        .catch((error: unknown) => {
          if (
            !(error instanceof GatewayError) ||
            !['not_found', 'precondition_failed'].includes(error.code)
          )
            log.warn({ err: error }, 'the last use of API keys could not be stored')
        })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#telling
    await this.#tellUse()
    await this.#following?.[Symbol.asyncDispose]()
  }
}

/**
 * Returns the key of a request, even a malformed one.
 * @throws GatewayError `unauthenticated`
 */
function keyOf({ headers }: IncomingMessage): string | undefined {
  const { authorization = '' } = headers
  // Reads only up to the first space: every request with another kind of token passes here, with a
  // kilobyte of token.
  const end = authorization.indexOf(' ')
  const credential = authorization.slice(end + 1).trimStart()
  const bearer = credential.startsWith(apiKeyPrefix) ? credential : undefined
  if (bearer !== undefined && authorization.slice(0, end).toLowerCase() !== 'bearer')
    throw refused('An API key is brought as Authorization: Bearer, or as X-API-Key.')

  const given = headers['x-api-key']
  // Repeated headers arrive joined. If one of the values is a key of the gateway, the gateway must
  // judge the header, and rejects it as malformed.
  const own = typeof given === 'string' && given.includes(apiKeyPrefix) ? given : undefined
  if (bearer !== undefined && own !== undefined && bearer !== own)
    throw refused('The request brings two API keys.')

  return bearer ?? own
}

function refused(detail: string): GatewayError {
  return new GatewayError('unauthenticated', {
    detail,
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  })
}
