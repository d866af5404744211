import type { LocalSocket } from '../lib/net/socket-owner.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Workload, WorkloadStatus } from '../core/workload.ts'

export interface WorkloadRef {
  readonly name: string
  readonly uid: string
}

export interface LogQuery {
  /** Index of the replica; default 0. */
  readonly replica: number
  /** Number of last lines to give first; the runtime may hold fewer. */
  readonly tail: number
  /** Only lines at or after this time. */
  readonly since?: Date
  /** Continue with new lines until the signal aborts or the workload is removed. */
  readonly follow: boolean
  /** Read the instance before the present one (after a restart). */
  readonly previous: boolean
  /** Another container of the replica than the server, if the runtime has containers. */
  readonly container?: string
}

/** A message for people who watch the platform. */
export interface Announcement {
  /** The workload; absent when the message concerns the gateway itself. */
  readonly workload?: string
  readonly type: 'Normal' | 'Warning'
  /** One word in upper camel case. */
  readonly reason: string
  readonly message: string
}

/** Workload names, each with the reason why the workload differs from its desired state. */
export type Problems = ReadonlyMap<string, string>

/**
 * Runs workloads. Only the reconciler calls `apply` and `remove`, one call at a time for each name.
 * `apply` is level-triggered: it states the desired state, not the change, and may be repeated.
 */
export interface Runtime extends AsyncDisposable {
  readonly name: string
  /** The runtime keeps the directory current; the data plane reads it. */
  readonly directory: ReplicaDirectory
  /**
   * Tells whether a process of a workload holds a socket of this machine. Absent where nothing can
   * tell.
   */
  readonly isWorkload?: (socket: LocalSocket) => boolean | Promise<boolean>

  /**
   * Leadership terms until `signal` aborts: one signal each, aborted when leadership is lost.
   * Finish work, then ask for the next. `report` receives the reason for no term, if any, and the
   * current leader's `problems` (seconds old, cut if long).
   */
  terms(
    signal: AbortSignal,
    report: (problem: string | undefined, ofWriter: Problems) => void,
    problems: () => Problems,
  ): AsyncIterable<AbortSignal>
  /**
   * Calls back with the name of each workload that anybody changed or removed, until the returned
   * function is called.
   */
  onDrift(listener: (name: string) => void): () => void
  /**
   * Returns once the desired state is accepted, not once it is ready. First removes a workload of
   * the same name and another uid.
   */
  apply(workload: Workload, signal: AbortSignal): Promise<void>
  /**
   * Removes a workload and all that it left. Resolves when nothing of it runs. A missing workload
   * is no error.
   */
  remove(ref: WorkloadRef, signal: AbortSignal): Promise<void>
  /**
   * Sends a message to people who watch the platform. Absent where the platform has no place for
   * messages.
   */
  announce?(announcement: Announcement, signal: AbortSignal): Promise<void>
  /**
   * Lists every workload of this gateway that exists, wanted or not, so that leftovers can be
   * removed.
   */
  list(signal: AbortSignal): Promise<readonly WorkloadRef[]>
  /** Undefined while the runtime does not know the workload. */
  status(name: string): Promise<WorkloadStatus | undefined>
  /**
   * Lines without their terminator. With `follow` they end when the workload is removed. Undefined
   * when the replica or its previous instance is unknown. Another incarnation shows nothing.
   */
  logs(
    workload: WorkloadRef,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string> | undefined>
}
