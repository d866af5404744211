import { maskedValue, type AdapterInput } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../core/errors.ts'
import { reservedFor } from '../core/naming.ts'
import type { Credential, EnvironmentValue, Resource, WorkloadSpec } from '../core/resource.ts'
import { looksSecret } from '../core/secrets.ts'
import { tableOf } from './kind.ts'
import type { Warning } from './validation.ts'

/** Rules for the fields that adapters and tools share, which a schema can not say or which depend on the configuration. */
export function workloadMistakes(body: unknown, maxReplicas: number): Mistake[] {
  const { name, replicaCount, environmentVariables } = tableOf(body)
  const mistakes: Mistake[] = []
  const reserved = typeof name === 'string' ? reservedFor(name) : undefined
  if (reserved !== undefined)
    mistakes.push({ pointer: '/name', code: 'name_reserved', detail: `'${String(name)}' is reserved: it is ${reserved}` })
  if (typeof replicaCount === 'number' && replicaCount > maxReplicas)
    mistakes.push({ pointer: '/replicaCount', code: 'too_big', detail: `must be at most ${maxReplicas} (runtime.maxReplicas)` })
  for (const [key, value] of Object.entries(tableOf(environmentVariables))) {
    const text: unknown = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)['value'] : value
    if (typeof text === 'string' && text.includes('\u0000'))
      mistakes.push({ pointer: `/environmentVariables/${key}`, code: 'invalid_format', detail: 'must not hold the character NUL' })
  }
  return mistakes
}

/** The shared fields as they are stored. A mask keeps what is stored. */
export function workloadSpec(
  input: Omit<AdapterInput, 'name' | 'eras' | 'legacyLeg' | 'toolRules' | 'anonymous'>,
  stored: Resource | undefined,
): WorkloadSpec {
  const environment = Object.entries(input.environmentVariables).map(([key, given]): [string, EnvironmentValue] => {
    const value = typeof given === 'string' ? given : given.value
    const marked = typeof given === 'string' ? undefined : given.secret
    const before = stored?.spec.environmentVariables[key]
    if (value === maskedValue && before !== undefined) return [key, { value: before.value, secret: marked ?? before.secret }]
    return [key, { value, secret: marked ?? (looksSecret(key, value) || (before?.secret === true && !looksSecret(key, before.value))) }]
  })
  return {
    imageName: input.imageName,
    imageVersion: input.imageVersion,
    environmentVariables: Object.fromEntries(environment),
    replicaCount: input.replicaCount,
    description: input.description,
    useWorkloadIdentity: input.useWorkloadIdentity,
    requiredRoles: [...new Set(input.requiredRoles)],
    ...(input.ownerRoles.length === 0 ? {} : { ownerRoles: [...new Set(input.ownerRoles)] }),
    ...(input.callerIdentity === 'headers' ? {} : { callerIdentity: input.callerIdentity }),
    ...(input.credential === undefined ? {} : { credential: storedCredential(input.credential, stored?.spec.credential) }),
  }
}

/** @throws GatewayError `validation_failed` for a mask where nothing is stored */
function storedCredential(given: Credential, stored: Credential | undefined): Credential {
  if (given.value !== maskedValue) return { header: given.header, value: given.value }
  if (stored !== undefined) return { header: given.header, value: stored.value }
  throw maskedCredential('keeps a stored secret, and none is stored')
}

export function maskedCredential(why: string): GatewayError {
  return new GatewayError('validation_failed', {
    mistakes: [{ pointer: '/credential/value', code: 'masked_value', detail: `'${maskedValue}' ${why}` }],
  })
}

/** What an answer shows: the fields of every kind around its own. */
export function sharedView<Own extends object>(resource: Resource, own: Own, warnings: readonly Warning[]) {
  const { name, spec, owner, creator = owner, createdAt, lastUpdatedAt } = resource
  return {
    id: name,
    name,
    ...own,
    environmentVariables: Object.fromEntries(
      Object.entries(spec.environmentVariables).map(([key, { value, secret }]) => [key, secret ? maskedValue : value]),
    ),
    replicaCount: spec.replicaCount,
    description: spec.description,
    useWorkloadIdentity: spec.useWorkloadIdentity,
    requiredRoles: [...spec.requiredRoles],
    ownerRoles: [...(spec.ownerRoles ?? [])],
    owner: { id: owner.id, issuer: owner.issuer },
    ...(spec.callerIdentity === undefined ? {} : { callerIdentity: spec.callerIdentity }),
    ...maskedMember(spec),
    createdBy: creator.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}

/** What of a stored workload holds secrets, as a body says it, with masks for them. */
export function maskedInput(spec: WorkloadSpec): Record<string, unknown> {
  const environment = Object.entries(spec.environmentVariables).map(([key, { value, secret }]) => [
    key,
    { value: secret ? maskedValue : value, secret },
  ])
  return { environmentVariables: Object.fromEntries(environment), ...maskedMember(spec) }
}

function maskedMember({ credential }: WorkloadSpec): { readonly credential?: Credential } {
  return credential === undefined ? {} : { credential: { header: credential.header, value: maskedValue } }
}

/** What of the shared fields decides which code runs: of some images (`mcp-proxy`), the environment says. */
export function codeFields({ imageName, imageVersion, environmentVariables }: WorkloadSpec): readonly unknown[] {
  const environment = Object.fromEntries(Object.entries(environmentVariables).map(([key, { value }]) => [key, value]))
  return [imageName, imageVersion, environment]
}

/** What of the shared fields a workload is made of. */
export function runningFields(spec: WorkloadSpec): readonly unknown[] {
  return [...codeFields(spec), spec.replicaCount, spec.useWorkloadIdentity]
}
