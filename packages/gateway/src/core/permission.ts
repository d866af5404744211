import type { AccessRules, Creatable } from './access.ts'
import { GatewayError } from './errors.ts'
import {
  holdsOneOf,
  adminRole,
  gatewayItself,
  hasOneRoleOf,
  hasRole,
  isAnonymous,
  samePrincipal,
  type Principal,
} from './principal.ts'
import type { AdapterSpec, Owned, Owner, ResourceKind } from './resource.ts'
import type { Image } from './fields/image-pattern.ts'
import type { GivenVariables } from './fields/variables.ts'

/**
 * `use` = send MCP traffic; `logs` = read output, which may hold secrets; `offer` = propose an
 * owner; `decline` = withdraw or refuse an offer; `transfer` = change the owner.
 */
export type Action = 'read' | 'use' | 'logs' | 'write' | 'offer' | 'decline' | 'transfer'

/**
 * The fields that authorization reads. Without roles, only the owner and administrators have
 * access.
 */
export type Guarded = Pick<
  Owned<Partial<Pick<AdapterSpec, 'requiredRoles' | 'ownerRoles' | 'anonymous'>>>,
  'name' | 'kind' | 'uid' | 'owner' | 'offeredTo' | 'spec'
>

/**
 * Proof that a principal may do an action on a resource, or create a record of the kind that
 * `resource` names. Functions that act take a permit, so code without authorization does not
 * compile. Only `authorize…` functions make permits.
 */
class PermitToken<A extends Action | 'create', R> {
  /** Makes the type nominal, so that a look-alike object is not a permit. */
  readonly #made = true
  readonly principal: Principal
  readonly action: A
  readonly resource: R

  constructor(principal: Principal, action: A, resource: R) {
    this.principal = principal
    this.action = action
    this.resource = resource
    void this.#made
  }
}

export type Permit<A extends Action | 'create' = Action, R = unknown> = PermitToken<A, R>

/**
 * Checks that `principal` may do `action`. An undefined resource gets the same refusal as an
 * invisible one, so names do not leak.
 * @throws GatewayError `not_found` if invisible, `unauthenticated` if anonymous, else `forbidden`
 */
export function authorize<A extends PlainAction, R extends Guarded>(
  principal: Principal,
  action: A,
  resource: R | undefined,
): Permit<A, R> {
  if (resource !== undefined && action === 'use' && isOpenTo(principal, resource))
    return new PermitToken(principal, action, resource)
  checkKnown(principal)
  if (resource === undefined) throw new GatewayError('not_found')
  const { kind, name, uid } = resource
  if (!mayRead(principal, resource))
    throw new GatewayError('not_found', { denied: { kind, name, uid } })
  const detail = refusalOf(principal, action, resource)
  if (detail !== undefined)
    throw new GatewayError('forbidden', { denied: { kind, name, uid }, detail })
  return new PermitToken(principal, action, resource)
}

/** Lets the gateway itself use a server, where no caller asks. */
export function permitGateway<R extends Guarded>(resource: R): Permit<'use', R> {
  return new PermitToken(gatewayItself, 'use', resource)
}

/** The actions that only the resource decides. */
type PlainAction = Exclude<Action, 'transfer' | 'logs'>

/** Why a caller who sees a resource may not do the action; undefined if the caller may. */
function refusalOf(
  principal: Principal,
  action: PlainAction,
  resource: Guarded,
): string | undefined {
  const { kind, name } = resource
  switch (action) {
    case 'use':
      return mayUse(principal, resource)
        ? undefined
        : `The ${kind} '${name}' is offered to you: become its owner before you use it.`
    case 'write':
      return mayWrite(principal, resource) ? undefined : ownersOnly(resource)
    case 'offer':
      return mayOffer(principal, resource)
        ? undefined
        : `Only the owner of ${kind} '${name}' and the role ${adminRole} may give it away.`
    case 'decline':
      return mayOffer(principal, resource) || isOfferedTo(principal, resource)
        ? undefined
        : `Only the owner of ${kind} '${name}', whom it is offered to, and the role ` +
            `${adminRole} may do this.`
    case 'read':
      return undefined
  }
}

function ownersOnly({ kind, name }: Guarded): string {
  return `Only owners of ${kind} '${name}' and the role ${adminRole} may do this.`
}

/**
 * Checks that `principal` may read the output of a workload.
 * @throws GatewayError as `authorize`
 */
export function authorizeLogs<R extends Guarded>(
  principal: Principal,
  resource: R | undefined,
  rules: Pick<AccessRules, 'logs'>,
): Permit<'logs', R> {
  const { resource: seen } = authorize(principal, 'read', resource)
  if (mayReadLogs(principal, seen, rules)) return new PermitToken(principal, 'logs', seen)

  const { kind, name, uid } = seen
  const offered = isOfferedTo(principal, seen) && rules.logs === 'read'
  throw new GatewayError('forbidden', {
    denied: { kind, name, uid },
    detail: offered
      ? `The ${kind} '${name}' is offered to you: become its owner before you read its logs.`
      : ownersOnly(seen),
  })
}

/**
 * Checks that `principal` may make `to` the owner. Only administrators may do so without the new
 * owner's consent, because the resource counts against that owner's quota.
 * @throws GatewayError as `authorize`
 */
export function authorizeTransfer<R extends Guarded>(
  principal: Principal,
  resource: R | undefined,
  to: Owner,
): Permit<'transfer', R> {
  const permit = authorize(principal, 'read', resource)
  const { kind, name, uid } = permit.resource
  const takes = isOfferedTo(principal, permit.resource) && samePrincipal(principal, to)
  if (takes || hasRole(principal, adminRole))
    return new PermitToken(principal, 'transfer', permit.resource)
  throw new GatewayError('forbidden', {
    denied: { kind, name, uid },
    detail:
      `Only the role ${adminRole} may give the ${kind} '${name}' to others at once. ` +
      'Its owner may offer it (PUT …/offer), and the other side may accept (PUT …/owner).',
  })
}

/**
 * Checks that a caller is not anonymous, where no resource decides.
 * @throws GatewayError `unauthenticated`
 */
export function checkKnown(principal: Principal): void {
  if (isAnonymous(principal)) throw new GatewayError('unauthenticated')
}

/**
 * Checks that `principal` may create a kind at all. The gateway can check this before it reads the
 * body.
 * @throws GatewayError `forbidden`, `unauthenticated`
 */
export function checkCreate(
  principal: Principal,
  rules: Pick<AccessRules, 'creators'>,
  kind: Creatable,
): void {
  checkKnown(principal)
  const roles = rules.creators(kind)
  if (!holdsOneOf(principal, roles)) throw needsRole(`Creating ${aOrAn(kind)}`, roles)
}

/**
 * Checks that `principal` may create a resource with this image, or without one.
 * @throws GatewayError `forbidden`, `unauthenticated`
 */
export function authorizeCreate<K extends ResourceKind>(
  principal: Principal,
  rules: AccessRules,
  kind: K,
  image: Image | undefined,
): Permit<'create', K> {
  checkDeploy(principal, rules, kind, image)
  return new PermitToken(principal, 'create', kind)
}

/**
 * Checks that `principal` may create an API key or a secret.
 * @throws GatewayError as `checkCreate`
 */
export function authorizePersonal<K extends Exclude<Creatable, ResourceKind>>(
  principal: Principal,
  rules: Pick<AccessRules, 'creators'>,
  kind: K,
): Permit<'create', K> {
  checkCreate(principal, rules, kind)
  return new PermitToken(principal, 'create', kind)
}

/**
 * Checks that `principal` may run an image with an environment of its choice, also as an update:
 * the right to write to an adapter must not allow an image that the caller could not create.
 * @throws GatewayError `forbidden`, `unauthenticated`
 */
export function checkDeploy(
  principal: Principal,
  rules: AccessRules,
  kind: ResourceKind,
  image: Image | undefined,
): void {
  checkKnown(principal)
  const roles = rules.deployRoles(kind, image)
  if (holdsOneOf(principal, roles)) return
  const what =
    image === undefined ? aOrAn(kind) : `${aOrAn(kind)} of image '${image.name}:${image.version}'`
  throw needsRole(`Creating ${what}, or changing what it runs,`, roles)
}

/** The variables that an image gets. */
interface GivenTo {
  readonly kind: ResourceKind
  readonly image: Image | undefined
  readonly variables: GivenVariables
}

/**
 * Checks that `principal` may give an image these variables. Many variables make a program run
 * other code, so the right to one image would become the right to any code.
 * @throws GatewayError `variable_not_allowed`
 */
export function checkVariables(
  { roles }: Principal,
  rules: AccessRules,
  { kind, image, variables }: GivenTo,
): void {
  const refusal = image && rules.checkVariables({ roles }, kind, image, variables)
  if (refusal !== undefined)
    throw new GatewayError('variable_not_allowed', {
      detail: refusal.detail,
      mistakes: [
        {
          pointer: `/environmentVariables/${refusal.variable}`,
          code: 'variable_not_allowed',
          detail: refusal.detail,
        },
      ],
    })
}

/**
 * Checks that `principal` may lend the platform's identity to a workload.
 * @throws GatewayError `forbidden`
 */
export function checkWorkloadIdentity(
  principal: Principal,
  { workloadIdentityRoles }: AccessRules,
): void {
  if (workloadIdentityRoles === undefined)
    throw new GatewayError('forbidden', {
      detail:
        'useWorkloadIdentity lends the identity of the cluster, and development identity lets ' +
        'every caller claim every role. Set identity.mode to oidc, or set ' +
        'access.workloadIdentityRoles to lend it nevertheless.',
    })
  if (!holdsOneOf(principal, workloadIdentityRoles))
    throw needsRole(
      'Turning useWorkloadIdentity on, or changing what runs with it,',
      workloadIdentityRoles,
    )
}

function needsRole(what: string, roles: readonly string[]): GatewayError {
  return new GatewayError('forbidden', {
    detail:
      `${what} needs one of these roles: ${[adminRole, ...roles].join(', ')}. You have ` +
      'none of them.',
  })
}

/** Filters lists by the same rule as `authorize(…, 'read', …)`. */
export function mayRead(principal: Principal, resource: Guarded): boolean {
  return mayUse(principal, resource) || isOfferedTo(principal, resource)
}

/**
 * True if a known caller may use the resource, and so sees it in lists of usable things. Anyone
 * could be offered anything, so an offer is not enough.
 */
export function mayUse(principal: Principal, resource: Guarded): boolean {
  if (isAnonymous(principal)) return false
  return mayWrite(principal, resource) || hasOneRoleOf(principal, resource.spec.requiredRoles ?? [])
}

/** True if `authorize` lets a caller use the resource. Anonymous callers may, if it says so. */
export function isOpenTo(principal: Principal, resource: Guarded): boolean {
  return resource.spec.anonymous === true || mayUse(principal, resource)
}

/**
 * True if a caller may send MCP traffic, by the rule of `authorize(…, 'use', …)`. So registries show
 * the server.
 */
export function mayConnect(principal: Principal, resource: Guarded): boolean {
  return resource.spec.anonymous === true || mayUse(principal, resource)
}

/**
 * True if a caller may read a workload's output. An offer shows the resource, but not its output.
 */
export function mayReadLogs(
  principal: Principal,
  resource: Guarded,
  { logs }: Pick<AccessRules, 'logs'>,
): boolean {
  return logs === 'read'
    ? mayUse(principal, resource)
    : !isAnonymous(principal) && mayWrite(principal, resource)
}

/** True if a caller may change the resource, and so may learn where its server redirects to. */
export function mayWrite(principal: Principal, resource: Guarded): boolean {
  return mayOffer(principal, resource) || hasOneRoleOf(principal, resource.spec.ownerRoles ?? [])
}

function mayOffer(principal: Principal, resource: Guarded): boolean {
  return samePrincipal(principal, resource.owner) || hasRole(principal, adminRole)
}

function isOfferedTo(principal: Principal, { offeredTo }: Guarded): boolean {
  return offeredTo !== undefined && samePrincipal(principal, offeredTo)
}

function aOrAn(kind: Creatable): string {
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`
}
