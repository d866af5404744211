import type { ResourceStatus } from '@mcp-gateway/contract'
import type { Resource } from '../core/resource.ts'
import type { Condition, WorkloadStatus } from '../core/workload.ts'

/** The status of a resource from what is wanted, what the runtime sees, and why reconciling failed, if it did. */
export function statusOf(
  resource: Resource,
  found: WorkloadStatus | undefined,
  problem: string | undefined,
): ResourceStatus {
  const { spec, generation, restartedAt } = resource
  if (spec.endpoint !== undefined)
    return {
      readyReplicas: null,
      updatedReplicas: null,
      availableReplicas: null,
      image: '',
      replicaStatus: 'External',
      generation,
      observedGeneration: generation,
      conditions: [],
      replicas: [],
    }
  // What runs under the name may still be of an earlier incarnation.
  const seen = found?.uid === resource.uid ? found : undefined
  const replicas = seen?.replicas ?? []
  const ready = replicas.filter(({ phase }) => phase === 'ready')
  const updated = replicas.filter((replica) => replica.generation === generation)
  const current = seen?.observedGeneration === generation
  const conditions: Condition[] = [...(seen?.conditions ?? [])]
  if (problem !== undefined)
    conditions.push({
      type: 'Accepted',
      status: 'False',
      reason: 'ReconcileFailed',
      message: problem,
      lastTransitionAt: resource.lastUpdatedAt,
    })
  return {
    readyReplicas: ready.length,
    updatedReplicas: updated.length,
    availableReplicas: ready.length,
    image: `${spec.imageName}:${spec.imageVersion}`,
    replicaStatus: summary(
      spec.replicaCount,
      ready.length,
      updated.filter(({ phase }) => phase === 'ready').length,
      replicas.length,
      current,
    ),
    generation,
    ...(restartedAt === undefined ? {} : { restartedAt }),
    observedGeneration: seen?.observedGeneration ?? 0,
    conditions,
    replicas: replicas.map((replica) => ({
      name: replica.name,
      phase: replica.phase,
      restarts: replica.restarts,
      generation: replica.generation,
      ...(replica.startedAt === undefined
        ? {}
        : { startedAt: new Date(replica.startedAt).toISOString() }),
      ...(replica.reason === undefined ? {} : { reason: replica.reason }),
      ...(replica.message === undefined ? {} : { message: replica.message }),
      ...(replica.lastExit === undefined ? {} : { lastExit: replica.lastExit }),
    })),
  }
}

/** The original's word for it, extended: `Healthy` only when all replicas run the present generation. */
function summary(
  desired: number,
  ready: number,
  readyAndUpdated: number,
  existing: number,
  current: boolean,
): string {
  if (desired === 0) return existing === 0 ? 'Stopped' : 'Progressing: stopping'
  if (!current) return 'Progressing: not taken up yet'
  if (ready < desired) return `Degraded: ${ready}/${desired} ready`
  if (readyAndUpdated < desired || existing > desired)
    return `Progressing: ${readyAndUpdated}/${desired} updated`
  return 'Healthy'
}
