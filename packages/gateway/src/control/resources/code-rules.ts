import { GatewayError } from '../../core/errors.ts'
import type { AccessRules } from '../../core/access.ts'
import type { Image } from '../../core/fields/image-pattern.ts'
import type { GivenVariables } from '../../core/fields/variables.ts'
import {
  authorizeCreate,
  checkDeploy,
  checkVariables,
  checkWorkloadIdentity,
  type Permit,
} from '../../core/permission.ts'
import { holdsOneOf, type Principal } from '../../core/principal.ts'
import type { AdapterSpec, Resource, WorkloadSpec } from '../../core/resource.ts'
import { referencesOf } from '../../core/secret.ts'
import { alike } from '../../lib/json/alike.ts'
import { boundToOwners, referenceMistakes, type SecretSources } from '../../secrets/sources.ts'
import type { Kind } from '../kinds/kind.ts'

export interface CodeRulesOptions {
  readonly access: AccessRules
  readonly secretSources: SecretSources
}

/** The rules for the code of workloads: who may choose which code, and what the code gets. */
export class CodeRules<R extends Resource> {
  readonly #kind: Pick<Kind<R>, 'kind' | 'code'>
  readonly #options: CodeRulesOptions

  constructor(kind: Pick<Kind<R>, 'kind' | 'code'>, options: CodeRulesOptions) {
    this.#kind = kind
    this.#options = options
  }

  /** Checks that the caller may create a workload of this form. */
  async authorizeCreate(
    principal: Principal,
    spec: R['spec'],
  ): Promise<Permit<'create', R['kind']>> {
    const permit = authorizeCreate(principal, this.#options.access, this.#kind.kind, imageOf(spec))
    this.#checkVariables(principal, spec)
    this.#checkTurnedOn(principal, undefined, spec)
    await this.#checkReferences(principal, spec)
    return permit
  }

  /**
   * Limits the right to write by the right to create. Unchanged parts need no check. New code with
   * the platform's identity needs the right to lend it again.
   */
  async checkChange(principal: Principal, before: R['spec'], after: R['spec']): Promise<void> {
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
    checkVariables(principal, access, {
      kind: this.#kind.kind,
      image: imageOf(spec),
      variables: givenOf(spec.environmentVariables),
    })
  }

  /**
   * Keeps the roles under which the code was chosen, so that narrower rules also apply to it later.
   * A caller who sends unchanged code and may choose all of it replaces these roles.
   */
  chosen(principal: Principal, before: R['spec'], after: R['spec'], sendsCode: boolean): R['spec'] {
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
    if (renews) return this.chosenBy(principal, after)
    return before.chosenWith === undefined ? after : { ...after, chosenWith: before.chosenWith }
  }

  /** Stores all roles of the caller, because a later rule may name any of them. */
  chosenBy(principal: Principal, spec: R['spec']): R['spec'] {
    return { ...spec, chosenWith: principal.roles }
  }

  /** Binds references to the secrets that exist now, for the pointers that `given` accepts. */
  bound(spec: R['spec'], given: (pointer: string) => boolean = () => true): Promise<R['spec']> {
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
}

/** True if anonymous callers may use the resource. */
function isOpen(spec: WorkloadSpec | undefined): boolean {
  return (spec as AdapterSpec | undefined)?.anonymous === true
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
