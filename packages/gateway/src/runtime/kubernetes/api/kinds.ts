import type { Manifests } from '../render.ts'

/**
 * The kinds of a workload's objects, in the order of apply: objects that a pod needs come first.
 */
export const kinds = [
  'Secret',
  'Service',
  'StatefulSet',
  'PodDisruptionBudget',
] as const satisfies readonly (keyof Manifests)[]
export type Kind = (typeof kinds)[number]

const paths = {
  Secret: ['api/v1', 'secrets'],
  Service: ['api/v1', 'services'],
  StatefulSet: ['apis/apps/v1', 'statefulsets'],
  PodDisruptionBudget: ['apis/policy/v1', 'poddisruptionbudgets'],
  Pod: ['api/v1', 'pods'],
  Event: ['api/v1', 'events'],
  Lease: ['apis/coordination.k8s.io/v1', 'leases'],
  EndpointSlice: ['apis/discovery.k8s.io/v1', 'endpointslices'],
} as const satisfies Record<
  Kind | 'Pod' | 'Event' | 'Lease' | 'EndpointSlice',
  readonly [string, string]
>

/** The path of all objects of a kind in a namespace. */
export function collection(kind: keyof typeof paths, namespace: string): string {
  const [group, plural] = paths[kind]
  return `/${group}/namespaces/${namespace}/${plural}`
}
