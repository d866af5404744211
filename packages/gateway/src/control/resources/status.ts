import type { ResourceStatus } from '@mcp-gateway/contract'
import type { Resource } from '../../core/resource.ts'
import type { Silence } from '../../core/silences.ts'
import type { Condition, Replica, WorkloadStatus } from '../../core/workload.ts'
import { defined } from '../../lib/defined.ts'

/** Tells which texts of a status its reader may see. */
export interface StatusReader {
  /** Output of the server or the cluster, which may hold secrets. */
  readonly logs: boolean
  /** Paths, addresses and names of the machine or the cluster. */
  readonly isAdministrator: boolean
}

/** All that this process knows about a resource beyond its desired state. */
export interface Seen {
  /** The runtime's view. */
  readonly found: WorkloadStatus | undefined
  /** The last failure to make it so. */
  readonly problem: string | undefined
  readonly silence: Silence | undefined
}

/** Builds the status. `reader` says which of its texts the caller may read. */
export function statusOf(resource: Resource, seen: Seen, reader: StatusReader): ResourceStatus {
  return resource.spec.endpoint === undefined
    ? workloadStatus(resource, seen, reader)
    : endpointStatus(resource, seen)
}

function endpointStatus({ generation }: Resource, { silence }: Seen): ResourceStatus {
  return {
    readyReplicas: null,
    updatedReplicas: null,
    availableReplicas: null,
    image: '',
    replicaStatus: 'External',
    generation,
    observedGeneration: generation,
    conditions: conditionsOf(silence),
    replicas: [],
  }
}

function workloadStatus(
  resource: Resource,
  { found, problem, silence }: Seen,
  reader: StatusReader,
): ResourceStatus {
  const { spec, generation, restartedAt } = resource
  // The workload of this name may still belong to an earlier incarnation.
  const own = found?.uid === resource.uid ? found : undefined
  const replicas = own?.replicas ?? []
  const ready = replicas.filter(({ phase }) => phase === 'ready')
  const updated = replicas.filter((replica) => replica.generation === generation)

  const conditions: Condition[] = [
    ...(own?.conditions ?? []),
    ...conditionsOf(silence),
    ...(problem === undefined ? [] : [failedBy(problem, resource)]),
  ]

  return {
    readyReplicas: ready.length,
    updatedReplicas: updated.length,
    availableReplicas: ready.length,
    image: `${spec.imageName}:${spec.imageVersion}`,
    ...defined({ sandbox: own?.sandbox }),
    replicaStatus: summaryOf({
      desired: spec.replicaCount,
      ready: ready.length,
      readyAndUpdated: updated.filter(({ phase }) => phase === 'ready').length,
      replicas,
      isCurrent: own?.observedGeneration === generation,
    }),
    generation,
    ...defined({ restartedAt }),
    observedGeneration: own?.observedGeneration ?? 0,
    conditions: conditions.map((condition) => told(condition, reader)),
    replicas: replicas.map((replica) => replicaView(replica, reader)),
  }
}

function replicaView(replica: Replica, reader: StatusReader): ResourceStatus['replicas'][number] {
  const { name, phase, restarts, generation, startedAt, reason, lastExit } = replica
  return {
    name,
    phase,
    restarts,
    generation,
    ...defined({
      startedAt: startedAt === undefined ? undefined : new Date(startedAt).toISOString(),
      reason,
    }),
    ...messageOf(replica, reader),
    ...defined({ lastExit: lastExit && told(lastExit, reader) }),
  }
}

function failedBy(problem: string, { lastUpdatedAt }: Resource): Condition {
  return {
    type: 'Accepted',
    status: 'False',
    reason: 'ReconcileFailed',
    message: 'Making it so failed, and the gateway tries again.',
    ...(isOfWorkload(problem) ? { output: problem } : { internals: problem }),
    lastTransitionAt: lastUpdatedAt,
  }
}

/**
 * The words of refusals that concern the workload: an admission webhook, a quota, an object that is
 * not valid, a name that is taken. They name neither addresses nor accounts of the gateway.
 */
const ofWorkload = [
  /admission webhook "[^"]*" denied the request/,
  /exceeded quota|is invalid: |was not made by this gateway/,
]

/** True if those who may read the logs need a problem, because they can mend its cause. */
function isOfWorkload(problem: string): boolean {
  return ofWorkload.some((words) => words.test(problem))
}

function conditionsOf(silence: Silence | undefined): Condition[] {
  if (silence === undefined) return []
  const { message, since: lastTransitionAt } = silence
  return [{ type: 'Answering', status: 'False', reason: 'NoAnswer', message, lastTransitionAt }]
}

interface Told {
  readonly message?: string
  readonly output?: string
  readonly internals?: string
}

/** The message, with the texts that the caller may read. */
function messageOf<T extends Told>(
  { message, output, internals }: T,
  reader: StatusReader,
): Pick<T, 'message'> {
  const parts = [
    message,
    reader.logs ? output : undefined,
    reader.isAdministrator ? internals : undefined,
  ]
  const text = parts.filter((part) => part !== undefined && part !== '').join(' ')
  return text === '' ? {} : { message: text }
}

function told<T extends Told>(all: T, reader: StatusReader): Omit<T, 'output' | 'internals'> {
  const { output: _output, internals: _internals, ...rest } = all
  return { ...rest, ...messageOf(all, reader) }
}

interface Counts {
  readonly desired: number
  readonly ready: number
  readonly readyAndUpdated: number
  readonly replicas: readonly Replica[]
  /** True if the runtime has taken up the present generation. */
  readonly isCurrent: boolean
}

/**
 * The original's summary, extended. `Healthy` means that all replicas run the present generation.
 */
function summaryOf({ desired, ready, readyAndUpdated, replicas, isCurrent }: Counts): string {
  const existing = replicas.length
  if (desired === 0) return existing === 0 ? 'Stopped' : 'Progressing: stopping'
  if (!isCurrent) return 'Progressing: not taken up yet'
  // A server that has just started has not failed yet.
  if (ready === 0 && existing > 0 && replicas.every(isStarting))
    return `Progressing: ${ready}/${desired} ready`
  if (ready < desired) return `Degraded: ${ready}/${desired} ready`
  if (readyAndUpdated < desired || existing > desired)
    return `Progressing: ${readyAndUpdated}/${desired} updated`
  return 'Healthy'
}

/** True if a replica approaches its first readiness without a known problem. */
function isStarting({ phase, restarts, reason }: Replica): boolean {
  return (phase === 'pending' || phase === 'starting') && restarts === 0 && reason === undefined
}
