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
  /** Whether callers are whoever they say. Only there do keys count that were made so: elsewhere nobody would have vouched for their owners and roles. */
  readonly development: boolean
  /** How often the store is told which keys were used. */
  readonly tellUseMs: number
}

interface Known {
  readonly key: ApiKey
  readonly digest: Buffer
  readonly endsAt: number
  /** One object for each version of a key, so that what is made of a principal can be kept beside it. */
  readonly principal: Principal
  usedAt: number
}

/**
 * Authentication by API key, from a copy of all keys in memory: no request waits for the store, and a key that is revoked by whichever
 * process is refused as soon as the store tells of it. A key acts as its owner, with the key's roles: what it makes is the owner's, and
 * remains when the key is replaced by another.
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

  /** Reads all keys and follows the store from then on. */
  static async open(options: ApiKeysOptions): Promise<ApiKeys> {
    const keys = new ApiKeys(options)
    keys.#following = await follow(options.collection, {}, ({ name, resource }) =>
      keys.#take(name, resource),
    )
    return keys
  }

  /**
   * The caller, or undefined when the request brings no key of ours.
   * @throws GatewayError `unauthenticated` when it brings one that is not valid: never is somebody else assumed then
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

  /** Tells that a key was revoked, or may less than before. */
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

  /** What is told late or not at all, as the store fails or the key has changed meanwhile, is told the next time. */
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

/** The key that a request brings, well-formed or not. */
function keyOf({ headers }: IncomingMessage): string | undefined {
  const { authorization = '' } = headers
  // No further than the first space is looked: all that carry a token of another kind pass here, with a kilobyte of it.
  const end = authorization.indexOf(' ')
  const credential = authorization.slice(end + 1).trimStart()
  const bearer = credential.startsWith(apiKeyPrefix) ? credential : undefined
  if (bearer !== undefined && authorization.slice(0, end).toLowerCase() !== 'bearer')
    throw refused('An API key is brought as Authorization: Bearer, or as X-API-Key.')
  const given = headers['x-api-key']
  // Repeated headers arrive joined; with a key of ours in it the header is meant for us, and is then not well-formed.
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
