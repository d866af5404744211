import { maskedValue, OwnerInput } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../core/errors.ts'
import { checkQuotas, checkSpace, type AccessRules, type Holdings } from '../core/access.ts'
import {
  authorize,
  authorizeCreate,
  authorizeLogs,
  authorizeTransfer,
  checkCreate,
  checkDeploy,
  checkVariables,
  checkWorkloadIdentity,
  mayRead,
  type Permit,
} from '../core/permission.ts'
import { checkWriter, type SourceWriter } from '../core/writer.ts'
import { holdsOneOf, hasRole, samePrincipal, type Principal } from '../core/principal.ts'
import type {
  DeclaredIn,
  AdapterSpec,
  Owner,
  Resource,
  ResourceKind,
  WorkloadSpec,
} from '../core/resource.ts'
import type { Image } from '../core/fields/image-pattern.ts'
import type { GivenVariables } from '../core/fields/variables.ts'
import { mergePatch } from '../lib/json/merge-patch.ts'
import { referencesOf } from '../core/secret.ts'
import { boundToOwners, referenceMistakes, type SecretSources } from '../secrets/sources.ts'
import type { PermittedStore } from '../store/permitted.ts'
import type { Admit, Store } from '../store/store.ts'
import { tableOf, type Kind } from './kind.ts'
import { pageOf, type Page } from './page.ts'
import { checkVersion, retrying } from './precondition.ts'
import { validate, type Warning } from './validation.ts'
import { givesReference } from './workload-fields.ts'

export interface RegistryOptions {
  readonly store: PermittedStore
  /** The store with sealed secrets. Lists show no secrets, and read far more than they show. */
  readonly sealedResources: Pick<Store, 'list'>
  /** Tells the reconciler that a name has changed. */
  readonly nudge: (name: string) => void
  readonly access: AccessRules
  readonly secretSources: SecretSources
  /** Names of the configured sources of files. */
  readonly sources: ReadonlySet<string>
  readonly now: () => Date
  readonly newUid: () => string
}

/** The stored resource, with warnings about the request. */
export interface Written<R> {
  readonly resource: R
  readonly warnings: readonly Warning[]
}

/**
 * Validate → authorize → store → nudge: the rules of the control plane for one kind of resources,
 * without HTTP. `by` names the source of files that writes; absent for callers.
 */
export class Registry<R extends Resource, Input extends { readonly name: string }> {
  readonly #kind: Kind<R, Input>
  readonly #options: RegistryOptions

  constructor(kind: Kind<R, Input>, options: RegistryOptions) {
    this.#kind = kind
    this.#options = options
  }

  /**
   * Checks before the body is read that a caller may create at all.
   * @throws GatewayError `forbidden`, `unauthenticated`
   */
  checkCreate(principal: Principal): void {
    checkCreate(principal, this.#options.access, this.#kind.kind)
  }

  /**
   * Checks before the body is read that a caller may act on a stored resource.
   * @throws GatewayError as `authorize`
   */
  async check(principal: Principal, action: 'read' | 'write', name: string): Promise<void> {
    authorize(principal, action, await this.#stored(name))
  }

  async create(principal: Principal, body: unknown, by?: SourceWriter): Promise<Written<R>> {
    this.checkCreate(principal)
    const { value, warnings } = await this.#validate(principal, body, maskMistakes(body, undefined))
    const spec = await this.#bound(this.#kind.spec(value, undefined))
    const permit = authorizeCreate(principal, this.#options.access, this.#kind.kind, imageOf(spec))
    this.#checkVariables(principal, spec)
    this.#checkTurnedOn(principal, undefined, spec)
    await this.#checkReferences(principal, spec)
    const chosen = this.#chosenBy(principal, spec)
    return { resource: await this.#insert(permit, value.name, chosen, by), warnings }
  }

  async get(principal: Principal, name: string): Promise<R> {
    return authorize(principal, 'read', await this.#stored(name)).resource
  }

  /** @throws GatewayError as `authorizeLogs`, or `runs_elsewhere` */
  async permitLogs(principal: Principal, name: string): Promise<Permit<'logs', R>> {
    const permit = authorizeLogs(principal, await this.#stored(name), this.#options.access)
    checkRunsHere(permit.resource, 'its logs are there')
    return permit
  }

  async list(
    principal: Principal,
    query: {
      readonly limit?: number | undefined
      readonly after?: string | undefined
      readonly prefix?: string | undefined
      readonly text?: string | undefined
    },
  ): Promise<Page> {
    const text = query.text?.toLowerCase()
    return pageOf(
      this.#options.sealedResources,
      { kind: this.#kind.kind, after: query.after, limit: query.limit },
      (resource) =>
        mayRead(principal, resource) &&
        resource.name.startsWith(query.prefix ?? '') &&
        (text === undefined || this.#kind.contains(resource as R, text)),
      (resource) => this.#kind.view(resource as R, []),
    )
  }

  /** `ifMatch` is the version that the caller has read, if given. */
  async replace(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
    by?: SourceWriter,
  ): Promise<Written<R>> {
    const change = async (stored: R) => {
      const { value, warnings } = await this.#validate(principal, body, [
        ...renames(name, body),
        ...maskMistakes(body, stored),
      ])
      return { spec: await this.#bound(this.#kind.spec(value, stored)), warnings }
    }
    return this.#change(principal, name, ifMatch, change, { by, sendsCode: true })
  }

  async patch(
    principal: Principal,
    name: string,
    patch: unknown,
    ifMatch: number | undefined,
  ): Promise<Written<R>> {
    const change = async (stored: R) => {
      const { warnings } = await validate(this.#kind.patch, patch, () => [
        ...renames(name, patch),
        ...maskMistakes(patch, stored),
      ])
      const merged = await this.#validate(
        principal,
        mergePatch(this.#kind.inputOf(stored, patch), patch),
        [],
      )
      // Bind only references that the patch gives. Others keep the secrets that they referred to.
      const spec = await this.#bound(this.#kind.spec(merged.value, stored), (pointer) =>
        givesReference(patch, pointer),
      )
      return { spec, warnings: distinct([...warnings, ...merged.warnings]) }
    }
    return this.#change(principal, name, ifMatch, change, { sendsCode: givesCode(patch) })
  }

  /**
   * Changes the owner: an administrator names the new owner, or the caller accepts an offer. The
   * former owner keeps the access that its roles give.
   */
  async transfer(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
  ): Promise<R> {
    return this.#give(principal, name, body, ifMatch, async (to, stored) => {
      if (samePrincipal(to, stored.owner) && samePrincipal(to, principal)) return stored
      const permit = authorizeTransfer(principal, stored, to)
      if (samePrincipal(to, stored.owner)) return stored
      const { offeredTo: _taken, ...resource } = stored
      return this.#own(permit, {
        ...resource,
        owner: to,
        creator: stored.creator ?? stored.owner,
      } as R)
    })
  }

  /** Offers the resource to somebody, who need not accept. A new offer replaces the one before. */
  async offer(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
  ): Promise<R> {
    return this.#give(principal, name, body, ifMatch, async (to, stored) => {
      const permit = authorize(principal, 'offer', stored)
      if (samePrincipal(to, stored.owner))
        throw new GatewayError('validation_failed', {
          mistakes: [{ pointer: '/id', code: 'already_owner', detail: 'is its owner' }],
        })
      const already = stored.offeredTo !== undefined && samePrincipal(to, stored.offeredTo)
      return already ? stored : this.#own(permit, { ...stored, offeredTo: to })
    })
  }

  /** Withdraws or refuses an offer. */
  async decline(principal: Principal, name: string, ifMatch: number | undefined): Promise<R> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'decline', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      const { offeredTo, ...resource } = permit.resource
      if (offeredTo === undefined)
        throw new GatewayError('not_found', {
          detail: `The ${this.#kind.kind} '${name}' is offered to nobody, so there is no offer to decline.`,
        })
      return this.#own(permit, resource as R)
    })
  }

  /** Runs a request that names another owner. */
  async #give(
    principal: Principal,
    name: string,
    body: unknown,
    ifMatch: number | undefined,
    give: (to: Owner, stored: R) => Promise<R>,
  ): Promise<R> {
    return retrying(ifMatch, async () => {
      const { resource: stored } = authorize(principal, 'read', await this.#stored(name))
      checkVersion(stored, ifMatch)
      this.#checkWriter(stored)
      const { id, issuer = principal.issuer } = (await validate(OwnerInput, body)).value
      return give({ id, issuer }, stored)
    })
  }

  /**
   * Requests a restart of all replicas, and changes nothing else.
   * @throws GatewayError `runs_elsewhere`
   */
  async restart(principal: Principal, name: string, ifMatch: number | undefined): Promise<R> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      return this.#restart(permit)
    })
  }

  /** Deletes the resource, and returns it. */
  async delete(
    principal: Principal,
    name: string,
    ifMatch: number | undefined,
    by?: SourceWriter,
  ): Promise<R> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      this.#checkWriter(permit.resource, by)
      await this.#remove(permit)
      return permit.resource
    })
  }

  async #change(
    principal: Principal,
    name: string,
    ifMatch: number | undefined,
    change: (stored: R) => Promise<{ spec: R['spec']; warnings: readonly Warning[] }>,
    { by, sendsCode }: { readonly by?: SourceWriter | undefined; readonly sendsCode: boolean },
  ): Promise<Written<R>> {
    return retrying(ifMatch, async () => {
      const permit = authorize(principal, 'write', await this.#stored(name))
      checkVersion(permit.resource, ifMatch)
      this.#checkWriter(permit.resource, by)
      const before = permit.resource.spec
      const { spec: wanted, warnings } = await change(permit.resource)
      await this.#checkChange(principal, before, wanted)
      // A source of files vouches for its declarations with its present roles.
      const spec =
        by === undefined
          ? this.#chosen(principal, before, wanted, sendsCode)
          : this.#chosenBy(principal, wanted)
      return { resource: await this.#update(permit, spec, by), warnings }
    })
  }

  async #insert(
    permit: Permit<'create', ResourceKind>,
    name: string,
    spec: R['spec'],
    by: SourceWriter | undefined,
  ): Promise<R> {
    const at = this.#options.now().toISOString()
    const { id, issuer } = permit.principal
    const resource = {
      kind: this.#kind.kind,
      name,
      uid: this.#options.newUid(),
      version: 1,
      generation: 1,
      owner: { id, issuer },
      createdAt: at,
      lastUpdatedAt: at,
      spec,
      ...markOf(by),
    } as R
    await this.#options.store.create(
      permit,
      resource,
      this.#admit(permit.principal, resource, whole(resource)),
    )
    this.#options.nudge(name)
    return resource
  }

  async #update(
    permit: Permit<'write', R>,
    spec: R['spec'],
    by: SourceWriter | undefined,
  ): Promise<R> {
    const { principal, resource: stored } = permit
    const { declared, ...unmarked } = stored
    const mark = markOf(by)
    // Without a change, nothing is stored and nothing restarts.
    if (alike(spec, stored.spec) && alike(declared, mark.declared)) return stored
    const resource = {
      ...unmarked,
      ...mark,
      version: stored.version + 1,
      // Fields that only people and the gateway read restart nothing.
      generation: alike(this.#kind.running(spec), this.#kind.running(stored.spec))
        ? stored.generation
        : stored.generation + 1,
      lastUpdatedAt: this.#options.now().toISOString(),
      spec,
    } as R
    // A resource that does not grow passes, even if a quota has been lowered since.
    const grows = spec.replicaCount > stored.spec.replicaCount
    const admit = this.#admit(principal, resource, grows ? { replicas: spec.replicaCount } : {})
    await this.#options.store.replace(permit, resource, admit)
    this.#options.nudge(resource.name)
    return resource
  }

  async #restart(permit: Permit<'write', R>): Promise<R> {
    const { resource: stored } = permit
    checkRunsHere(stored, 'there is nothing here to restart')
    const restartedAt = this.#options.now().toISOString()
    const { version, generation } = stored
    const resource: R = {
      ...stored,
      version: version + 1,
      generation: generation + 1,
      lastUpdatedAt: restartedAt,
      restartedAt,
    }
    await this.#options.store.replace(permit, resource)
    this.#options.nudge(resource.name)
    return resource
  }

  /** Stores an owner or an offer. A new owner's quota must have room for the resource. */
  async #own(permit: Permit<'offer' | 'decline' | 'transfer', R>, owned: R): Promise<R> {
    const { principal, resource: stored } = permit
    const resource: R = {
      ...owned,
      version: stored.version + 1,
      lastUpdatedAt: this.#options.now().toISOString(),
    }
    const admit = samePrincipal(owned.owner, stored.owner)
      ? undefined
      : this.#admit(principal, resource, whole(resource), true)
    await this.#options.store.replace(permit, resource, admit)
    return resource
  }

  /** Checks the quotas of the owner; undefined if the caller is exempt. */
  #admit(
    principal: Principal,
    { owner }: R,
    more: Partial<Holdings>,
    ofNewOwner = false,
  ): Admit | undefined {
    const { access } = this.#options
    if (access.quotaExemptRoles.some((role) => hasRole(principal, role))) return undefined
    return (held, space) => {
      checkQuotas(access, held, more, samePrincipal(principal, owner))
      checkSpace(access.quotas, spaceSettings, space, ofNewOwner)
    }
  }

  #checkWriter(resource: R, by?: SourceWriter): void {
    checkWriter(resource, by, this.#options.sources)
  }

  async #remove(permit: Permit<'write', R>): Promise<void> {
    await this.#options.store.delete(permit)
    this.#options.nudge(permit.resource.name)
  }

  /** Undefined also for a resource of another kind. */
  async #stored(name: string): Promise<R | undefined> {
    const resource = await this.#options.store.get(name)
    return resource?.kind === this.#kind.kind ? (resource as R) : undefined
  }

  /**
   * Limits the right to write by the right to create. Unchanged parts need no check. New code with
   * the platform's identity needs the right to lend it again.
   */
  async #checkChange(principal: Principal, before: R['spec'], after: R['spec']): Promise<void> {
    const { access } = this.#options
    this.#checkTurnedOn(principal, before, after)
    const sameCode = alike(this.#kind.code(before), this.#kind.code(after))
    if (!sameCode) {
      checkDeploy(principal, access, this.#kind.kind, imageOf(after))
      this.#checkVariables(principal, after)
      if (after.useWorkloadIdentity) checkWorkloadIdentity(principal, access)
    }
    if (!sameCode || !alike(referencesOf(before), referencesOf(after)))
      await this.#checkReferences(principal, after)
  }

  #checkVariables(principal: Principal, spec: R['spec']): void {
    const { access } = this.#options
    const { environmentVariables } = spec
    checkVariables(principal, access, this.#kind.kind, imageOf(spec), givenOf(environmentVariables))
  }

  /**
   * Keeps the roles under which the code was chosen, so that narrower rules also apply to it later.
   * A caller who sends unchanged code and may choose all of it replaces these roles.
   */
  #chosen(
    principal: Principal,
    before: R['spec'],
    after: R['spec'],
    sendsCode: boolean,
  ): R['spec'] {
    const { access } = this.#options
    const kind = this.#kind
    const image = imageOf(after)
    const variables = givenOf(after.environmentVariables)
    const refused = (roles: readonly string[]): boolean =>
      image !== undefined &&
      (access.checkImage({ roles }, image) ??
        access.checkVariables({ roles }, kind.kind, image, variables)) !== undefined
    const renews =
      !alike(kind.code(before), kind.code(after)) ||
      (sendsCode &&
        refused(before.chosenWith ?? []) &&
        !refused(principal.roles) &&
        holdsOneOf(principal, access.deployRoles(kind.kind, image)))
    if (renews) return this.#chosenBy(principal, after)
    return before.chosenWith === undefined ? after : { ...after, chosenWith: before.chosenWith }
  }

  /** Stores all roles of the caller, because a later rule may name any of them. */
  #chosenBy(principal: Principal, spec: R['spec']): R['spec'] {
    return { ...spec, chosenWith: principal.roles }
  }

  /** Binds references to the secrets that exist now, for the pointers that `given` accepts. */
  #bound(spec: R['spec'], given: (pointer: string) => boolean = () => true): Promise<R['spec']> {
    return boundToOwners(this.#options.secretSources, spec, given)
  }

  /** Checks that the caller who chooses the code may use each secret that the code gets. */
  async #checkReferences(principal: Principal, spec: R['spec']): Promise<void> {
    const mistakes = await referenceMistakes(this.#options.secretSources, principal, spec)
    if (mistakes.length > 0) throw new GatewayError('validation_failed', { mistakes })
  }

  /**
   * Checks flags that need a further right to be turned on. A flag that stays on or is turned off
   * needs no further right.
   */
  #checkTurnedOn(principal: Principal, before: R['spec'] | undefined, after: R['spec']): void {
    const { access } = this.#options
    if (after.useWorkloadIdentity && before?.useWorkloadIdentity !== true)
      checkWorkloadIdentity(principal, access)
    if (isOpen(after) && !isOpen(before) && !access.anonymous)
      throw new GatewayError('validation_failed', {
        mistakes: [
          {
            pointer: '/anonymous',
            code: 'anonymous_not_allowed',
            detail: 'is allowed only if identity.allowAnonymous is on',
          },
        ],
      })
  }

  async #validate(
    principal: Principal,
    body: unknown,
    more: readonly Mistake[],
  ): Promise<{ readonly value: Input; readonly warnings: readonly Warning[] }> {
    const { value, warnings } = await validate(this.#kind.input, body, async () => [
      ...(await this.#kind.mistakes(body, principal)),
      ...more,
    ])
    const input = value as unknown as Input
    return { value: input, warnings: [...warnings, ...this.#kind.warnings(input)] }
  }
}

function markOf(by: SourceWriter | undefined): { readonly declared?: DeclaredIn } {
  return by === undefined ? {} : { declared: { source: by.source, file: by.file } }
}

const spaceSettings = { bytes: 'access.quotas.bytes', totalBytes: 'access.quotas.totalBytes' }

function distinct(warnings: readonly Warning[]): Warning[] {
  return [
    ...new Map(warnings.map((warning) => [`${warning.pointer} ${warning.code}`, warning])).values(),
  ]
}

function renames(name: string, body: unknown): Mistake[] {
  const given = tableOf(body)['name']
  return typeof given === 'string' && given !== name
    ? [
        {
          pointer: '/name',
          code: 'name_mismatch',
          detail: 'must be the name in the address; a name never changes',
        },
      ]
    : []
}

/**
 * Refuses a mask that has no stored value to keep, and a mask that would make a secret value
 * public.
 */
function maskMistakes(body: unknown, before: Resource | undefined): Mistake[] {
  const stored = new Map(Object.entries(before?.spec.environmentVariables ?? {}))
  return Object.entries(tableOf(tableOf(body)['environmentVariables'])).flatMap(([key, given]) => {
    const { value = given, secret } = tableOf(given)
    if (value !== maskedValue) return []
    const kept = stored.get(key)
    const mistake = (detail: string): Mistake[] => [
      { pointer: `/environmentVariables/${key}`, code: 'masked_value', detail },
    ]
    if (kept === undefined || 'secretRef' in kept)
      return mistake(`'${maskedValue}' keeps a stored secret, and none is stored by this name`)
    return kept.secret && secret === false
      ? mistake('a stored secret cannot be shown: give the value again')
      : []
  })
}

/** The amounts that a resource adds to its owner's holdings. */
function whole({ kind, spec }: Resource): Partial<Holdings> {
  return { [kind === 'tool' ? 'tools' : 'adapters']: 1, replicas: spec.replicaCount }
}

/** True if a patch sends a field that decides which code runs. */
function givesCode(patch: unknown): boolean {
  const members = ['imageName', 'imageVersion', 'environmentVariables', 'endpoint']
  return members.some((member) => Object.hasOwn(tableOf(patch), member))
}

/** True if anonymous callers may use the resource. */
function isOpen(spec: WorkloadSpec | undefined): boolean {
  return (spec as AdapterSpec | undefined)?.anonymous === true
}

function checkRunsHere({ name, spec }: Resource, so: string): void {
  if (spec.endpoint !== undefined)
    throw new GatewayError('runs_elsewhere', {
      detail: `The endpoint of '${name}' serves it elsewhere: ${so}.`,
    })
}

/** Omits values that come from secrets or cannot be decrypted, because they are unknown here. */
function givenOf(variables: WorkloadSpec['environmentVariables']): GivenVariables {
  return Object.fromEntries(
    Object.entries(variables).map(([name, given]) => [
      name,
      'secretRef' in given || given.sealed !== undefined ? {} : { value: given.value },
    ]),
  )
}

/** Undefined for a resource with an endpoint. */
function imageOf({ imageName, imageVersion }: WorkloadSpec): Image | undefined {
  return imageName === '' ? undefined : { name: imageName, version: imageVersion }
}

function alike(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
}

/** Sorts members, so that equal data gives equal text. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, each]): [string, unknown] => [key, sorted(each)])
}
