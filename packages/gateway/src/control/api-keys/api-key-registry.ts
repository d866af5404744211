import { ApiKeyInput, ApiKeyPatch } from '@mcp-gateway/contract'
import type { z } from 'zod'
import { checkPersonalSpace, type AccessRules, type PersonalLimits } from '../../core/access.ts'
import { newApiKey, type ApiKey, type ApiKeySpec } from '../../core/api-key.ts'
import { GatewayError } from '../../core/errors.ts'
import type { MistakeCode } from '../../core/mistakes.ts'
import { authorizePersonal, checkCreate } from '../../core/permission.ts'
import { adminRole, hasRole, type Principal } from '../../core/principal.ts'
import { defined } from '../../lib/defined.ts'
import type { PermittedStore } from '../../store/permitted.ts'
import type { Space } from '../../store/store.ts'
import { OwnedRecords, type RecordRequest, type Written } from '../owned/owned-records.ts'
import { validate } from '../validation.ts'

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

interface Created extends Written<ApiKey> {
  /** The key itself, which nobody can read later. */
  readonly text: string
}

/**
 * Creates, shows, changes and revokes API keys. A key belongs to its owner; `mcp.admin` manages all
 * keys.
 */
export class ApiKeyRegistry {
  readonly records: OwnedRecords<ApiKey>
  readonly #options: ApiKeyRegistryOptions

  constructor(options: ApiKeyRegistryOptions, view: (key: ApiKey) => object) {
    const { apiKeys } = options.store
    this.#options = options
    this.records = new OwnedRecords({ ...options, stored: apiKeys, listed: apiKeys, view })
  }

  async create(principal: Principal, body: unknown): Promise<Created> {
    const permit = authorizePersonal(principal, this.#options.access, 'api-key')
    checkPerson(principal)
    const { value, warnings } = await validate(ApiKeyInput, body)
    checkRoles(principal, value.roles, [])

    const { id, text, digest } = newApiKey()
    const at = this.#options.now()
    const roles = [...new Set(value.roles)]
    const spec = { name: value.name, roles, digest, ...this.#end(value.expiresAt, at) }
    const key = { kind: 'api-key' as const, name: id, ...this.records.fresh(principal, at), spec }
    const resource = await this.records.create(permit, key, (held, space) => {
      this.#checkQuota(held)
      this.#checkSpace(space)
    })
    return { resource, text, warnings }
  }

  async patch(request: RecordRequest, patch: unknown): Promise<Written<ApiKey>> {
    const { principal } = request
    return this.records.act(request, 'write', async (permit) => {
      checkPerson(principal)
      const { value, warnings } = await validate(ApiKeyPatch, patch)
      const spec = this.#patched(principal, permit.resource, value)
      const key = { ...permit.resource, spec }
      const resource = await this.records.replace(permit, key, (_, space) =>
        this.#checkSpace(space),
      )
      return { resource, warnings }
    })
  }

  /** The stored form of a patch. */
  #patched(
    principal: Principal,
    { spec: before, createdAt }: ApiKey,
    { name = before.name, roles: wanted, expiresAt }: z.output<typeof ApiKeyPatch>,
  ): ApiKeySpec {
    const { expiresAt: storedEnd, ...rest } = before
    const roles: readonly string[] = (wanted === undefined ? before.roles : wanted) ?? []
    const end =
      expiresAt === undefined
        ? defined({ expiresAt: storedEnd })
        : this.#end(expiresAt ?? undefined, new Date(createdAt))
    // More time grants the roles again, so the caller must hold all of them.
    const prolongs = endOf(end) > endOf(before)
    checkRoles(principal, roles, prolongs ? [] : before.roles)
    return { ...rest, name, roles: [...new Set(roles)], ...end }
  }

  /**
   * Checks before the body is read that a caller may create keys at all.
   * @throws GatewayError `forbidden`, `unauthenticated`
   */
  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, 'api-key')
    checkPerson(principal)
  }

  /** @throws GatewayError `forbidden` for callers with an API key */
  checkChange(principal: Principal): void {
    checkPerson(principal)
  }

  /** Revokes a key, and returns it. */
  async delete(request: RecordRequest): Promise<ApiKey> {
    const { principal, name } = request
    return this.records.act(request, 'write', async (permit) => {
      // A key may revoke itself, so that anyone who finds a key can end it.
      if (principal.apiKey !== name) checkPerson(principal)
      return this.records.delete(permit)
    })
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
        'An API key cannot create or change API keys, so that a stolen key cannot ' +
        'outlive its expiry. ' +
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
