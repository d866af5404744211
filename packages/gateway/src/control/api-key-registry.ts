import { ApiKeyInput, ApiKeyPatch } from '@mcp-gateway/contract'
import { checkPersonalSpace, type AccessRules, type PersonalLimits } from '../core/access.ts'
import { newApiKey, type ApiKey, type ApiKeySpec } from '../core/api-key.ts'
import { GatewayError } from '../core/errors.ts'
import type { MistakeCode } from '../core/mistakes.ts'
import { authorize, authorizePersonal, checkCreate, mayRead } from '../core/permission.ts'
import { adminRole, hasRole, type Principal } from '../core/principal.ts'
import type { PermittedStore } from '../store/permitted.ts'
import type { Space } from '../store/store.ts'
import { pageOf, type Page } from './page.ts'
import { checkVersion, retrying } from './precondition.ts'
import { validate, type Warning } from './validation.ts'

export interface ApiKeyRegistryOptions {
  readonly store: PermittedStore
  readonly apiKeys: PersonalLimits & {
    readonly maxPerPrincipal: number
    readonly maxLifetimeDays?: number | undefined
  }
  readonly access: AccessRules
  readonly now: () => Date
  readonly newUid: () => string
}

interface Written {
  readonly key: ApiKey
  readonly warnings: readonly Warning[]
}

/**
 * Creates, shows, changes and revokes API keys. A key belongs to its owner; `mcp.admin` manages all
 * keys.
 */
export class ApiKeyRegistry {
  readonly #options: ApiKeyRegistryOptions

  constructor(options: ApiKeyRegistryOptions) {
    this.#options = options
  }

  /** Creates a key. `text` is the key itself, which nobody can read later. */
  async create(principal: Principal, body: unknown): Promise<Written & { readonly text: string }> {
    const permit = authorizePersonal(principal, this.#options.access, 'api-key')
    checkPerson(principal)
    const { value, warnings } = await validate(ApiKeyInput, body)
    checkRoles(principal, value.roles, [])
    const { id, text, digest } = newApiKey()
    const { now, newUid, store } = this.#options
    const at = now()
    const key: ApiKey = {
      kind: 'api-key',
      name: id,
      uid: newUid(),
      version: 1,
      owner: { id: principal.id, issuer: principal.issuer },
      createdAt: at.toISOString(),
      lastUpdatedAt: at.toISOString(),
      spec: {
        name: value.name,
        roles: [...new Set(value.roles)],
        digest,
        ...this.#end(value.expiresAt, at),
      },
    }
    await store.apiKeys.create(permit, key, (held, space) => {
      this.#checkQuota(held)
      this.#checkSpace(space)
    })
    return { key, text, warnings }
  }

  async get(principal: Principal, id: string): Promise<ApiKey> {
    return authorize(principal, 'read', await this.#stored(id)).resource
  }

  async list(
    principal: Principal,
    page: { readonly limit: number | undefined; readonly after: string | undefined },
    show: (key: ApiKey) => object,
  ): Promise<Page> {
    return pageOf(this.#options.store.apiKeys, page, (key) => mayRead(principal, key), show)
  }

  async patch(
    principal: Principal,
    id: string,
    patch: unknown,
    ifMatch: number | undefined,
  ): Promise<Written> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(id))
      const { resource: stored } = permit
      checkVersion(stored, ifMatch)
      checkPerson(principal)
      const { value, warnings } = await validate(ApiKeyPatch, patch)
      const { name = stored.spec.name, roles = stored.spec.roles, expiresAt } = value
      const { expiresAt: storedEnd, ...rest } = stored.spec
      const end: Pick<ApiKeySpec, 'expiresAt'> =
        expiresAt === undefined
          ? storedEnd === undefined
            ? {}
            : { expiresAt: storedEnd }
          : this.#end(expiresAt ?? undefined, new Date(stored.createdAt))
      // More time grants the roles again, so the caller must hold all of them.
      const prolongs = endOf(end) > endOf(stored.spec)
      checkRoles(principal, roles ?? [], prolongs ? [] : stored.spec.roles)
      const spec: ApiKeySpec = { ...rest, name, roles: [...new Set(roles)], ...end }
      const key = {
        ...stored,
        version: stored.version + 1,
        lastUpdatedAt: this.#options.now().toISOString(),
        spec,
      }
      await this.#options.store.apiKeys.replace(permit, key, (_, space) => this.#checkSpace(space))
      return { key, warnings }
    })
  }

  /**
   * Checks before the body is read that a caller may create keys at all.
   * @throws GatewayError `forbidden`, `unauthenticated`
   */
  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, 'api-key')
    checkPerson(principal)
  }

  /**
   * Checks before the body is read that a caller may change a key.
   * @throws GatewayError as `authorize`, and `forbidden` for callers with an API key
   */
  async checkChange(principal: Principal, id: string): Promise<void> {
    authorize(principal, 'write', await this.#stored(id))
    checkPerson(principal)
  }

  /** Revokes a key, and returns it. */
  async delete(principal: Principal, id: string, ifMatch: number | undefined): Promise<ApiKey> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(id))
      const { resource: stored } = permit
      // A key may revoke itself, so that anyone who finds a key can end it.
      if (principal.apiKey !== id) checkPerson(principal)
      checkVersion(stored, ifMatch)
      await this.#options.store.apiKeys.delete(permit)
      return stored
    })
  }

  #stored(id: string): Promise<ApiKey | undefined> {
    return this.#options.store.apiKeys.get(id)
  }

  #checkSpace(space: Space): void {
    checkPersonalSpace(this.#options.apiKeys, 'apiKeys', space)
  }

  #checkQuota(held: number): void {
    const { maxPerPrincipal } = this.#options.apiKeys
    if (held >= maxPerPrincipal)
      throw new GatewayError('quota_exceeded', {
        detail:
          `You have ${held} API keys, and may have ${maxPerPrincipal} ` +
          '(apiKeys.maxPerPrincipal). Revoke one that is no longer used.',
      })
  }

  /**
   * The expiry of a key: the requested time, which the configured lifetime limits.
   * @throws GatewayError `validation_failed`
   */
  #end(wanted: string | undefined, madeAt: Date): { readonly expiresAt?: string } {
    const { maxLifetimeDays: days } = this.#options.apiKeys
    const last =
      days === undefined ? Number.POSITIVE_INFINITY : madeAt.getTime() + days * 86_400_000
    const end = wanted === undefined ? last : Date.parse(wanted)
    if (end <= this.#options.now().getTime())
      throw expiryMistake('in_the_past', 'must be in the future')
    if (end > last)
      throw expiryMistake(
        'too_late',
        `must be at most ${days} days after the key was made (apiKeys.maxLifetimeDays)`,
      )

    return end === Number.POSITIVE_INFINITY ? {} : { expiresAt: new Date(end).toISOString() }
  }
}

function expiryMistake(code: MistakeCode, detail: string): GatewayError {
  return new GatewayError('validation_failed', {
    mistakes: [{ pointer: '/expiresAt', code, detail }],
  })
}

function endOf({ expiresAt }: Pick<ApiKeySpec, 'expiresAt'>): number {
  return expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(expiresAt)
}

/**
 * Refuses callers with an API key. Otherwise a stolen key could outlive its expiry through keys
 * that it makes.
 * @throws GatewayError `forbidden`
 */
function checkPerson(principal: Principal): void {
  if (principal.apiKey !== undefined)
    throw new GatewayError('forbidden', {
      detail:
        'An API key cannot create or change API keys, so that a stolen key cannot outlive its expiry. ' +
        'Use another credential.',
    })
}

function checkRoles(
  principal: Principal,
  wanted: readonly string[],
  before: readonly string[],
): void {
  if (hasRole(principal, adminRole)) return
  const foreign = wanted.filter((role) => !hasRole(principal, role) && !before.includes(role))
  if (foreign.length > 0)
    throw new GatewayError('forbidden', {
      detail:
        'You can give only roles that you hold, and you do not hold: ' +
        `${foreign.join(', ').slice(0, 500)}. Remove them.`,
    })
}
