import { compileGlob } from '../lib/glob.ts'
import { GatewayError } from './errors.ts'
import { adminRole, hasRole, isAnonymous, type Principal } from './principal.ts'
import type { ResourceKind } from './resource.ts'

/** What the configuration says of access (`access`). What is not said depends on how callers are known. */
export interface AccessSettings {
  readonly create: Readonly<Partial<Record<ResourceKind, readonly string[] | undefined>>>
  readonly images: readonly { readonly pattern: string; readonly roles: readonly string[] }[]
  readonly workloadIdentityRoles?: readonly string[] | undefined
  readonly logs: 'read' | 'write'
  readonly quotas: Holdings & { readonly exemptRoles: readonly string[] }
}

/** How many things an owner has, or may have. `replicas` are those that its adapters and tools ask for together. */
export interface Holdings {
  readonly adapters: number
  readonly tools: number
  readonly replicas: number
}

/** Who may do what beyond reading and writing what is there. `mcp.admin` may do all of it; the anonymous caller nothing. */
export interface AccessRules {
  /** Roles of which one is needed to run an image, or to have an endpoint called when there is no image. */
  deployRoles(kind: ResourceKind, image: Image | undefined): readonly string[]
  /** Roles of which one is needed to turn `useWorkloadIdentity` on. */
  readonly workloadIdentityRoles: readonly string[]
  /** The right that reading a workload's output needs. It may hold secrets. */
  readonly logs: 'read' | 'write'
  /** Whether adapters may be opened to callers whom nobody vouches for. */
  readonly anonymous: boolean
  /** How many things each owner may have. */
  readonly quotas: Holdings
  /** Who may go beyond, for themselves and for others. */
  readonly quotaExemptRoles: readonly string[]
}

export interface Image {
  readonly name: string
  readonly version: string
}

/** In a list of roles: whoever is somebody. */
export const everyone = '*'

/**
 * The rules that a configuration means. With development identity, which lets callers be whoever they say on one machine, everyone may
 * create; otherwise who holds `mcp.engineer`, as running an image is running code.
 */
export function accessRules(
  { create, images, workloadIdentityRoles, logs, quotas }: AccessSettings,
  { development, anonymous }: { readonly development: boolean; readonly anonymous: boolean },
): AccessRules {
  const creators = development ? [everyone] : ['mcp.engineer']
  const patterns = images.map(({ pattern, roles }) => {
    const colon = pattern.lastIndexOf(':')
    return {
      name: compileGlob(pattern.slice(0, colon)),
      version: compileGlob(pattern.slice(colon + 1)),
      roles,
    }
  })
  return {
    deployRoles(kind, image) {
      const rule =
        image && patterns.find(({ name, version }) => name(image.name) && version(image.version))
      return rule?.roles ?? create[kind] ?? creators
    },
    workloadIdentityRoles: workloadIdentityRoles ?? (development ? ['mcp.dev'] : []),
    logs,
    anonymous,
    quotas,
    quotaExemptRoles: quotas.exemptRoles,
  }
}

/**
 * Checks that an owner who has `held` may have `more`. The error tells how much that is to the owner alone.
 * @throws GatewayError `quota_exceeded`
 */
export function checkQuotas(
  { quotas }: AccessRules,
  held: Holdings,
  more: Partial<Holdings>,
  toOwner: boolean,
): void {
  for (const what of ['adapters', 'tools', 'replicas'] as const) {
    const wanted = more[what] ?? 0
    if (wanted === 0 || held[what] + wanted <= quotas[what]) continue
    throw new GatewayError('quota_exceeded', {
      detail: toOwner
        ? `This asks for ${wanted} of ${what} beside the ${held[what]} that you have, and you may have ${quotas[what]} (access.quotas.${what}).`
        : `Its owner may have ${quotas[what]} ${what} (access.quotas.${what}).`,
    })
  }
}

/** Whether a principal is one of those whom roles name. */
export function isOneOf(principal: Principal, roles: readonly string[]): boolean {
  return (
    !isAnonymous(principal) && roles.some((role) => role === everyone || hasRole(principal, role))
  )
}

/** As `isOneOf`, for what administrators always may. */
export function holdsOneOf(principal: Principal, roles: readonly string[]): boolean {
  return isOneOf(principal, [adminRole, ...roles])
}
