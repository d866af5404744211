import type { LocalSocket } from '../lib/net/socket-owner.ts'
import type { ReplicaDirectory } from '../core/directory.ts'
import type { Workload, WorkloadStatus } from '../core/workload.ts'

export interface WorkloadRef {
  readonly name: string
  readonly uid: string
}

export interface LogQuery {
  /** Index of the replica; default 0. */
  readonly replica: number
  /** Last lines to give first; the runtime may hold fewer. */
  readonly tail: number
  /** Only lines at or after this time. */
  readonly since?: Date
  /** Go on with new lines until the signal aborts or the workload goes. */
  readonly follow: boolean
  /** The instance before the present one (after a restart). */
  readonly previous: boolean
  /** Another part of the replica than the server itself, where it has such. */
  readonly container?: string
}

/** Something that people who watch the platform are told. */
export interface Announcement {
  /** The workload; absent for what concerns the gateway itself. */
  readonly workload?: string
  readonly type: 'Normal' | 'Warning'
  /** One word in upper camel case. */
  readonly reason: string
  readonly message: string
}

/** Why workloads are not as they are wanted, by their names. */
export type Problems = ReadonlyMap<string, string>

/**
 * Where workloads run. The reconciler alone calls the write side (`apply`, `remove`), one call at a time per name.
 * Level-triggered: `apply` says what must be true, not what changed, and may be repeated at any time.
 */
export interface Runtime extends AsyncDisposable {
  readonly name: string
  /** Kept current by the runtime; read by the data plane. */
  readonly directory: ReplicaDirectory
  /** Whether a process of a workload has a socket of this machine, where that can be told. */
  readonly isWorkload?: (socket: LocalSocket) => boolean | Promise<boolean>

  /**
   * The times in which this process is the one that writes, of all that share the runtime: a signal for each, aborted when it is over. Who has
   * ended its work asks for the next. It ends when `signal` aborts. `report` is told why there is none now, or that there is, and what whoever
   * writes meanwhile has met, which is what `problems` gives there: a few seconds old, and not all of it when there is very much.
   */
  terms(
    signal: AbortSignal,
    report: (problem: string | undefined, ofWriter: Problems) => void,
    problems: () => Problems,
  ): AsyncIterable<AbortSignal>
  /** Calls back with the name of a workload of which something was changed or removed, by whomever, until the returned function is called. */
  onDrift(listener: (name: string) => void): () => void
  /** Takes up desired state and returns once it is accepted (not once it is ready). A workload of another uid under the same name is removed first. */
  apply(workload: Workload, signal: AbortSignal): Promise<void>
  /** Removes a workload and all it left; no error when there is none. Resolves when nothing of it runs any more. */
  remove(ref: WorkloadRef, signal: AbortSignal): Promise<void>
  /** Tells people who watch the platform. Absent where the platform has no place for it. */
  announce?(announcement: Announcement, signal: AbortSignal): Promise<void>
  /** Every workload of ours that exists, wanted or not, so that leftovers can be removed. */
  list(signal: AbortSignal): Promise<readonly WorkloadRef[]>
  /** Undefined while nothing is known of it. */
  status(name: string): Promise<WorkloadStatus | undefined>
  /** Lines without their terminator. Ends when there is no more (or never, with `follow`). `undefined` when the replica or its previous instance is not known. */
  logs(
    name: string,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string> | undefined>
}
