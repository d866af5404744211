import { AdapterInput, AdapterPatch, maskedValue, type AdapterResource } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../core/errors.ts'
import { reservedFor } from '../core/naming.ts'
import { authorize, authorizeCreate, mayRead, type Permit } from '../core/permission.ts'
import { adminRole, hasRole, type Principal } from '../core/principal.ts'
import type { Adapter, AdapterSpec, EnvironmentValue, Resource } from '../core/resource.ts'
import { looksSecret } from '../core/secrets.ts'
import { mergePatch } from '../lib/merge-patch.ts'
import type { Store } from '../store/store.ts'
import { validate, type Warning } from './validation.ts'

export interface AdaptersOptions {
  readonly store: Store
  /** Tells the reconciler that a name has changed. */
  readonly nudge: (name: string) => void
  readonly maxReplicas: number
  /** Who may turn workload identity on, besides administrators. */
  readonly workloadIdentityRoles: readonly string[]
  readonly now: () => Date
  readonly newUid: () => string
}

/** A stored adapter and what its request said in vain. */
export interface Written {
  readonly adapter: Adapter
  readonly warnings: readonly Warning[]
}

export interface ListPage {
  readonly adapters: readonly Adapter[]
  /** Name after which the next page begins, if there is one. */
  readonly next?: string
}

/** Validate → authorize → store → nudge: the rules of the control plane for adapters, without HTTP. */
export class Adapters {
  readonly #options: AdaptersOptions

  constructor(options: AdaptersOptions) {
    this.#options = options
  }

  async create(principal: Principal, body: unknown): Promise<Written> {
    const { value, warnings } = validate(AdapterInput, body, this.#mistakes(body))
    const spec = this.#spec(value, undefined)
    this.#checkIdentity(principal, spec, undefined)
    return { adapter: await this.#insert(authorizeCreate(principal), value.name, spec), warnings }
  }

  async get(principal: Principal, name: string): Promise<Adapter> {
    return authorize(principal, 'read', await this.#stored(name)).resource
  }

  /** For callers that need a right beyond reading. */
  async permit(principal: Principal, action: 'read' | 'logs', name: string): Promise<Permit<'read' | 'logs', Adapter>> {
    return authorize(principal, action, await this.#stored(name))
  }

  async list(
    principal: Principal,
    query: {
      readonly limit?: number | undefined
      readonly after?: string | undefined
      readonly prefix?: string | undefined
      readonly text?: string | undefined
    },
  ): Promise<ListPage> {
    const text = query.text?.toLowerCase()
    const limit = query.limit ?? Number.POSITIVE_INFINITY
    const adapters: Adapter[] = []
    // Read in pieces: what the caller may not see must not make pages short, nor the whole store be read for one page.
    for (let after = query.after ?? ''; ;) {
      const batch = await this.#options.store.list({ kind: 'adapter', after, limit: batchSize })
      for (const adapter of batch) {
        if (!mayRead(principal, adapter) || !adapter.name.startsWith(query.prefix ?? '')) continue
        if (text !== undefined && !adapter.name.includes(text) && !adapter.spec.description.toLowerCase().includes(text)) continue
        const last = adapters.at(-1)
        if (adapters.length === limit && last !== undefined) return { adapters, next: last.name }
        adapters.push(adapter)
      }
      const last = batch.at(-1)
      if (batch.length < batchSize || last === undefined) return { adapters }
      after = last.name
    }
  }

  /** `ifMatch` is the version that the caller has read, if it says so. */
  async replace(principal: Principal, name: string, body: unknown, ifMatch: number | undefined): Promise<Written> {
    return this.#change(principal, name, ifMatch, (stored) => {
      const { value, warnings } = validate(AdapterInput, body, [
        ...this.#mistakes(body),
        ...renames(name, body),
        ...unknownMasks(body, stored),
      ])
      return { spec: this.#spec(value, stored), warnings }
    })
  }

  async patch(principal: Principal, name: string, patch: unknown, ifMatch: number | undefined): Promise<Written> {
    return this.#change(principal, name, ifMatch, (stored) => {
      const { warnings } = validate(AdapterPatch, patch, [...renames(name, patch), ...unknownMasks(patch, stored)])
      const merged = mergePatch(inputOf(stored), patch)
      const { value } = validate(AdapterInput, merged, this.#mistakes(merged))
      return { spec: this.#spec(value, stored), warnings }
    })
  }

  async delete(principal: Principal, name: string, ifMatch: number | undefined): Promise<void> {
    await this.#retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      await this.#remove(permit)
    })
  }

  async #change(
    principal: Principal,
    name: string,
    ifMatch: number | undefined,
    change: (stored: Adapter) => { spec: AdapterSpec; warnings: readonly Warning[] },
  ): Promise<Written> {
    return this.#retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      const { spec, warnings } = change(permit.resource)
      this.#checkIdentity(principal, spec, permit.resource)
      return { adapter: await this.#update(permit, spec), warnings }
    })
  }

  /** A caller that named no version wants its change on whatever is there; it need not know of the race it lost. */
  async #retrying<T>(ifMatch: number | undefined, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work()
      } catch (error) {
        const lost = error instanceof GatewayError && error.code === 'precondition_failed'
        if (!lost || ifMatch !== undefined) throw error
        if (attempt === 5) throw new GatewayError('conflict', { cause: error })
      }
    }
  }

  async #insert(permit: Permit<'create'>, name: string, spec: AdapterSpec): Promise<Adapter> {
    const at = this.#options.now().toISOString()
    const { id, issuer } = permit.principal
    const adapter: Adapter = {
      kind: 'adapter',
      name,
      uid: this.#options.newUid(),
      version: 1,
      generation: 1,
      owner: { id, issuer },
      createdAt: at,
      lastUpdatedAt: at,
      spec,
    }
    await this.#options.store.create(adapter)
    this.#options.nudge(name)
    return adapter
  }

  async #update({ resource: stored }: Permit<'write', Adapter>, spec: AdapterSpec): Promise<Adapter> {
    // Nothing to change: nothing is stored, and nothing restarts.
    if (JSON.stringify(sorted(spec)) === JSON.stringify(sorted(stored.spec))) return stored
    const adapter: Adapter = {
      ...stored,
      version: stored.version + 1,
      generation: runsAlike(spec, stored.spec) ? stored.generation : stored.generation + 1,
      lastUpdatedAt: this.#options.now().toISOString(),
      spec,
    }
    await this.#options.store.replace(adapter, stored.version)
    this.#options.nudge(adapter.name)
    return adapter
  }

  async #remove({ resource }: Permit<'write', Adapter>): Promise<void> {
    await this.#options.store.delete(resource.name, resource.uid, resource.version)
    this.#options.nudge(resource.name)
  }

  async #stored(name: string): Promise<Adapter> {
    const resource = await this.#options.store.get(name)
    if (resource === undefined || resource.kind !== 'adapter') throw new GatewayError('not_found')
    return resource
  }

  /** Turning workload identity on lends the caller the platform's rights, so it needs a role; keeping it as it is does not. */
  #checkIdentity(principal: Principal, spec: AdapterSpec, stored: Adapter | undefined): void {
    if (!spec.useWorkloadIdentity || stored?.spec.useWorkloadIdentity === true) return
    const roles = [adminRole, ...this.#options.workloadIdentityRoles]
    if (roles.some((role) => hasRole(principal, role))) return
    throw new GatewayError('forbidden', { detail: `useWorkloadIdentity needs one of these roles: ${roles.join(', ')}.` })
  }

  /** Rules that a schema can not say, or that depend on the configuration. */
  #mistakes(body: unknown): Mistake[] {
    const { name, replicaCount, environmentVariables } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
    const mistakes: Mistake[] = []
    const reserved = typeof name === 'string' ? reservedFor(name) : undefined
    if (reserved !== undefined)
      mistakes.push({ pointer: '/name', code: 'name_reserved', detail: `'${String(name)}' is reserved: it is ${reserved}` })
    if (typeof replicaCount === 'number' && replicaCount > this.#options.maxReplicas) {
      mistakes.push({
        pointer: '/replicaCount',
        code: 'too_big',
        detail: `must be at most ${this.#options.maxReplicas} (runtime.maxReplicas)`,
      })
    }
    for (const [key, value] of Object.entries(
      typeof environmentVariables === 'object' && environmentVariables !== null ? environmentVariables : {},
    )) {
      const text: unknown = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)['value'] : value
      if (typeof text === 'string' && text.includes('\u0000'))
        mistakes.push({ pointer: `/environmentVariables/${key}`, code: 'invalid_format', detail: 'must not hold the character NUL' })
    }
    return mistakes
  }

  #spec(input: AdapterInput, stored: Adapter | undefined): AdapterSpec {
    const { name: _name, environmentVariables, requiredRoles, ...rest } = input
    const environment = Object.entries(environmentVariables).map(([key, given]): [string, EnvironmentValue] => {
      const value = typeof given === 'string' ? given : given.value
      const marked = typeof given === 'string' ? undefined : given.secret
      const before = stored?.spec.environmentVariables[key]
      if (value === maskedValue && before !== undefined) return [key, { value: before.value, secret: marked ?? before.secret }]
      return [key, { value, secret: marked ?? (looksSecret(key, value) || (before?.secret === true && !looksSecret(key, before.value))) }]
    })
    return { ...rest, environmentVariables: Object.fromEntries(environment), requiredRoles: [...new Set(requiredRoles)] }
  }
}

const batchSize = 500

/** What may be shown of an adapter: secret values are masked. */
export function viewOf(adapter: Adapter, warnings: readonly Warning[] = []): AdapterResource {
  const { name, spec, owner, createdAt, lastUpdatedAt } = adapter
  return {
    id: name,
    name,
    imageName: spec.imageName,
    imageVersion: spec.imageVersion,
    environmentVariables: Object.fromEntries(
      Object.entries(spec.environmentVariables).map(([key, { value, secret }]) => [key, secret ? maskedValue : value]),
    ),
    replicaCount: spec.replicaCount,
    description: spec.description,
    useWorkloadIdentity: spec.useWorkloadIdentity,
    requiredRoles: [...spec.requiredRoles],
    createdBy: owner.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}

/** The adapter as a body that would make it again, for merge patches. Stored secrets stand as masks, and stay. */
function inputOf({ name, spec }: Adapter): Record<string, unknown> {
  return {
    name,
    ...spec,
    environmentVariables: Object.fromEntries(
      Object.entries(spec.environmentVariables).map(([key, { value, secret }]) => [key, { value: secret ? maskedValue : value, secret }]),
    ),
  }
}

function renames(name: string, body: unknown): Mistake[] {
  const given = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)['name'] : undefined
  return typeof given === 'string' && given !== name
    ? [{ pointer: '/name', code: 'name_mismatch', detail: 'must be the name in the address; a name can not be changed' }]
    : []
}

/** A mask says "keep what is stored"; where nothing is stored it is a mistake, not a value. */
function unknownMasks(body: unknown, stored: Adapter): Mistake[] {
  const given = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)['environmentVariables'] : undefined
  return Object.entries(typeof given === 'object' && given !== null ? given : {})
    .filter(
      ([key, value]) =>
        (value === maskedValue || (value as Record<string, unknown> | null)?.['value'] === maskedValue) &&
        stored.spec.environmentVariables[key] === undefined,
    )
    .map(([key]) => ({
      pointer: `/environmentVariables/${key}`,
      code: 'masked_value',
      detail: `'${maskedValue}' keeps a stored secret, and none is stored by this name`,
    }))
}

function checkVersion({ version }: Resource, ifMatch: number | undefined): void {
  if (ifMatch !== undefined && ifMatch !== version) throw new GatewayError('precondition_failed')
}

/** Whether a change concerns only what people and the gateway read, not what runs. */
function runsAlike(a: AdapterSpec, b: AdapterSpec): boolean {
  const running = ({ imageName, imageVersion, environmentVariables, replicaCount, useWorkloadIdentity }: AdapterSpec): string =>
    JSON.stringify([
      imageName,
      imageVersion,
      sorted(Object.fromEntries(Object.entries(environmentVariables).map(([key, { value }]) => [key, value]))),
      replicaCount,
      useWorkloadIdentity,
    ])
  return running(a) === running(b)
}

function sorted<T extends object>(table: T): unknown {
  return Object.entries(table)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]): [string, unknown] => [
      key,
      typeof value === 'object' && value !== null && !Array.isArray(value) ? sorted(value as object) : value,
    ])
}
