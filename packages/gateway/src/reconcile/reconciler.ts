import { setTimeout as sleep } from 'node:timers/promises'
import type { Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { Store } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'

export interface ReconcilerOptions {
  readonly store: Store
  readonly runtime: Runtime
  readonly render: (resource: Resource) => Workload
  readonly log: Log
  /** Everything is looked at again this often, whether or not something is known to have changed. */
  readonly resyncMs: number
  readonly retry: { readonly firstMs: number; readonly maxMs: number }
}

/** Makes the runtime follow the store. */
export interface Reconciler extends AsyncDisposable {
  /** Looks at one name now. */
  nudge(name: string): void
  /** Why the last attempt for a name failed, if it did. */
  problem(name: string): string | undefined
}

interface Key {
  working: boolean
  dirty: boolean
  failures: number
  problem?: string
}

/**
 * Level-triggered: each look compares what is stored with what runs, and does not care what had changed. One worker per name;
 * a name that is nudged while it is worked on is looked at again. A record that is gone has its workload removed, also when the gateway died between the two.
 */
export async function startReconciler(options: ReconcilerOptions): Promise<Reconciler> {
  const { store, runtime, log } = options
  const stop = new AbortController()
  const { signal } = stop
  const keys = new Map<string, Key>()
  const workers = new Set<Promise<void>>()

  function nudge(name: string): void {
    if (signal.aborted) return
    const key: Key = keys.get(name) ?? { working: false, dirty: false, failures: 0 }
    keys.set(name, key)
    key.dirty = true
    if (key.working) return
    key.working = true
    const worker = work(name, key).finally(() => workers.delete(worker))
    workers.add(worker)
  }

  async function work(name: string, key: Key): Promise<void> {
    while (key.dirty && !signal.aborted) {
      key.dirty = false
      try {
        const exists = await reconcile(name)
        key.failures = 0
        delete key.problem
        if (!exists && !key.dirty) keys.delete(name)
      } catch (error) {
        if (signal.aborted) break
        const problem = error instanceof Error ? error.message : String(error)
        if (problem !== key.problem) log.error({ name, err: error }, 'reconciling failed, trying again')
        key.problem = problem
        key.failures += 1
        key.dirty = true
        await sleep(Math.min(options.retry.maxMs, options.retry.firstMs * 2 ** (key.failures - 1)), undefined, { signal }).catch(
          () => undefined,
        )
      }
    }
    key.working = false
  }

  async function reconcile(name: string): Promise<boolean> {
    const resource = await store.get(name)
    if (resource !== undefined) await runtime.apply(options.render(resource), signal)
    for (const ref of await runtime.list(signal)) {
      if (ref.name === name && ref.uid !== resource?.uid) await runtime.remove(ref, signal)
    }
    return resource !== undefined
  }

  async function resync(): Promise<void> {
    const names = new Set([...(await store.list({})), ...(await runtime.list(signal))].map(({ name }) => name))
    for (const name of names) nudge(name)
  }

  // Watching begins before the first listing, so that no change falls between the two.
  const changes = store.watch(signal)[Symbol.asyncIterator]()
  const following = (async () => {
    for (let next = await changes.next(); next.done !== true; next = await changes.next()) nudge(next.value.name)
  })()
  await resync()
  const timer = setInterval(() => {
    resync().catch((error: unknown) => log.error({ err: error }, 'resync failed'))
  }, options.resyncMs)

  return {
    nudge,
    problem: (name) => keys.get(name)?.problem,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      stop.abort()
      await Promise.all([following, ...workers])
    },
  }
}
