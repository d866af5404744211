import type { ResourceKind } from './resource.ts'

/** What a runtime must make true: desired state, rendered from a resource by the reconciler. */
export interface Workload {
  readonly kind: ResourceKind
  readonly name: string
  /** The resource's incarnation. */
  readonly uid: string
  readonly generation: number
  /** Whose it is, as a key: one and the same for all workloads of an owner. */
  readonly owner: string
  readonly image: { readonly name: string; readonly version: string }
  readonly environment: Readonly<Record<string, string>>
  readonly replicas: number
  readonly useWorkloadIdentity: boolean
  /** Replicas of another value, or of none, are replaced as by any change. */
  readonly restartedAt?: string
  /** Why none of it may run now, whatever `replicas` says: as a condition's reason, and in words. */
  readonly withheld?: { readonly reason: string; readonly message: string }
  /** Where the image listens, if the resource says so; programs that are given their port have no use for it. */
  readonly port?: number
}

/** In bytes of names and values: what a Secret of Kubernetes holds for sure, whatever else is in it (1 MiB, and etcd takes requests of 1.5 MiB). */
export const largestEnvironment = 768 * 1024

/** `lost`: what holds it has not been heard from, so that nobody knows whether it runs; sessions that live on it try. */
export type ReplicaPhase = 'pending' | 'starting' | 'ready' | 'backoff' | 'lost' | 'terminating'

/** One running instance of a workload as the runtime sees it now. */
export interface Replica {
  /** Stable: `{workload}-{index}`. */
  readonly name: string
  readonly index: number
  readonly phase: ReplicaPhase
  /** Where it serves MCP, once it has an address: `http://127.0.0.1:41234`. Never leaves the process in any token or answer. */
  readonly origin?: string
  /** The path at which it serves (`/mcp`). */
  readonly path: string
  /** Milliseconds since the epoch at which the present instance started; sessions older than this died with the one before. */
  readonly startedAt?: number
  /**
   * Milliseconds since the epoch from which on it has its memory and its files: `Infinity` when they
   * are gone for good. Unset where they may last longer than its present instance.
   */
  readonly keepsSince?: number
  /** The workload generation this instance was started from. */
  readonly generation: number
  readonly restarts: number
  /** Why it is not ready, for people: `exited with code 1: …`. */
  readonly reason?: string
  readonly message?: string
  /**
   * Sentences with text of the server or the cluster. It may hold secrets: only for readers of
   * logs.
   */
  readonly output?: string
  readonly lastExit?: {
    readonly at: string
    readonly code?: number
    readonly signal?: string
    readonly message?: string
    /** As above. */
    readonly output?: string
  }
}

/** A condition in `status`, in the way of Kubernetes: what, whether, and why. */
export interface Condition {
  readonly type: 'Ready' | 'Progressing' | 'Accepted' | 'Answering'
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason: string
  readonly message: string
  /** As that of a replica. */
  readonly output?: string
  readonly lastTransitionAt: string
}

export interface WorkloadStatus {
  readonly name: string
  readonly uid: string
  /** The generation that the runtime has taken up. */
  readonly observedGeneration: number
  readonly image: string
  /** What keeps its processes away from others; undefined where the runtime has another way. */
  readonly sandbox?: string
  readonly desiredReplicas: number
  readonly replicas: readonly Replica[]
  readonly conditions: readonly Condition[]
}
