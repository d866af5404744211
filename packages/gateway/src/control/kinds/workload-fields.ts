import { ArgumentError, splitArguments } from '@mcp-gateway/warden'
import { maskedValue, type AdapterInput } from '@mcp-gateway/contract'
import { GatewayError, type Mistake } from '../../core/errors.ts'
import { reservedFor } from '../../core/fields/naming.ts'
import {
  credentialsOf,
  type Credential,
  type EnvironmentText,
  type EnvironmentValue,
  type Resource,
  type SecretReference,
  type WorkloadSpec,
} from '../../core/resource.ts'
import { looksSecret } from '../../core/fields/looks-secret.ts'
import { largestEnvironment } from '../../core/workload.ts'
import { originMistakes, shownOrigin, storedOrigin, type EndpointRules } from './endpoint-fields.ts'
import { keptSecretMistakes } from './kept-secrets.ts'
import { canonicalName } from '../../lib/http/header-names.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import type { Warning } from '../validation.ts'

type GivenVariable = AdapterInput['environmentVariables'][string]
type GivenCredentials = NonNullable<AdapterInput['credential']>
type GivenCredential = Exclude<GivenCredentials, readonly unknown[]>
type ShownReference = Extract<GivenVariable, { secretRef: unknown }>['secretRef']

export interface WorkloadRules {
  readonly maxReplicas: number
  readonly endpoints: EndpointRules
}

/**
 * Checks shared fields of adapters and tools, for rules that a schema cannot express or that depend
 * on the configuration.
 */
export function workloadMistakes(
  body: unknown,
  { maxReplicas, endpoints }: WorkloadRules,
): Mistake[] {
  const { name, replicaCount, environmentVariables, imageName } = tableOf(body)
  const mistakes: Mistake[] = []

  const reserved = typeof name === 'string' ? reservedFor(name) : undefined
  if (reserved !== undefined)
    mistakes.push({
      pointer: '/name',
      code: 'name_reserved',
      detail: `'${String(name)}' is reserved: it is ${reserved}`,
    })

  if (typeof replicaCount === 'number' && replicaCount > maxReplicas)
    mistakes.push({
      pointer: '/replicaCount',
      code: 'too_big',
      detail: `must be at most ${maxReplicas} (runtime.maxReplicas)`,
    })

  return [
    ...mistakes,
    ...variableMistakes(imageName, tableOf(environmentVariables)),
    ...originMistakes(body, endpoints),
  ]
}

function variableMistakes(imageName: unknown, variables: Record<string, unknown>): Mistake[] {
  const mistakes: Mistake[] = []
  let size = 0

  for (const [key, given] of Object.entries(variables)) {
    const text = typeof given === 'object' && given !== null ? tableOf(given)['value'] : given
    if (typeof text !== 'string') continue

    const pointer = `/environmentVariables/${key}`
    if (text.includes('\u0000'))
      mistakes.push({ pointer, code: 'invalid_format', detail: 'must not hold the character NUL' })
    if (imageName === 'mcp-proxy' && key === 'MCP_ARGS') mistakes.push(...argumentMistakes(text))

    const length = Buffer.byteLength(key) + Buffer.byteLength(text) + 1
    size += length
    if (length > longestVariable)
      mistakes.push({
        pointer,
        code: 'environment_too_large',
        detail:
          `must be at most ${longestVariable} bytes with its name: ` +
          'no system starts a program with more',
      })
  }

  if (size > largestEnvironment)
    mistakes.push({
      pointer: '/environmentVariables',
      code: 'environment_too_large',
      detail: `must be at most ${largestEnvironment} bytes together`,
    })
  return mistakes
}

/** Checks arguments, because the bridge would never start with malformed ones. */
function argumentMistakes(text: string): Mistake[] {
  try {
    splitArguments(text)
    return []
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error
    const pointer = '/environmentVariables/MCP_ARGS'
    return [{ pointer, code: 'invalid_format', detail: error.message }]
  }
}

/** Linux's MAX_ARG_STRLEN without the terminator, in bytes. */
const longestVariable = 128 * 1024 - 1

/**
 * The stored form of the shared fields. A mask keeps the stored value.
 * @throws GatewayError `validation_failed` for a mask that may not
 */
export function workloadSpec(
  input: Omit<
    AdapterInput,
    'name' | 'eras' | 'legacyLeg' | 'toolRules' | 'anonymous' | 'aggregate'
  >,
  stored: Resource | undefined,
): WorkloadSpec {
  const mistakes = keptSecretMistakes(input, stored)
  if (mistakes.length > 0) throw new GatewayError('validation_failed', { mistakes })

  const environment = Object.entries(input.environmentVariables).map(
    ([key, given]): [string, EnvironmentValue] => [
      key,
      storedVariable(key, given, stored?.spec.environmentVariables[key]),
    ],
  )
  return {
    ...storedOrigin(input),
    environmentVariables: Object.fromEntries(environment),
    description: input.description,
    useWorkloadIdentity: input.useWorkloadIdentity,
    requiredRoles: [...new Set(input.requiredRoles)],
    ...(input.ownerRoles.length === 0 ? {} : { ownerRoles: [...new Set(input.ownerRoles)] }),
    ...(input.callerIdentity === 'headers' ? {} : { callerIdentity: input.callerIdentity }),
    ...(Object.keys(input.labels).length === 0 ? {} : { labels: input.labels }),
    ...storedCredentials(input.credential, stored === undefined ? [] : credentialsOf(stored.spec)),
  }
}

function storedVariable(
  name: string,
  given: GivenVariable,
  before: EnvironmentValue | undefined,
): EnvironmentValue {
  if (typeof given === 'object' && 'secretRef' in given)
    return { secretRef: storedReference(given.secretRef, before) }
  const { value, secret: marked } = typeof given === 'string' ? { value: given } : given
  const text = before === undefined || 'secretRef' in before ? undefined : before
  if (value === maskedValue && text !== undefined) return { ...text, secret: marked ?? text.secret }
  const wasMarked =
    text?.secret === true && text.sealed === undefined && !looksSecret(name, text.value)
  return { value, secret: marked ?? (looksSecret(name, value) || wasMarked) }
}

/** A reference that reads as before keeps the owner of the secret it refers to. */
function storedReference(
  { name, key, source }: ShownReference,
  before: object | undefined,
): SecretReference {
  const reference = {
    source: source ?? 'store',
    name,
    ...(key === undefined ? {} : { key }),
  } as const
  const stood =
    before !== undefined && 'secretRef' in before
      ? (before.secretRef as SecretReference)
      : undefined
  const same = stood?.source === reference.source && stood.name === name && stood.key === key
  return same && stood.owner !== undefined ? { ...reference, owner: stood.owner } : reference
}

function shownReference({ source, owner: _owner, ...reference }: SecretReference): ShownReference {
  return source === 'store' ? reference : { ...reference, source }
}

/** @throws GatewayError as `storedCredential` */
function storedCredentials(
  given: GivenCredentials | undefined,
  stored: readonly Credential[],
): Pick<WorkloadSpec, 'credential'> {
  if (given === undefined) return {}
  const [only, ...others] = Array.isArray(given) ? given : [given]
  if (only === undefined) return {}

  // A single header may change its name and keep its secret. Several headers are matched by name.
  if (others.length === 0 && stored.length === 1)
    return { credential: storedCredential(only, stored[0], '/credential') }
  const all = [only, ...others].map((each, index) => {
    const pointer = Array.isArray(given) ? `/credential/${index}` : '/credential'
    const name = canonicalName(each.header)
    return storedCredential(
      each,
      stored.find(({ header }) => canonicalName(header) === name),
      pointer,
    )
  })
  return { credential: all.length === 1 ? (all[0] as Credential) : all }
}

/** @throws GatewayError `validation_failed` for a mask where nothing is stored */
function storedCredential(
  { header, value = '', secretRef }: GivenCredential,
  stored: Credential | undefined,
  pointer: string,
): Credential {
  if (secretRef !== undefined) return { header, secretRef: storedReference(secretRef, stored) }
  if (value !== maskedValue) return { header, value }
  if (stored !== undefined && !('secretRef' in stored)) return { ...stored, header }
  throw maskedCredential('keeps a stored secret, and none is stored', `${pointer}/value`)
}

function maskedCredential(why: string, pointer: string): GatewayError {
  return new GatewayError('validation_failed', {
    mistakes: [{ pointer, code: 'masked_value', detail: `'${maskedValue}' ${why}` }],
  })
}

/** The fields of an answer: the shared fields, around the kind's own. */
export function sharedView<Own extends object>(
  resource: Resource,
  own: Own,
  warnings: readonly Warning[],
) {
  const { name, spec, owner, offeredTo, creator = owner, createdAt, lastUpdatedAt } = resource
  const { declared } = resource
  return {
    id: name,
    name,
    ...shownOrigin(spec),
    ...own,
    environmentVariables: mapVariables<string | { readonly secretRef: ShownReference }>(
      spec,
      ({ value, secret }) => (secret ? maskedValue : value),
      (secretRef) => ({ secretRef }),
    ),
    replicaCount: spec.replicaCount,
    description: spec.description,
    useWorkloadIdentity: spec.useWorkloadIdentity,
    requiredRoles: [...spec.requiredRoles],
    ownerRoles: [...(spec.ownerRoles ?? [])],
    owner: { id: owner.id, issuer: owner.issuer },
    ...(offeredTo === undefined
      ? {}
      : { offeredTo: { id: offeredTo.id, issuer: offeredTo.issuer } }),
    ...(spec.callerIdentity === undefined ? {} : { callerIdentity: spec.callerIdentity }),
    ...(spec.labels === undefined ? {} : { labels: { ...spec.labels } }),
    ...maskedMember(spec),
    ...(declared === undefined ? {} : { declared: { ...declared } }),
    createdBy: creator.id,
    createdAt,
    lastUpdatedAt,
    ...(warnings.length === 0 ? {} : { warnings: [...warnings] }),
  }
}

/** A stored workload as a body that would create it again, as base of a merge patch. */
export function workloadInput({ name, spec }: Resource, patch: unknown): Record<string, unknown> {
  const {
    imageName: _image,
    imageVersion: _version,
    chosenWith: _chosen,
    endpoint,
    replicaCount,
    ...rest
  } = spec
  // The 0 that stands beside an endpoint must not carry over to an image.
  return {
    name,
    ...rest,
    ...(endpoint === undefined ? { replicaCount } : {}),
    ...shownOrigin(spec),
    ...maskedInput(spec, patch),
  }
}

/** The parts of a stored workload that may hold secrets, as a body with masks. */
function maskedInput(spec: WorkloadSpec, patch: unknown): Record<string, unknown> {
  const patched = tableOf(tableOf(patch)['environmentVariables'])
  const environment = mapVariables<object>(
    spec,
    ({ value, secret }) => ({ value: secret ? maskedValue : value, secret }),
    (secretRef) => ({ secretRef }),
  )
  // A text and a reference cannot merge, so one replaces the other.
  const merging = Object.entries(environment).filter(
    ([name, given]) =>
      typeof patched[name] !== 'object' ||
      'secretRef' in given === 'secretRef' in tableOf(patched[name]),
  )
  const shown = maskedMember(spec)
  const given = tableOf(tableOf(patch)['credential'])
  const other = replacedBy(given)
  if (shown.credential === undefined || Array.isArray(shown.credential))
    return { environmentVariables: Object.fromEntries(merging), ...shown }
  const { [other as 'value']: _replaced, ...credential } = shown.credential
  return { environmentVariables: Object.fromEntries(merging), credential }
}

/** The member of a stored credential that a patch of it replaces. */
function replacedBy(given: object): 'value' | 'secretRef' | '' {
  if ('secretRef' in given) return 'value'
  return 'value' in given ? 'secretRef' : ''
}

function mapVariables<T>(
  { environmentVariables }: WorkloadSpec,
  ofText: (text: EnvironmentText) => T,
  ofReference: (reference: ShownReference) => T,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(environmentVariables).map(([name, value]) => {
      if (!('secretRef' in value)) return [name, ofText(value)]
      return [name, ofReference(shownReference(value.secretRef))]
    }),
  )
}

function maskedMember({ credential }: WorkloadSpec): { readonly credential?: GivenCredentials } {
  if (credential === undefined) return {}
  return {
    credential: Array.isArray(credential)
      ? credential.map((each: Credential) => maskedCredentialOf(each))
      : maskedCredentialOf(credential as Credential),
  }
}

function maskedCredentialOf(credential: Credential): GivenCredential {
  const { header } = credential
  return 'secretRef' in credential
    ? { header, secretRef: shownReference(credential.secretRef) }
    : { header, value: maskedValue }
}

/**
 * True if a patch gives the reference of a pointer (`referencesOf`), even one equal to the stored
 * reference.
 */
export function givesReference(patch: unknown, pointer: string): boolean {
  const { environmentVariables, credential } = tableOf(patch)
  if (pointer.startsWith('/credential/')) return credential !== undefined
  return Object.hasOwn(
    tableOf(environmentVariables),
    pointer.slice('/environmentVariables/'.length, -'/secretRef'.length),
  )
}

/** True if a body, valid or not, contains secret values of a workload. */
export function holdsSecrets(body: unknown): boolean {
  const { environmentVariables, credential } = tableOf(body)
  if ([credential].flat().some((each) => typeof tableOf(each)['value'] === 'string')) return true
  return Object.entries(tableOf(environmentVariables)).some(([name, given]) => {
    const { value, secret } =
      typeof given === 'string' ? { value: given, secret: undefined } : tableOf(given)
    return (
      typeof value === 'string' &&
      (secret === true || (secret === undefined && looksSecret(name, value)))
    )
  })
}

/**
 * The shared fields that decide which code runs or is called. In some images (`mcp-proxy`), the
 * environment decides.
 */
export function codeFields({
  imageName,
  imageVersion,
  endpoint,
  environmentVariables,
}: WorkloadSpec): readonly unknown[] {
  const content = Object.entries(environmentVariables).map(([key, given]) => [
    key,
    'secretRef' in given ? given : (given.sealed ?? given.value),
  ])
  return [imageName, imageVersion, endpoint, Object.fromEntries(content)]
}

/** The shared fields that make up a workload. */
export function runningFields(spec: WorkloadSpec): readonly unknown[] {
  return [...codeFields(spec), spec.replicaCount, spec.useWorkloadIdentity]
}
