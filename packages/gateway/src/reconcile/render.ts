import type { Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'

/** What a runtime must make of a resource. Pure; secret values are plain from here on, so a workload is never logged. */
export function renderWorkload(resource: Resource): Workload {
  const { kind, name, uid, generation, spec } = resource
  return {
    kind,
    name,
    uid,
    generation,
    image: { name: spec.imageName, version: spec.imageVersion },
    environment: Object.fromEntries(Object.entries(spec.environmentVariables).map(([key, { value }]) => [key, value])),
    replicas: spec.replicaCount,
    useWorkloadIdentity: spec.useWorkloadIdentity,
  }
}
