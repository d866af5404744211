import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { Workload } from '../../core/workload.ts'
import type { WorkloadRef } from '../runtime.ts'

/** The name of this gateway's fields in server-side apply. */
export const fieldManager = 'mcp-gateway'

/** The original's labels, followed by those of this gateway. */
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
  /** The image as the resource names it: `name:version`. */
  image: 'adapter/image',
  /**
   * Why the workload may not run, and its wanted replicas: JSON of `{reason, message, replicas}`.
   */
  withheld: 'adapter/withheld',
  /** The path where replicas serve MCP. */
  path: 'adapter/path',
  /** The digest of the pod template: equal digests need no restart. */
  template: 'adapter/template',
  /** The newest generation of each of the last templates, by digest. */
  history: 'adapter/history',
  /** A digest of the environment: a change of it starts a rolling update. */
  environment: 'adapter/environment',
  /** On a Lease: the problems of its holder as JSON, which the other gateways report. */
  problems: 'adapter/problems',
  /**
   * Time of the last request to replace all pods, as in `kubectl rollout restart`'s own annotation.
   */
  restartedAt: 'adapter/restarted-at',
} as const

/**
 * The selector's labels, which never change for a workload. The identity label can be switched, so
 * it is not among them.
 */
export function selectorLabels({
  kind,
  name,
}: Pick<Workload, 'kind' | 'name'>): Record<string, string> {
  return { [label.type]: kind === 'adapter' ? 'mcp' : 'tool', [label.name]: name }
}

/** Labels of every object of a workload. */
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

/** Selects all objects that this installation has made. */
export function ourSelector(installation: string): string {
  const ours = `${label.managedBy}=${fieldManager},${label.installation}=${installation}`
  return `${ours},${label.name},${label.uid}`
}

/** The workload that owns an object; undefined for objects of others than this installation. */
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
