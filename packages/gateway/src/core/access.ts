import { GatewayError } from './errors.ts'
import { imagePattern, type Image } from './image-pattern.ts'
import { adminRole, everyone, holdsOneOf, type Principal } from './principal.ts'
import type { ResourceKind } from './resource.ts'
import {
  variablePolicy,
  type CheckVariables,
  type Chooser,
  type VariableSettings,
} from './variables.ts'

/** Kinds of things that callers make. */
export type Creatable = ResourceKind | 'secret' | 'api-key'

/** What the configuration says of access (`access`). What is not said depends on how callers are known. */
export interface AccessSettings {
  readonly create: Readonly<
    Partial<Record<ResourceKind | 'secret' | 'apiKey', readonly string[] | undefined>>
  >
  readonly images: VariableSettings['images']
  readonly workloadIdentityRoles?: readonly string[] | undefined
  readonly logs: 'read' | 'write'
  readonly quotas: Holdings & SpaceLimits & { readonly exemptRoles: readonly string[] }
}

/** How many things an owner has, or may have. `replicas` are those that its adapters and tools ask for together. */
export interface Holdings {
  readonly adapters: number
  readonly tools: number
  readonly replicas: number
}

/** How many bytes records may have as they are stored. */
export interface SpaceLimits {
  /** Those of one owner. */
  readonly bytes: number
  /** Those of all owners. */
  readonly totalBytes: number
}

/** Who may do what beyond reading and writing what is there. `mcp.admin` may do all of it; the anonymous caller nothing. */
export interface AccessRules {
  /** Roles of which one is needed to create anything of a kind at all. */
  creators(kind: Creatable): readonly string[]
  /** Roles of which one is needed to run an image, or to have an endpoint called when there is no image. */
  deployRoles(kind: ResourceKind, image: Image | undefined): readonly string[]
  /** Which variables a caller may give to an image. */
  readonly checkVariables: CheckVariables
  /**
   * Why a rule of `images` does not let an image run that somebody has chosen with these roles.
   * `create` is about creating alone, so it stops nothing that runs.
   */
  checkImage(chooser: Chooser, image: Image): string | undefined
  /**
   * Roles of which one is needed to turn `useWorkloadIdentity` on; undefined where nobody may,
   * administrators included.
   */
  readonly workloadIdentityRoles: readonly string[] | undefined
  /** The right that reading a workload's output needs. It may hold secrets. */
  readonly logs: 'read' | 'write'
  /** Whether adapters may be opened to callers whom nobody vouches for. */
  readonly anonymous: boolean
  /** How much each owner may have, and all together. */
  readonly quotas: Holdings & SpaceLimits
  /** Who may go beyond, for themselves and for others. */
  readonly quotaExemptRoles: readonly string[]
}

/**
 * The rules that a configuration means. With development identity, which lets callers be whoever they say on one machine, everyone may
 * create; otherwise who holds `mcp.engineer`, as running an image is running code.
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
    /** Whether `useWorkloadIdentity` gives a workload anything, as on a cluster. */
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
    // A secret is of use to those who run something.
    secret:
      create.secret ?? distinct([...creatorsOf('adapter'), ...creatorsOf('tool'), ...ofImages]),
    'api-key': create.apiKey ?? [everyone],
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
      return `The rule '${rule.pattern}' of access.images lets only these roles run the image '${image.name}:${image.version}': ${needed}. A caller who holds one of them, and may change this, can send the image again.`
    },
    workloadIdentityRoles: workloadIdentityRoles ?? lenders({ development, lendsIdentity }),
    logs,
    anonymous,
    quotas,
    quotaExemptRoles: quotas.exemptRoles,
  }
}

/** Development identity verifies nobody, so any caller would be given the identity of a cluster. */
function lenders(of: {
  development: boolean
  lendsIdentity: boolean
}): readonly string[] | undefined {
  if (!of.development) return []
  return of.lendsIdentity ? undefined : ['mcp.dev']
}

/** Whoever chose something was no anonymous caller. */
function somebody({ roles }: Chooser): Principal {
  return { id: everyone, issuer: '', name: '', roles }
}

function distinct(roles: readonly string[]): readonly string[] {
  return [...new Set(roles)]
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

/**
 * Bytes of one record. Its fields are bounded one by one; this is what JSON and seals make of them.
 */
const largestRecord = 4 * 1024 * 1024

/**
 * Checks that there is room for a record. A record that does not grow is let be, also where a
 * bound has become smaller. `settings` name the bounds in errors.
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
      detail: `It takes ${bytes} bytes to store, and may take ${largestRecord}.`,
    })
  if ((grows || ofNewOwner) && ownerBytes + bytes > limits.bytes)
    throw new GatewayError('quota_exceeded', {
      detail: `It takes ${bytes} bytes to store. With it, its owner would have more than ${limits.bytes} bytes (${settings.bytes}). Remove what is not needed.`,
    })
  if (grows && totalBytes + bytes > limits.totalBytes)
    throw new GatewayError('storage_full', {
      detail: `All owners together may have ${limits.totalBytes} bytes (${settings.totalBytes}), and that is used up. An operator can raise it.`,
    })
}

/** How many bytes the things of one kind may have that callers keep for themselves. */
export interface PersonalLimits {
  readonly maxBytesPerPrincipal: number
  readonly maxTotalBytes: number
}

/**
 * As `checkSpace`, for a section of the configuration (`secrets`, `apiKeys`).
 * @throws GatewayError
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
