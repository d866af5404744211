import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Event } from 'kubernetes-types/core/v1.js'
import type { Condition, WorkloadStatus } from '../../core/workload.ts'
import { defined } from '../../lib/defined.ts'
import { judge } from '../conditions.ts'
import type { KubernetesApi } from './api/api.ts'
import { collection } from './api/kinds.ts'
import { annotation } from './labels.ts'
import type { Sight } from './sight.ts'

/** The status of a workload from its objects. Pure. */
export function statusOf(name: string, sight: Sight): WorkloadStatus {
  const { uid, desired, replicas, refused, statefulSet } = sight
  const { annotations = {} } = statefulSet?.metadata ?? {}
  const generation = Number(annotations[annotation.generation] ?? 0)

  return {
    name,
    uid,
    observedGeneration: generation,
    image: annotations[annotation.image] ?? '',
    desiredReplicas: desired,
    replicas,
    conditions: judge(defined({ desired, generation, replicas, refused })).map((judged) => ({
      ...judged,
      lastTransitionAt: since(judged.type, sight),
    })),
  }
}

/** Adds why pods are missing (a quota, a webhook that refuses). Only events tell this. */
export async function explained(
  sight: Sight,
  api: Pick<KubernetesApi, 'list'>,
  namespace: string,
): Promise<Sight> {
  const { statefulSet, replicas, pods } = sight
  if (pods.length >= replicas.length || statefulSet === undefined) return sight

  const why = await lastWarning(statefulSet, api, namespace).then(
    (last) => last && { reason: last.reason ?? 'Warning', output: last.message ?? '' },
    (error: Error) => ({
      reason: 'Unknown',
      message: 'The cluster does not say why.',
      internals: error.message,
    }),
  )
  if (why === undefined) return sight

  const podNames = new Set(pods.map(({ metadata }) => metadata?.name))
  return {
    ...sight,
    replicas: replicas.map((replica) =>
      podNames.has(replica.name) ? replica : { ...replica, ...why },
    ),
  }
}

async function lastWarning(
  { metadata }: StatefulSet,
  api: Pick<KubernetesApi, 'list'>,
  namespace: string,
): Promise<Pick<Event, 'reason' | 'message'> | undefined> {
  const { items } = await api.list<Event>(
    collection('Event', namespace),
    AbortSignal.timeout(5000),
    {
      query: { fieldSelector: `involvedObject.uid=${metadata?.uid},type=Warning` },
    },
  )
  return items.toSorted((a, b) => timeOf(a) - timeOf(b)).at(-1)
}

function timeOf({ lastTimestamp, eventTime, metadata }: Event): number {
  return Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '')
}

/** When a condition last changed, by the cluster's own times, so that all gateways agree. */
function since(type: Condition['type'], { statefulSet, pods }: Sight): string {
  const times = pods.flatMap(({ metadata, status }) => {
    if (type === 'Progressing') return [metadata?.creationTimestamp]
    if (type !== 'Ready') return []

    const conditions = status?.conditions ?? []
    return conditions
      .filter((condition) => condition.type === 'Ready')
      .map(({ lastTransitionTime }) => lastTransitionTime)
  })

  const newest = Math.max(
    ...[statefulSet?.metadata?.creationTimestamp, ...times].map(
      (time) => Date.parse(time ?? '') || 0,
    ),
  )
  return new Date(newest).toISOString()
}
