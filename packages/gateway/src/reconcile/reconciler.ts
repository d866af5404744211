import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'
import { backoffMs, type Backoff } from '../lib/async/backoff.ts'
import { supervise } from '../lib/async/supervise.ts'
import type { Problems, Runtime } from '../runtime/runtime.ts'
import { usersOf } from '../secrets/users.ts'
import { runsHere } from './render.ts'
import { each } from '../store/each.ts'
import type { Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'

export interface ReconcilerOptions {
  readonly store: Store
  readonly runtime: Runtime
  /** Returns undefined when nothing is to run. */
  readonly render: (resource: Resource) => Promise<Workload | undefined>
  /**
   * Calls back with the names of changed cluster Secrets, until the returned function is called.
   * Absent where no cluster has Secrets.
   */
  readonly onClusterSecret?: (listener: (name: string) => void) => () => void
  readonly log: Log
  /** Milliseconds between two checks of everything, with or without a known change. */
  readonly resyncMs: number
  readonly retry: Backoff
  /** Number of names that are worked on at once. */
  readonly workers?: number
}

/** Makes the runtime follow the store. */
export interface Reconciler extends AsyncDisposable {
  /** Reconciles one name now. */
  nudge(name: string): void
  /** Why the last attempt for a name failed, if so, on this gateway or on the one that leads. */
  problem(name: string): string | undefined
  /**
   * Runs other work in the same terms, on one gateway at a time. `problem` on the other gateways
   * returns the work's `problems`.
   */
  alongside(work: TermWork): void
}

export interface TermWork {
  /** Returns once the signal has aborted and no work is in progress. */
  run(signal: AbortSignal): Promise<void>
  problems(): Problems
}

interface Key {
  /** The name waits in the queue. */
  queued: boolean
  working: boolean
  /** The name was nudged while it was worked on. */
  again: boolean
  failures: number
  problem?: string
  retry?: NodeJS.Timeout
}

/** Starts a reconciler. */
export function startReconciler(options: ReconcilerOptions): Reconciler {
  return new Writer(options)
}

/**
 * Works in the runtime's terms: one gateway at a time of all that share a runtime. A term that
 * fails is followed by another.
 */
class Writer implements Reconciler {
  readonly #options: ReconcilerOptions
  readonly #stop = new AbortController()
  readonly #works: TermWork[] = []
  readonly #working: Promise<void>
  #term: Term | undefined
  #idle: string | undefined
  #ofWriter: Problems = new Map()

  constructor(options: ReconcilerOptions) {
    const { log, retry } = options
    this.#options = options
    this.#working = supervise(() => this.#run(), {
      signal: this.#stop.signal,
      retry,
      failed: (error) => log.error({ err: error }, 'a term failed, trying again'),
    })
  }

  async #run(): Promise<void> {
    const report = (problem: string | undefined, others: Problems): void => {
      this.#idle = problem
      this.#ofWriter = others
    }
    const terms = this.#options.runtime.terms(this.#stop.signal, report, () => this.#problems())
    for await (const signal of terms) {
      this.#term = new Term(this.#options, signal)
      for (const work of this.#works) this.#term.alongside(work)
      try {
        await this.#term.ended
      } finally {
        this.#term = undefined
      }
    }
  }

  #problems(): Problems {
    return new Map([
      ...this.#works.flatMap((work) => [...work.problems()]),
      ...(this.#term?.problems() ?? new Map<string, string>()),
    ])
  }

  /**
   * A gateway that does not lead can drop the nudge: the leader learns of the change from the
   * store.
   */
  nudge(name: string): void {
    this.#term?.nudge(name)
  }

  problem(name: string): string | undefined {
    const found = this.#term === undefined ? this.#ofWriter.get(name) : this.#term.problem(name)
    return found ?? this.#idle
  }

  alongside(work: TermWork): void {
    this.#works.push(work)
    this.#term?.alongside(work)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#working
  }
}

/**
 * Level-triggered: compares the stored with the running state, whatever has changed. One worker for
 * each name. Removes the workload of a deleted record even if a gateway died in between.
 */
class Term implements Pick<Reconciler, 'nudge' | 'problem'> {
  readonly #options: ReconcilerOptions
  readonly #signal: AbortSignal
  readonly #workers: number
  readonly #keys = new Map<string, Key>()
  readonly #queue: string[] = []
  readonly #working = new Set<Promise<void>>()
  readonly #over = new AbortController()
  readonly #alongside: Promise<void>[] = []
  #again: NodeJS.Timeout | undefined
  readonly ended: Promise<void>

  constructor(options: ReconcilerOptions, signal: AbortSignal) {
    this.#options = options
    this.#signal = AbortSignal.any([signal, this.#over.signal])
    // All work in progress listens to the signal.
    setMaxListeners(0, this.#signal)
    this.#workers = options.workers ?? 16
    this.ended = this.#run()
  }

  /** Does other work until the term ends. If it fails, it begins again. */
  alongside(work: TermWork): void {
    const { log, retry } = this.#options
    const signal = this.#signal
    const failed = (error: unknown): void =>
      log.error({ err: error }, 'work beside the reconciler failed, trying again')
    this.#alongside.push(supervise(() => work.run(signal), { signal, retry, failed }))
  }

  /** Ends with the signal, or with an error; then nothing of the term goes on. */
  async #run(): Promise<void> {
    try {
      await this.#reconcileChanges()
    } finally {
      this.#over.abort()
      clearTimeout(this.#again)
      for (const { retry } of this.#keys.values()) clearTimeout(retry)
      await Promise.all([...this.#working, ...this.#alongside])
    }
  }

  async #reconcileChanges(): Promise<void> {
    const { runtime, store, resyncMs } = this.#options
    const timer = setInterval(() => this.#lookAtAll(), resyncMs)
    const undrift = runtime.onDrift((name) => this.nudge(name))

    const unsecret = this.#options.onClusterSecret?.((secret) => {
      const users = usersOf(store, { source: 'kubernetes', name: secret })
      users.then(
        (found) => found.forEach(({ name }) => this.nudge(name)),
        () => this.#lookAtAll(),
      )
    })

    this.#lookAtAll()
    await Promise.all([
      this.#follow(() => this.#changedNames()),
      this.#follow(() => this.#usersOfChangedSecrets()),
    ])

    clearInterval(timer)
    undrift()
    unsecret?.()
  }

  problem(name: string): string | undefined {
    return this.#keys.get(name)?.problem
  }

  problems(): Problems {
    return new Map(
      [...this.#keys].flatMap(([name, { problem }]) =>
        problem === undefined ? [] : [[name, problem] as const],
      ),
    )
  }

  nudge(name: string): void {
    if (this.#signal.aborted) return
    let key = this.#keys.get(name)
    if (key === undefined)
      this.#keys.set(name, (key = { queued: false, working: false, again: false, failures: 0 }))

    // A nudged name does not wait for its next attempt.
    clearTimeout(key.retry)
    if (key.working) key.again = true
    else if (!key.queued) {
      key.queued = true
      this.#queue.push(name)
      this.#next()
    }
  }

  #next(): void {
    while (this.#working.size < this.#workers && !this.#signal.aborted) {
      const name = this.#queue.shift()
      const key = name === undefined ? undefined : this.#keys.get(name)
      if (name === undefined || key === undefined) return

      const work = this.#look(name, key).finally(() => {
        this.#working.delete(work)
        this.#next()
      })

      this.#working.add(work)
    }
  }

  async #look(name: string, key: Key): Promise<void> {
    const { log, retry } = this.#options
    key.queued = false
    key.working = true
    key.again = false

    let exists = true

    try {
      exists = await this.#reconcile(name)
      key.failures = 0
      delete key.problem
    } catch (error) {
      if (this.#signal.aborted) return
      const problem = error instanceof Error ? error.message : String(error)
      if (problem !== key.problem)
        log.error({ name, err: error }, 'reconciling failed, trying again')
      key.problem = problem
      key.failures += 1
    }

    key.working = false
    if (key.again) this.nudge(name)
    else if (key.problem !== undefined)
      key.retry = setTimeout((again) => this.nudge(again), backoffMs(retry, key.failures), name)
    else if (!exists) this.#keys.delete(name)
  }

  async #reconcile(name: string): Promise<boolean> {
    const { store, runtime } = this.#options
    const resource = await store.get(name)
    const workload = resource === undefined ? undefined : await this.#options.render(resource)

    if (workload !== undefined) await runtime.apply(workload, this.#signal)
    else
      for (const ref of await runtime.list(this.#signal))
        if (ref.name === name) await runtime.remove(ref, this.#signal)

    return resource !== undefined
  }

  async #resync(): Promise<void> {
    const { store, runtime } = this.#options
    const names = new Set((await runtime.list(this.#signal)).map(({ name }) => name))
    // Resources that neither run nor are to run need no check.
    for await (const resource of each(store)) if (runsHere(resource)) names.add(resource.name)
    for (const name of names) this.nudge(name)
  }

  async *#changedNames(): AsyncIterable<string> {
    for await (const { name } of this.#options.store.watch(this.#signal)) yield name
  }

  async *#usersOfChangedSecrets(): AsyncIterable<string> {
    const { store } = this.#options
    for await (const { name } of store.secrets.watch(this.#signal))
      for (const user of await usersOf(store, { source: 'store', name })) yield user.name
  }

  /**
   * Follows changes until the term ends. A watch that breaks starts again, and then everything is
   * checked, as changes may have been missed.
   */
  async #follow(changes: () => AsyncIterable<string>): Promise<void> {
    const { log, retry } = this.#options
    const signal = this.#signal

    for (let failures = 0; !signal.aborted; failures += 1) {
      if (failures > 0) {
        await sleep(backoffMs(retry, failures), undefined, { signal }).catch(() => undefined)
        // Check one turn later: by then the watch below has begun.
        queueMicrotask(() => this.#lookAtAll())
      }

      try {
        for await (const name of changes()) {
          failures = 0
          this.nudge(name)
        }
      } catch (error) {
        log.error({ err: error }, 'watching the store failed, trying again')
      }
    }
  }

  #lookAtAll(): void {
    const { log, retry } = this.#options
    if (this.#signal.aborted) return

    this.#resync().catch((error: unknown) => {
      log.error({ err: error }, 'looking at everything failed, trying again')
      clearTimeout(this.#again)
      if (!this.#signal.aborted) this.#again = setTimeout(() => this.#lookAtAll(), retry.maxMs)
    })
  }
}
