import { GatewayError } from './errors.ts'
import { imagePattern, type Image } from './fields/image-pattern.ts'
import { adminRole, everyone, hasRole, holdsOneOf, type Principal } from './principal.ts'
import type { ResourceKind } from './resource.ts'
import {
  variablePolicy,
  type CheckVariables,
  type Chooser,
  type VariableSettings,
} from './fields/variables.ts'

/** Kinds of things that callers create. */
export type Creatable = ResourceKind | 'secret' | 'api-key' | 'server'

/**
 * Access settings of the configuration (`access`). The defaults depend on how the gateway
 * identifies callers.
 */
export interface AccessSettings {
  readonly create: Readonly<
    Partial<Record<ResourceKind | 'secret' | 'apiKey' | 'server', readonly string[] | undefined>>
  >
  readonly images: VariableSettings['images']
  readonly workloadIdentityRoles?: readonly string[] | undefined
  readonly logs: 'read' | 'write'
  readonly quotas: Quotas & { readonly exemptRoles: readonly string[] }
}

/** Limits for each owner, and `totalBytes` for all owners together. */
export type Quotas = Holdings & SpaceLimits & { readonly servers: number }

/**
 * Numbers of things that an owner has or may have. `replicas` sums those of its adapters and tools.
 */
export interface Holdings {
  readonly adapters: number
  readonly tools: number
  readonly replicas: number
}

/** Limits on the size of stored records, in bytes. */
export interface SpaceLimits {
  /** Bytes of all records of one owner. */
  readonly bytes: number
  /** Bytes of all records of all owners. */
  readonly totalBytes: number
}

/**
 * Rights beyond reading and writing existing resources. `mcp.admin` has all of them; anonymous
 * callers have none.
 */
export interface AccessRules {
  /** Roles that allow a caller to create a kind at all. One of them is enough. */
  creators(kind: Creatable): readonly string[]
  /**
   * Roles that allow a caller to run an image, or to register an endpoint if there is no image. One
   * of them is enough.
   */
  deployRoles(kind: ResourceKind, image: Image | undefined): readonly string[]
  /** Decides which variables a caller may give to an image. */
  readonly checkVariables: CheckVariables
  /**
   * Why a rule of `images` forbids an image chosen with these roles. `create` limits creation only,
   * so it stops nothing that runs.
   */
  checkImage(chooser: Chooser, image: Image): string | undefined
  /**
   * Roles that allow a caller to turn `useWorkloadIdentity` on (one is enough). Undefined: nobody
   * may, including administrators.
   */
  readonly workloadIdentityRoles: readonly string[] | undefined
  /** The right that a caller needs to read a workload's output, which may hold secrets. */
  readonly logs: 'read' | 'write'
  /** True if adapters may admit anonymous callers. */
  readonly anonymous: boolean
  readonly quotas: Quotas
  /** Roles whose holders may exceed the quotas, for themselves and for others. */
  readonly quotaExemptRoles: readonly string[]
}

/**
 * Builds the access rules of a configuration. Running an image runs code, so creation needs
 * `mcp.engineer`. Development identity lets everyone create, as it serves one machine.
 */
export function accessRules(
  { create, images, workloadIdentityRoles, logs, quotas }: AccessSettings,
  {
    development,
    lendsIdentity = false,
    anonymous,
    imageVariables = {},
  }: {
    readonly development: boolean
    /** True if `useWorkloadIdentity` gives workloads an identity, as on a cluster. */
    readonly lendsIdentity?: boolean
    readonly anonymous: boolean
    readonly imageVariables?: VariableSettings['imageVariables']
  },
): AccessRules {
  const creators = development ? [everyone] : ['mcp.engineer']
  const creatorsOf = (kind: ResourceKind): readonly string[] => create[kind] ?? creators
  const patterns = images.map((rule) => ({ ...rule, fits: imagePattern(rule.pattern) }))
  const ruleOf = (image: Image) => patterns.find(({ fits }) => fits(image))
  const ofImages = images.flatMap(({ roles }) => roles)

  const creatorsOfAll: Readonly<Record<Creatable, readonly string[]>> = {
    adapter: distinct([...creatorsOf('adapter'), ...ofImages]),
    tool: distinct([...creatorsOf('tool'), ...ofImages]),
    // Only callers who run workloads need secrets.
    secret:
      create.secret ?? distinct([...creatorsOf('adapter'), ...creatorsOf('tool'), ...ofImages]),
    'api-key': create.apiKey ?? [everyone],
    server: create.server ?? [everyone],
  }

  return {
    creators: (kind) => creatorsOfAll[kind],
    deployRoles(kind, image) {
      return (image && ruleOf(image))?.roles ?? creatorsOf(kind)
    },
    checkVariables: variablePolicy({ images, imageVariables }, (chooser, kind) => {
      const needed = [creatorsOf(kind), ...images.map((rule) => rule.roles)]
      return images.length === 0 || needed.every((some) => holdsOneOf(somebody(chooser), some))
    }),
    checkImage(chooser, image) {
      const rule = ruleOf(image)
      if (rule === undefined || holdsOneOf(somebody(chooser), rule.roles)) return undefined

      const needed = [adminRole, ...rule.roles].join(', ')
      return (
        `The rule '${rule.pattern}' of access.images lets only these roles run the image ` +
        `'${image.name}:${image.version}': ${needed}. A caller who holds one of them, ` +
        'and may change this, can send the image again.'
      )
    },
    workloadIdentityRoles: workloadIdentityRoles ?? lenders({ development, lendsIdentity }),
    logs,
    anonymous,
    quotas,
    quotaExemptRoles: quotas.exemptRoles,
  }
}

/**
 * Development identity does not verify callers, so any caller could borrow the identity of a
 * cluster.
 */
function lenders(of: {
  development: boolean
  lendsIdentity: boolean
}): readonly string[] | undefined {
  if (!of.development) return []
  return of.lendsIdentity ? undefined : ['mcp.dev']
}

/**
 * A principal with the chooser's roles. Anonymous callers choose nothing, so this one is never
 * anonymous.
 */
function somebody({ roles }: Chooser): Principal {
  return { id: everyone, issuer: '', name: '', roles }
}

function distinct(roles: readonly string[]): readonly string[] {
  return [...new Set(roles)]
}

/**
 * Checks that an owner who has `held` may have `more`. Only the owner sees the present count in the
 * error.
 * @throws GatewayError `quota_exceeded`
 */
export function checkQuotas(
  { quotas }: AccessRules,
  held: Partial<Counts>,
  more: Partial<Counts>,
  toOwner: boolean,
): void {
  for (const [what, words] of Object.entries(counted) as [keyof Counts, string][]) {
    const wanted = more[what] ?? 0
    const has = held[what] ?? 0
    if (wanted === 0 || has + wanted <= quotas[what]) continue
    throw new GatewayError('quota_exceeded', {
      detail: toOwner
        ? `You have ${has} ${words} and ask for ${wanted} more, but may have ${quotas[what]} ` +
          `(access.quotas.${what}). Delete what is not needed.`
        : `Its owner may have ${quotas[what]} ${words} (access.quotas.${what}).`,
    })
  }
}

/** Numbers of things that the quotas count. */
type Counts = Omit<Quotas, keyof SpaceLimits>

const counted: Readonly<Record<keyof Counts, string>> = {
  adapters: 'adapters',
  tools: 'tools',
  replicas: 'replicas',
  servers: 'virtual servers',
}

/** True if a caller may exceed the quotas. */
export function isQuotaExempt({ quotaExemptRoles }: AccessRules, principal: Principal): boolean {
  return quotaExemptRoles.some((role) => hasRole(principal, role))
}

/**
 * Largest stored record, in bytes. Fields have limits of their own; this limit covers their JSON
 * with seals.
 */
const largestRecord = 4 * 1024 * 1024

/**
 * Checks that a record fits. A record that does not grow passes, even if a limit has been lowered
 * since. `settings` names the limits in errors.
 * @throws GatewayError `body_too_large`, `quota_exceeded`, `storage_full`
 */
export function checkSpace(
  limits: SpaceLimits,
  settings: { readonly bytes: string; readonly totalBytes: string },
  space: {
    readonly bytes: number
    readonly bytesBefore: number
    readonly ownerBytes: number
    readonly totalBytes: number
  },
  ofNewOwner = false,
): void {
  const { bytes, bytesBefore, ownerBytes, totalBytes } = space
  const grows = bytes > bytesBefore
  if (grows && bytes > largestRecord)
    throw new GatewayError('body_too_large', {
      detail: `The record takes ${bytes} bytes, and may take ${largestRecord}. Send less.`,
    })
  if ((grows || ofNewOwner) && ownerBytes + bytes > limits.bytes)
    throw new GatewayError('quota_exceeded', {
      detail:
        `The record takes ${bytes} bytes, so its owner would exceed ${limits.bytes} bytes ` +
        `(${settings.bytes}). Delete what is not needed.`,
    })

  if (grows && totalBytes + bytes > limits.totalBytes)
    throw new GatewayError('storage_full', {
      detail:
        `The records of all owners together have reached ${limits.totalBytes} bytes ` +
        `(${settings.totalBytes}). An operator can raise this limit.`,
    })
}

/** Limits, in bytes, on things of one kind that callers keep for themselves (secrets, API keys). */
export interface PersonalLimits {
  readonly maxBytesPerPrincipal: number
  readonly maxTotalBytes: number
}

/**
 * Runs `checkSpace` for a section of the configuration (`secrets`, `apiKeys`).
 * @throws GatewayError as `checkSpace`
 */
export function checkPersonalSpace(
  { maxBytesPerPrincipal, maxTotalBytes }: PersonalLimits,
  section: string,
  space: Parameters<typeof checkSpace>[2],
): void {
  const limits = { bytes: maxBytesPerPrincipal, totalBytes: maxTotalBytes }
  const settings = {
    bytes: `${section}.maxBytesPerPrincipal`,
    totalBytes: `${section}.maxTotalBytes`,
  }
  checkSpace(limits, settings, space)
}
