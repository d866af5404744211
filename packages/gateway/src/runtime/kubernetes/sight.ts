import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Pod } from 'kubernetes-types/core/v1.js'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import type { Replica } from '../../core/workload.ts'
import { annotation } from './labels.ts'
import { historyOf, withheldOf } from './render.ts'
import { missingReplica, replicaOf } from './replica.ts'

/** The objects and replicas of a workload that exist. */
export interface Sight {
  readonly uid: string
  readonly statefulSet: StatefulSet | undefined
  readonly pods: readonly Pod[]
  readonly replicas: readonly Replica[]
  readonly desired: number
  /** Why the workload does not run although it is wanted. */
  readonly refused?: { readonly reason: string; readonly message: string }
}

/** The objects of one workload. */
export interface WorkloadObjects extends Pick<Sight, 'uid' | 'statefulSet' | 'pods'> {
  readonly name: string
  /** The StatefulSet, or its last state if somebody has deleted it while its pods go on. */
  readonly known: StatefulSet | undefined
}

/** Works out the replicas of a workload from its objects. Pure. */
export function sightOf(
  { name, uid, statefulSet, known, pods }: WorkloadObjects,
  settings: KubernetesConfig,
): Sight {
  const path = known?.metadata?.annotations?.[annotation.path] ?? settings.pod.path
  const context = { ...settings, name, path, history: historyOf(known) }
  const found = pods.map((pod) => replicaOf(pod, context))

  // If somebody has deleted the StatefulSet, its pods go, so do not wait for more of them.
  const desired = statefulSet?.spec?.replicas ?? Math.max(1, pods.length)
  const missing = Array.from({ length: desired }, (_, index) => index).filter(
    (index) => !found.some((replica) => replica.index === index),
  )
  const replicas = [...found, ...missing.map((index) => missingReplica(index, context))].toSorted(
    (a, b) => a.index - b.index,
  )

  const withheld = withheldOf(statefulSet)
  const sight = { uid, statefulSet, pods, replicas, desired: withheld?.replicas ?? desired }

  return withheld === undefined
    ? sight
    : { ...sight, refused: { reason: withheld.reason, message: withheld.message } }
}

/**
 * A digest that changes when anybody changes the objects. Where a generation exists, changes of
 * status do not count.
 */
export function looksOf(objects: readonly (ObjectMeta | undefined)[]): string {
  return JSON.stringify(
    objects.map(({ uid, generation, resourceVersion, labels, annotations } = {}) =>
      generation === undefined ? [uid, resourceVersion] : [uid, generation, labels, annotations],
    ),
  )
}
