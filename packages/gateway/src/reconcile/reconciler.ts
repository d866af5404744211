import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'
import { backoffMs, type Backoff } from '../lib/async/backoff.ts'
import type { Problems, Runtime } from '../runtime/runtime.ts'
import { usersOf } from '../secrets/users.ts'
import { runsHere } from './render.ts'
import { each } from '../store/each.ts'
import type { Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'

export interface ReconcilerOptions {
  readonly store: Store
  readonly runtime: Runtime
  /** Undefined: nothing is to run. */
  readonly render: (resource: Resource) => Promise<Workload | undefined>
  /** Calls back with the names of Secrets of a cluster that have changed, until the returned function is called. Absent: there are none. */
  readonly onClusterSecret?: (listener: (name: string) => void) => () => void
  readonly log: Log
  /** Everything is looked at again this often, whether or not something is known to have changed. */
  readonly resyncMs: number
  readonly retry: Backoff
  /** So many names are worked on at once. */
  readonly workers?: number
}

/** Makes the runtime follow the store. */
export interface Reconciler extends AsyncDisposable {
  /** Looks at one name now. */
  nudge(name: string): void
  /** Why the last attempt for a name failed, if it did, here or at the gateway that writes. */
  problem(name: string): string | undefined
  /**
   * Has other work done in the same terms, by one gateway at a time. `problems` reaches the other
   * gateways, where `problem` gives it.
   */
  alongside(work: TermWork): void
}

export interface TermWork {
  /** Returns when the signal has aborted and nothing is under way any more. */
  run(signal: AbortSignal): Promise<void>
  problems(): Problems
}

interface Key {
  /** It waits in the queue. */
  queued: boolean
  working: boolean
  /** Nudged while it was worked on. */
  again: boolean
  failures: number
  problem?: string
  retry?: NodeJS.Timeout
}

/** Starts it; it works in the terms that the runtime gives it, one gateway at a time of all that share a runtime. */
export function startReconciler(options: ReconcilerOptions): Reconciler {
  const stop = new AbortController()
  let term: Term | undefined
  let idle: string | undefined
  let ofWriter: Problems = new Map()
  const works: TermWork[] = []
  let current: { readonly signal: AbortSignal; readonly running: Promise<void>[] } | undefined
  const working = (async () => {
    const report = (problem: string | undefined, others: Problems): void => {
      idle = problem
      ofWriter = others
    }
    for await (const signal of options.runtime.terms(
      stop.signal,
      report,
      () =>
        new Map([
          ...works.flatMap((work) => [...work.problems()]),
          ...(term?.problems() ?? new Map<string, string>()),
        ]),
    )) {
      term = startTerm(options, signal)
      current = { signal, running: works.map((work) => work.run(signal)) }
      await term.ended
      await Promise.all(current.running)
      current = undefined
      term = undefined
    }
  })()
  return {
    // Who does not write need not know: who does hears of it from the store.
    nudge: (name) => term?.nudge(name),
    problem: (name) => (term === undefined ? ofWriter.get(name) : term.problem(name)) ?? idle,
    alongside: (work) => {
      works.push(work)
      current?.running.push(work.run(current.signal))
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await working
    },
  }
}

interface Term extends Pick<Reconciler, 'nudge' | 'problem'> {
  problems(): Problems
  readonly ended: Promise<void>
}

/**
 * Level-triggered: each look compares what is stored with what runs, and does not care what had changed. One worker per name;
 * a name that is nudged while it is worked on is looked at again, and one that waits for its next attempt is not made to wait longer. A record
 * that is gone has its workload removed, also when the gateway died between the two.
 */
function startTerm(options: ReconcilerOptions, signal: AbortSignal): Term {
  // Everything that is under way listens to it.
  setMaxListeners(0, signal)
  const { store, runtime, log, retry, workers = 16 } = options
  const keys = new Map<string, Key>()
  const queue: string[] = []
  const working = new Set<Promise<void>>()
  let again: NodeJS.Timeout | undefined

  function nudge(name: string): void {
    if (signal.aborted) return
    let key = keys.get(name)
    if (key === undefined)
      keys.set(name, (key = { queued: false, working: false, again: false, failures: 0 }))
    clearTimeout(key.retry)
    if (key.working) key.again = true
    else if (!key.queued) {
      key.queued = true
      queue.push(name)
      next()
    }
  }

  function next(): void {
    while (working.size < workers && !signal.aborted) {
      const name = queue.shift()
      const key = name === undefined ? undefined : keys.get(name)
      if (name === undefined || key === undefined) return
      const work = look(name, key).finally(() => {
        working.delete(work)
        next()
      })
      working.add(work)
    }
  }

  async function look(name: string, key: Key): Promise<void> {
    key.queued = false
    key.working = true
    key.again = false
    let exists = true
    try {
      exists = await reconcile(name)
      key.failures = 0
      delete key.problem
    } catch (error) {
      if (signal.aborted) return
      const problem = error instanceof Error ? error.message : String(error)
      if (problem !== key.problem)
        log.error({ name, err: error }, 'reconciling failed, trying again')
      key.problem = problem
      key.failures += 1
    }
    key.working = false
    if (key.again) nudge(name)
    else if (key.problem !== undefined)
      key.retry = setTimeout(nudge, backoffMs(retry, key.failures), name)
    else if (!exists) keys.delete(name)
  }

  async function reconcile(name: string): Promise<boolean> {
    const resource = await store.get(name)
    const workload = resource === undefined ? undefined : await options.render(resource)
    if (workload !== undefined) await runtime.apply(workload, signal)
    else
      for (const ref of await runtime.list(signal))
        if (ref.name === name) await runtime.remove(ref, signal)
    return resource !== undefined
  }

  async function resync(): Promise<void> {
    const names = new Set((await runtime.list(signal)).map(({ name }) => name))
    // What does not run and is not to run needs no look.
    for await (const resource of each(store)) if (runsHere(resource)) names.add(resource.name)
    for (const name of names) nudge(name)
  }

  async function* changedNames(): AsyncIterable<string> {
    for await (const { name } of store.watch(signal)) yield name
  }

  async function* usersOfChangedSecrets(): AsyncIterable<string> {
    for await (const { name } of store.secrets.watch(signal))
      for (const user of await usersOf(store, { source: 'store', name })) yield user.name
  }

  /** Until the end. A watch that breaks is begun again, and then everything is looked at, as changes may have been missed. */
  async function follow(changes: () => AsyncIterable<string>): Promise<void> {
    for (let failures = 0; !signal.aborted; failures += 1) {
      if (failures > 0) {
        await sleep(backoffMs(retry, failures), undefined, { signal }).catch(() => undefined)
        // A turn later: by then the watch below has begun.
        queueMicrotask(lookAtAll)
      }
      try {
        for await (const name of changes()) {
          failures = 0
          nudge(name)
        }
      } catch (error) {
        log.error({ err: error }, 'watching the store failed, trying again')
      }
    }
  }

  function lookAtAll(): void {
    if (signal.aborted) return
    resync().catch((error: unknown) => {
      log.error({ err: error }, 'looking at everything failed, trying again')
      clearTimeout(again)
      if (!signal.aborted) again = setTimeout(lookAtAll, retry.maxMs)
    })
  }

  const timer = setInterval(lookAtAll, options.resyncMs)
  const undrift = runtime.onDrift(nudge)
  const unsecret = options.onClusterSecret?.((secret) => {
    const users = usersOf(store, { source: 'kubernetes', name: secret })
    users.then((found) => found.forEach(({ name }) => nudge(name)), lookAtAll)
  })
  lookAtAll()
  return {
    nudge,
    problem: (name) => keys.get(name)?.problem,
    problems: () =>
      new Map(
        [...keys].flatMap(([name, { problem }]) =>
          problem === undefined ? [] : [[name, problem] as const],
        ),
      ),
    ended: Promise.all([follow(changedNames), follow(usersOfChangedSecrets)]).then(async () => {
      clearInterval(timer)
      clearTimeout(again)
      undrift()
      unsecret?.()
      for (const { retry: waiting } of keys.values()) clearTimeout(waiting)
      await Promise.all(working)
    }),
  }
}
