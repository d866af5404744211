import { partyOf } from '../core/principal.ts'
import { isTool, type AdapterSpec, type EnvironmentValue, type Resource } from '../core/resource.ts'
import type { AccessRules } from '../core/access.ts'
import { largestEnvironment, type Workload } from '../core/workload.ts'
import { defined } from '../lib/defined.ts'
import type { Found, SecretSources } from '../secrets/sources.ts'

const allowAll = { checkImage: () => undefined, checkVariables: () => undefined }

/**
 * Renders a resource; undefined if served elsewhere. Secrets are plain from here, so never log a
 * workload. A missing secret withholds it: it runs neither without nor with the old value.
 * @throws GatewayError for passing failures
 */
export async function renderWorkload(
  resource: Resource,
  sources: SecretSources,
  rules: Pick<AccessRules, 'checkImage' | 'checkVariables'> = allowAll,
): Promise<Workload | undefined> {
  if (!runsHere(resource)) return undefined
  const { kind, name, uid, generation, restartedAt, owner, spec } = resource
  const values: [string, string][] = []
  const image = { name: spec.imageName, version: spec.imageVersion }
  const chooser = { roles: spec.chosenWith ?? [] }

  // The rules may have become narrower since the resource was stored.
  const refusedImage = rules.checkImage(chooser, image)
  let withheld: Workload['withheld'] =
    refusedImage === undefined ? undefined : { reason: 'ImageNotAllowed', message: refusedImage }
  let size = 0

  for (const [variable, value] of Object.entries(spec.environmentVariables)) {
    const found = await valueOf(value, sources)
    if ('value' in found) {
      values.push([variable, found.value])
      size += Buffer.byteLength(variable) + Buffer.byteLength(found.value) + 1
    } else
      withheld ??= {
        reason: found.reason,
        message: `The variable ${variable} has no value. ${found.message}`,
      }
  }

  if (size > largestEnvironment) {
    const message =
      `With the secrets that it refers to, the environment has ${size} bytes; ` +
      `it may have ${largestEnvironment}.`
    withheld ??= { reason: 'EnvironmentTooLarge', message }
  }

  const refused = rules.checkVariables(
    chooser,
    kind,
    image,
    Object.fromEntries(values.map(([variable, value]) => [variable, { value }])),
  )
  if (refused !== undefined) withheld ??= { reason: 'VariableNotAllowed', message: refused.detail }

  return defined({
    kind,
    name,
    uid,
    generation,
    owner: partyOf(owner),
    image,
    environment:
      withheld === undefined ? { ...eraVariables(spec), ...Object.fromEntries(values) } : {},
    replicas: spec.replicaCount,
    useWorkloadIdentity: spec.useWorkloadIdentity,
    restartedAt,
    withheld,
    port: isTool(resource) ? resource.spec.toolDefinition.port : undefined,
  })
}

/** Tells whether a resource has a workload. A resource that is served elsewhere has none. */
export function runsHere(resource: Resource): boolean {
  return resource.spec.endpoint === undefined
}

async function valueOf(value: EnvironmentValue, sources: SecretSources): Promise<Found> {
  if ('secretRef' in value) return sources[value.secretRef.source].read(value.secretRef)
  if (value.sealed === undefined) return { value: value.value }
  const message =
    'What is stored cannot be decrypted: it was changed, or its key (secrets.keys) is gone. ' +
    'Give the value again.'
  return { reason: 'SecretUnreadable', message }
}

/**
 * A bridge itself translates between eras, so it needs these variables. Other programs ignore them.
 */
function eraVariables({ eras, legacyLeg }: Partial<AdapterSpec>): Record<string, string> {
  return defined({ MCP_ERAS: eras, MCP_LEGACY_LEG: legacyLeg })
}
