import type { ResourceStatus } from '@mcp-gateway/contract'
import type { Resource } from '../../core/resource.ts'
import type { Silence } from '../../core/silences.ts'
import type { Condition, Replica, WorkloadStatus } from '../../core/workload.ts'

/** Tells which texts of a status its reader may see. */
export interface StatusReader {
  /** Output of the server or the cluster, which may hold secrets. */
  readonly logs: boolean
  /** Paths, addresses and names of the machine or the cluster. */
  readonly isAdministrator: boolean
}

/**
 * Builds the status from the desired state, the runtime's view, the last failure (`problem`) and a
 * server's `silence`. `reader` says which of the texts the caller may read.
 */
export function statusOf(
  resource: Resource,
  found: WorkloadStatus | undefined,
  problem: string | undefined,
  reader: StatusReader,
  silence?: Silence,
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
      conditions: conditionsOf(silence),
      replicas: [],
    }
  // The workload of this name may still belong to an earlier incarnation.
  const seen = found?.uid === resource.uid ? found : undefined
  const replicas = seen?.replicas ?? []
  const ready = replicas.filter(({ phase }) => phase === 'ready')
  const updated = replicas.filter((replica) => replica.generation === generation)
  const current = seen?.observedGeneration === generation
  const conditions: Condition[] = [...(seen?.conditions ?? []), ...conditionsOf(silence)]
  if (problem !== undefined)
    conditions.push({
      type: 'Accepted',
      status: 'False',
      reason: 'ReconcileFailed',
      message: 'Making it so failed, and the gateway tries again.',
      ...(isOfWorkload(problem) ? { output: problem } : { internals: problem }),
      lastTransitionAt: resource.lastUpdatedAt,
    })
  return {
    readyReplicas: ready.length,
    updatedReplicas: updated.length,
    availableReplicas: ready.length,
    image: `${spec.imageName}:${spec.imageVersion}`,
    ...(seen?.sandbox === undefined ? {} : { sandbox: seen.sandbox }),
    replicaStatus: summary(
      spec.replicaCount,
      ready.length,
      updated.filter(({ phase }) => phase === 'ready').length,
      replicas,
      current,
    ),
    generation,
    ...(restartedAt === undefined ? {} : { restartedAt }),
    observedGeneration: seen?.observedGeneration ?? 0,
    conditions: conditions.map((condition) => told(condition, reader)),
    replicas: replicas.map((replica) => ({
      name: replica.name,
      phase: replica.phase,
      restarts: replica.restarts,
      generation: replica.generation,
      ...(replica.startedAt === undefined
        ? {}
        : { startedAt: new Date(replica.startedAt).toISOString() }),
      ...(replica.reason === undefined ? {} : { reason: replica.reason }),
      ...messageOf(replica, reader),
      ...(replica.lastExit === undefined ? {} : { lastExit: told(replica.lastExit, reader) }),
    })),
  }
}

/**
 * The words of refusals that concern the workload: an admission webhook, a quota, an object that is
 * not valid, a name that is taken. They name neither addresses nor accounts of the gateway.
 */
const ofWorkload =
  /admission webhook "[^"]*" denied the request|exceeded quota|is invalid: |was not made by this gateway/

/** True if those who may read the logs need a problem, because they can mend its cause. */
function isOfWorkload(problem: string): boolean {
  return ofWorkload.test(problem)
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

/**
 * The original's summary, extended. `Healthy` means that all replicas run the present generation.
 */
function summary(
  desired: number,
  ready: number,
  readyAndUpdated: number,
  replicas: readonly Replica[],
  current: boolean,
): string {
  const existing = replicas.length
  if (desired === 0) return existing === 0 ? 'Stopped' : 'Progressing: stopping'
  if (!current) return 'Progressing: not taken up yet'
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
