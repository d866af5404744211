import type { DirectoryEntry } from '../../core/directories/directory.ts'
import type { Adapter, ResourceKind } from '../../core/resource.ts'
import type { Replica } from '../../core/workload.ts'
import type { MemberLists } from '../lists/member-lists.ts'

/** Why a member serves, or does not. */
export type MemberState =
  | 'Ready'
  | 'Starting'
  | 'Stopped'
  | 'Degraded'
  | 'Down'
  | 'Missing'
  | 'Conflict'

export interface MemberStanding {
  readonly state: MemberState
  /** Undefined for a member that is ready. */
  readonly reason: string | undefined
}

export const ready: MemberStanding = { state: 'Ready', reason: undefined }

/** How a member stands that does not exist. A hidden one looks the same to a caller. */
export function missing(kind: ResourceKind): MemberStanding {
  return { state: 'Missing', reason: `There is no ${kind} of this name that you may use.` }
}

/** How a member stands whose alias belongs to another member. */
export function conflicting(alias: string): MemberStanding {
  return {
    state: 'Conflict',
    reason:
      `Another member has the alias '${alias}' already, so nothing of this one is shown. ` +
      'Give it another alias.',
  }
}

/** How an adapter stands as a member. `lists` are undefined while nobody who may has asked. */
export function adapterStanding(
  adapter: Adapter | undefined,
  entry: DirectoryEntry | undefined,
  lists: Pick<MemberLists, 'failure' | 'snapshot'> | undefined,
): MemberStanding {
  if (adapter === undefined) return missing('adapter')
  const ofReplicas = adapter.spec.endpoint === undefined ? workloadStanding(adapter, entry) : ready
  if (ofReplicas.state !== 'Ready') return ofReplicas
  if (lists?.failure !== undefined) return { state: 'Down', reason: lists.failure }
  if (lists?.snapshot === undefined)
    return { state: 'Starting', reason: 'Its lists have not been read yet.' }
  const [mistake] = mistakesOf(lists)
  return mistake === undefined ? ready : { state: 'Degraded', reason: mistake }
}

/** The mistakes in the lists of a member. */
export function mistakesOf(lists: Pick<MemberLists, 'snapshot'> | undefined): readonly string[] {
  const known = lists?.snapshot?.lists
  return known === undefined ? [] : Object.values(known).flatMap(({ mistakes }) => mistakes)
}

function workloadStanding(
  { spec, uid }: Adapter,
  entry: DirectoryEntry | undefined,
): MemberStanding {
  // The workload of this name may still belong to an earlier incarnation.
  const current = entry?.uid === uid ? entry : undefined
  if (spec.replicaCount === 0 || current?.desiredReplicas === 0)
    return { state: 'Stopped', reason: 'Its replicaCount is 0.' }
  const replicas = current?.replicas ?? []
  if (replicas.some(({ phase }) => phase === 'ready')) return ready

  if (current?.refused !== undefined)
    return { state: 'Down', reason: `It cannot run here: ${current.refused}.` }
  const failed = replicas.find(hasFailed)
  if (failed !== undefined)
    return { state: 'Down', reason: `No replica is ready: ${failed.reason ?? 'Restarted'}.` }
  const why = replicas.find(({ reason }) => reason !== undefined)?.reason
  const detail = why === undefined ? '' : `: ${why}`
  return { state: 'Starting', reason: `No replica is ready yet${detail}.` }
}

function hasFailed({ phase, restarts }: Replica): boolean {
  return phase === 'backoff' || phase === 'lost' || (phase !== 'terminating' && restarts > 0)
}
