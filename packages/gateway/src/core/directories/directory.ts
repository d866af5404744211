import { Listeners } from '../../lib/async/listeners.ts'
import type { Replica } from '../workload.ts'

/** The data plane's view of a workload: its replicas and their readiness. */
export interface DirectoryEntry {
  readonly uid: string
  readonly desiredReplicas: number
  readonly replicas: readonly Replica[]
  /** Why the workload cannot run here at all. Waiting does not help. */
  readonly refused?: string
}

/**
 * The live table of replicas. The runtime writes it, and the data plane reads it on each request
 * without I/O. Besides the store, the planes meet only here.
 */
export class ReplicaDirectory {
  readonly #entries = new Map<string, DirectoryEntry>()
  readonly #waiters = new Map<string, Set<() => void>>()
  readonly #listeners = new Listeners<string>()

  get(workload: string): DirectoryEntry | undefined {
    return this.#entries.get(workload)
  }

  /** Replaces the entry of a workload, and wakes all who wait for its change. */
  set(workload: string, entry: DirectoryEntry): void {
    this.#entries.set(workload, entry)
    this.#wake(workload)
  }

  delete(workload: string): void {
    this.#entries.delete(workload)
    this.#wake(workload)
  }

  /** Resolves at the next change of the workload, or when the signal aborts (it never rejects). */
  changed(workload: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const waiters = this.#waiters.get(workload) ?? new Set()
      this.#waiters.set(workload, waiters)
      const done = (): void => {
        waiters.delete(done)
        if (waiters.size === 0 && this.#waiters.get(workload) === waiters)
          this.#waiters.delete(workload)
        signal.removeEventListener('abort', done)
        resolve()
      }
      waiters.add(done)
      signal.addEventListener('abort', done, { once: true })
    })
  }

  /** Calls back after each change until the returned function is called. */
  onChange(listener: (workload: string) => void): () => void {
    return this.#listeners.add(listener)
  }

  #wake(workload: string): void {
    this.#listeners.tell(workload)
    for (const wake of this.#waiters.get(workload) ?? []) wake()
  }
}
