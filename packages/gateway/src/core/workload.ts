import type { ResourceKind } from './resource.ts'

/** Desired state of a runtime. The reconciler renders it from a resource. */
export interface Workload {
  readonly kind: ResourceKind
  readonly name: string
  /** The resource's incarnation. */
  readonly uid: string
  readonly generation: number
  /** Key of the owner. All workloads of an owner have the same key. */
  readonly owner: string
  readonly image: { readonly name: string; readonly version: string }
  readonly environment: Readonly<Record<string, string>>
  readonly replicas: number
  readonly useWorkloadIdentity: boolean
  /** The runtime replaces replicas with another or no `restartedAt`, as after any change. */
  readonly restartedAt?: string
  /**
   * Why the workload must not run now, whatever `replicas` says: a condition's reason, and a
   * message.
   */
  readonly withheld?: { readonly reason: string; readonly message: string }
  /**
   * Listening port of the image, if the resource names one. Programs that are given a port ignore
   * it.
   */
  readonly port?: number
}

/**
 * Bytes of names and values that fit a Kubernetes Secret for certain: a Secret holds 1 MiB, and
 * etcd takes requests of 1.5 MiB.
 */
export const largestEnvironment = 768 * 1024

/**
 * `lost`: the host of the replica is silent, so nobody knows if it still runs. Its sessions still
 * try to reach it.
 */
export type ReplicaPhase = 'pending' | 'starting' | 'ready' | 'backoff' | 'lost' | 'terminating'

/** One running instance of a workload as the runtime sees it now. */
export interface Replica {
  /** Stable: `{workload}-{index}`. */
  readonly name: string
  readonly index: number
  readonly phase: ReplicaPhase
  /**
   * Address at which it serves MCP, once known: `http://127.0.0.1:41234`. No token or answer ever
   * contains it.
   */
  readonly origin?: string
  /** The path at which it serves (`/mcp`). */
  readonly path: string
  /**
   * Start of the present instance, in milliseconds since the epoch. Older sessions ended with the
   * instance before.
   */
  readonly startedAt?: number
  /**
   * Since when it keeps memory and files, in milliseconds since the epoch; `Infinity` if they are
   * lost for good. Unset if they may outlast the present instance.
   */
  readonly keepsSince?: number
  /** The workload generation with which this instance started. */
  readonly generation: number
  readonly restarts: number
  /** The reason that it is not ready, for people: `exited with code 1: …`. */
  readonly reason?: string
  readonly message?: string
  /**
   * Output of the server or the cluster. It may hold secrets, so only readers of logs may see it.
   */
  readonly output?: string
  /** Paths, addresses and names of the machine or the cluster; only for administrators. */
  readonly internals?: string
  readonly lastExit?: {
    readonly at: string
    readonly code?: number
    readonly signal?: string
    readonly message?: string
    /** Output of the server; only for readers of logs. */
    readonly output?: string
    /** As in `Replica`. */
    readonly internals?: string
  }
}

/** A condition in `status`, as in Kubernetes: type, status and reason. */
export interface Condition {
  readonly type: 'Ready' | 'Progressing' | 'Accepted' | 'Answering'
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason: string
  readonly message: string
  /** Output of the server or the cluster; only for readers of logs. */
  readonly output?: string
  /** As in `Replica`. */
  readonly internals?: string
  readonly lastTransitionAt: string
}

export interface WorkloadStatus {
  readonly name: string
  readonly uid: string
  /** The generation that the runtime now follows. */
  readonly observedGeneration: number
  readonly image: string
  /**
   * The sandbox that separates its processes from others; undefined if the runtime separates them
   * otherwise.
   */
  readonly sandbox?: string
  readonly desiredReplicas: number
  readonly replicas: readonly Replica[]
  readonly conditions: readonly Condition[]
}
