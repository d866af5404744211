import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { Workload } from '../../core/workload.ts'
import type { WorkloadRef } from '../runtime.ts'

/** The name by which server-side apply knows our fields. */
export const fieldManager = 'mcp-gateway'

/** The original's labels, and beside them ours. */
export const label = {
  type: 'adapter/type',
  name: 'adapter/name',
  uid: 'adapter/uid',
  installation: 'adapter/installation',
  managedBy: 'app.kubernetes.io/managed-by',
  identity: 'azure.workload.identity/use',
} as const

export const annotation = {
  /** The generation that the object was made from. */
  generation: 'adapter/generation',
  /** As the resource says it: `name:version`. */
  image: 'adapter/image',
  /** Why none of it may run now, though this many are wanted: JSON of `{reason, message, replicas}`. */
  withheld: 'adapter/withheld',
  /** Where replicas serve MCP. */
  path: 'adapter/path',
  /** Which pod template, by its digest: equal ones need no restart. */
  template: 'adapter/template',
  /** The newest generation of each of the last templates, by digest. */
  history: 'adapter/history',
  /** A digest of the environment, so that a change of it rolls. */
  environment: 'adapter/environment',
  /** Of a Lease: what its holder has met, for the others to tell. JSON. */
  problems: 'adapter/problems',
  /** When all pods were last asked to be replaced, as `kubectl rollout restart` has it in an annotation of its own. */
  restartedAt: 'adapter/restarted-at',
} as const

/** What never changes for a workload: the selector. Of the identity label it is not, which may be turned on and off. */
export function selectorLabels({
  kind,
  name,
}: Pick<Workload, 'kind' | 'name'>): Record<string, string> {
  return { [label.type]: kind === 'adapter' ? 'mcp' : 'tool', [label.name]: name }
}

/** Labels of everything that belongs to a workload. */
export function objectLabels(
  workload: Pick<Workload, 'kind' | 'name' | 'uid'>,
  installation: string,
): Record<string, string> {
  return {
    ...selectorLabels(workload),
    [label.uid]: workload.uid,
    [label.installation]: installation,
    [label.managedBy]: fieldManager,
    'app.kubernetes.io/name': workload.name,
    'app.kubernetes.io/component': workload.kind === 'adapter' ? 'mcp-server' : 'tool',
    'app.kubernetes.io/part-of': 'mcp-gateway',
  }
}

/** Selects what this installation has made. */
export function ourSelector(installation: string): string {
  return `${label.managedBy}=${fieldManager},${label.installation}=${installation},${label.name},${label.uid}`
}

/** The workload that an object belongs to; undefined for one that this installation has not made. */
export function ownerOf(
  metadata: ObjectMeta | undefined,
  installation: string,
): WorkloadRef | undefined {
  const {
    [label.managedBy]: managedBy,
    [label.installation]: by,
    [label.name]: name,
    [label.uid]: uid,
  } = metadata?.labels ?? {}
  return managedBy === fieldManager &&
    by === installation &&
    name !== undefined &&
    uid !== undefined
    ? { name, uid }
    : undefined
}
