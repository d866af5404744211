import { maskedValue, SecretInput, SecretPatch, type SecretDeletion } from '@mcp-gateway/contract'
import type { z } from 'zod'
import { checkPersonalSpace, type AccessRules, type PersonalLimits } from '../../core/access.ts'
import { GatewayError, type Mistake } from '../../core/errors.ts'
import { authorizePersonal, checkCreate, mayRead } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { SecretText } from '../../core/resource.ts'
import { onlyKey, type Secret, type SecretSpec } from '../../core/secret.ts'
import { mergePatch } from '../../lib/json/merge-patch.ts'
import { usersOf } from '../../secrets/users.ts'
import type { PermittedCollection, PermittedStore } from '../../store/permitted.ts'
import type { Space } from '../../store/store.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { OwnedRecords, type RecordRequest, type Written } from '../owned/owned-records.ts'
import { renames, validate, type Warning } from '../validation.ts'

export interface SecretRegistryOptions {
  readonly store: PermittedStore
  /** The store with sealed values. Nothing here needs to read a stored value. */
  readonly sealedSecrets: PermittedCollection<Secret>
  readonly secrets: PersonalLimits & { readonly maxPerPrincipal: number }
  readonly access: AccessRules
  readonly now: () => Date
  readonly newUid: () => string
}

/**
 * Creates, shows, changes and deletes secrets. The right to read allows a caller to see a secret
 * and to give it to workloads; nobody can read values.
 */
export class SecretRegistry {
  readonly records: OwnedRecords<Secret>
  readonly #options: SecretRegistryOptions

  constructor(options: SecretRegistryOptions, view: (secret: Secret) => object) {
    const { sealedSecrets } = options
    this.#options = options
    this.records = new OwnedRecords({
      ...options,
      stored: sealedSecrets,
      listed: sealedSecrets,
      view,
    })
  }

  /**
   * Checks before the body is read that a caller may create secrets at all.
   * @throws GatewayError `forbidden`, `unauthenticated`
   */
  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, 'secret')
  }

  async create(principal: Principal, body: unknown): Promise<Written<Secret>> {
    const permit = authorizePersonal(principal, this.#options.access, 'secret')
    const { name, spec, warnings } = await specOf(body, undefined)
    const secret = { kind: 'secret' as const, name, ...this.records.fresh(principal), spec }
    const resource = await this.records.create(permit, secret, (held, space) => {
      this.#checkQuota(held)
      this.#checkSpace(space)
    })
    return { resource, warnings }
  }

  async replace(request: RecordRequest, body: unknown): Promise<Written<Secret>> {
    return this.#change(request, (stored) => specOf(body, stored))
  }

  async patch(request: RecordRequest, patch: unknown): Promise<Written<Secret>> {
    return this.#change(request, async (stored) => {
      const { value: given, warnings } = await validate(SecretPatch, patch)
      const { value, values, ...rest } = given
      const named = value === undefined ? values : { ...values, [onlyKey]: value }
      const masks = Object.fromEntries(
        Object.keys(stored.spec.values).map((key) => [key, maskedValue]),
      )
      const merged = mergePatch(
        { ...stored.spec, name: stored.name, values: masks },
        { ...rest, ...(named === undefined ? {} : { values: named }) },
      )
      return { ...(await specOf(merged, stored)), warnings }
    })
  }

  /**
   * Deletes a secret, and returns it. `force` also deletes a secret in use; its workloads then
   * stop.
   * @throws GatewayError `secret_in_use` without `force`
   */
  async delete(
    request: RecordRequest,
    { force }: z.output<typeof SecretDeletion>,
  ): Promise<Secret> {
    return this.records.act(request, 'write', async (permit) => {
      if (!force) await this.#checkUnused(request.principal, permit.resource)
      return this.records.delete(permit)
    })
  }

  async #change(
    request: RecordRequest,
    change: (
      stored: Secret,
    ) => Promise<{ readonly spec: SecretSpec; readonly warnings: readonly Warning[] }>,
  ): Promise<Written<Secret>> {
    return this.records.act(request, 'write', async (permit) => {
      const { spec, warnings } = await change(permit.resource)
      const secret = { ...permit.resource, spec }
      const resource = await this.records.replace(permit, secret, (_, space) =>
        this.#checkSpace(space),
      )
      return { resource, warnings }
    })
  }

  #checkSpace(space: Space): void {
    checkPersonalSpace(this.#options.secrets, 'secrets', space)
  }

  #checkQuota(held: number): void {
    const { maxPerPrincipal } = this.#options.secrets
    if (held >= maxPerPrincipal)
      throw new GatewayError('quota_exceeded', {
        detail:
          `You have ${held} secrets, and may have ${maxPerPrincipal} (secrets.maxPerPrincipal). ` +
          'Delete one that is no longer used.',
      })
  }

  /**
   * Refuses to delete a secret in use. Users that the caller may not see are counted, not named.
   * @throws GatewayError `secret_in_use`
   */
  async #checkUnused(principal: Principal, { name, owner }: Secret): Promise<void> {
    const users = await usersOf(this.#options.store, { source: 'store', name }, owner)
    if (users.length === 0) return
    const seen = users
      .filter((user) => mayRead(principal, user))
      .map((user) => `${user.kind} '${user.name}'`)
    const others = users.length - seen.length
    const all = [
      ...seen.slice(0, 20),
      ...(others === 0 ? [] : [`${others} that you may not see`]),
    ].join(', ')
    throw new GatewayError('secret_in_use', {
      detail:
        `These use the secret: ${all}. Change them first, ` +
        'or delete it with force=true: they then stop.',
    })
  }
}

/**
 * The stored form of a body. A mask keeps the stored value of its key.
 * @throws GatewayError `validation_failed`
 */
async function specOf(
  body: unknown,
  stored: Secret | undefined,
): Promise<{
  readonly name: string
  readonly spec: SecretSpec
  readonly warnings: readonly Warning[]
}> {
  const { value: input, warnings } = await validate(SecretInput, body, () =>
    mistakesOf(body, stored),
  )

  const given = input.values ?? { [onlyKey]: input.value ?? '' }
  const values = Object.entries(given).map(([key, value]): [string, SecretText] => {
    const before = valueOf(stored, key)
    return [key, value === maskedValue && before !== undefined ? before : { value }]
  })

  const spec = {
    description: input.description,
    requiredRoles: [...new Set(input.requiredRoles)],
    ...(input.ownerRoles.length === 0 ? {} : { ownerRoles: [...new Set(input.ownerRoles)] }),
    values: Object.fromEntries(values),
  }
  return { name: input.name, spec, warnings }
}

function valueOf(stored: Secret | undefined, key: string): SecretText | undefined {
  return stored !== undefined && Object.hasOwn(stored.spec.values, key)
    ? stored.spec.values[key]
    : undefined
}

function mistakesOf(body: unknown, stored: Secret | undefined): Mistake[] {
  const { value, values } = tableOf(body)
  const mistakes = stored === undefined ? [] : renames(stored.name, body)

  if (value !== undefined && values !== undefined)
    mistakes.push({
      pointer: '/value',
      code: 'ambiguous',
      detail: 'cannot stand beside values: remove one of them',
    })
  if (value === undefined && (values === undefined || Object.keys(tableOf(values)).length === 0))
    mistakes.push({
      pointer: '/value',
      code: 'invalid_type',
      detail: 'is required, unless values has at least one key',
    })

  for (const [key, text] of Object.entries({
    ...tableOf(values),
    ...(value === undefined ? {} : { [onlyKey]: value }),
  }))
    if (text === maskedValue && valueOf(stored, key) === undefined)
      mistakes.push({
        pointer: value === undefined ? `/values/${key}` : '/value',
        code: 'masked_value',
        detail: `'${maskedValue}' keeps a stored value, and this key has none: give the value`,
      })
  return mistakes
}
