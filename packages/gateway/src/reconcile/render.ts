import { isTool, type AdapterSpec, type Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'

/**
 * What a runtime must make of a resource; undefined for one that is served elsewhere. Pure; secret values are plain from here on, so a
 * workload is never logged.
 */
export function renderWorkload(resource: Resource): Workload | undefined {
  if (isTool(resource) && resource.spec.endpoint !== undefined) return undefined
  const { kind, name, uid, generation, spec } = resource
  return {
    kind,
    name,
    uid,
    generation,
    image: { name: spec.imageName, version: spec.imageVersion },
    environment: {
      ...eraVariables(spec),
      ...Object.fromEntries(Object.entries(spec.environmentVariables).map(([key, { value }]) => [key, value])),
    },
    replicas: spec.replicaCount,
    useWorkloadIdentity: spec.useWorkloadIdentity,
  }
}

/** A bridge translates by itself, so it is told; other programs have no use for it. */
function eraVariables({ eras, legacyLeg }: Partial<AdapterSpec>): Record<string, string> {
  return {
    ...(eras === undefined ? {} : { MCP_ERAS: eras }),
    ...(legacyLeg === undefined ? {} : { MCP_LEGACY_LEG: legacyLeg }),
  }
}
