import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Resource } from '../core/resource.ts'
import type { Workload } from '../core/workload.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { Store } from '../store/store.ts'
import { openSqliteStore } from '../store/sqlite.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { startReconciler, type Reconciler } from './reconciler.ts'

/** A runtime that remembers its orders, and fails as often as a test wants. */
class RememberingRuntime implements Runtime {
  readonly name = 'remembering'
  readonly directory = new ReplicaDirectory()
  readonly running = new Map<string, string>()
  /** Every attempt, by name. */
  readonly applied: string[] = []
  failures = 0
  /** An attempt waits for this promise while it is set. */
  hold: Promise<void> | undefined
  /** The number of terms that end with an error before they begin, and then midway. */
  readonly broken = { terms: 0, drift: 0 }
  async *terms(signal: AbortSignal): AsyncGenerator<AbortSignal> {
    if ((this.broken.terms -= 1) >= 0) throw new Error('There is no term.')
    if (!signal.aborted) yield signal
  }
  onDrift(): () => void {
    if ((this.broken.drift -= 1) >= 0) throw new Error('Nothing tells of a drift.')
    return () => undefined
  }
  async apply({ name, uid }: Workload): Promise<void> {
    this.applied.push(name)
    await this.hold
    if (this.failures > 0) {
      this.failures -= 1
      throw new Error('It does not work yet.')
    }
    this.running.set(name, uid)
  }
  async remove({ name }: { readonly name: string }): Promise<void> {
    this.running.delete(name)
  }
  async list(): Promise<{ name: string; uid: string }[]> {
    return [...this.running].map(([name, uid]) => ({ name, uid }))
  }
  async status(): Promise<undefined> {
    return undefined
  }
  async logs(): Promise<undefined> {
    return undefined
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

let folder = ''
let store: Store
let runtime: RememberingRuntime
let reconciler: Reconciler
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcpgw-reconcile-'))
  store = openSqliteStore({ file: join(folder, 'gateway.db') })
  runtime = new RememberingRuntime()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await reconciler[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const render = async ({ kind, name, uid, generation }: Resource): Promise<Workload> => ({
  kind,
  name,
  uid,
  generation,
  image: { name: 'i', version: '1' },
  environment: {},
  replicas: 1,
  owner: '["development","alice"]',
  useWorkloadIdentity: false,
})

function start(from: Store, retry: { readonly firstMs: number; readonly maxMs: number }): void {
  // Only a test that breaks the watch may depend on the periodic look at everything.
  const options = { runtime, render, log: pino({ level: 'silent' }), resyncMs: 3_600_000, retry }
  reconciler = startReconciler({ store: from, ...options })
}

const quick = { firstMs: 5, maxMs: 50 }

test('the reconciler removes the workload of a deleted resource, and no other', async () => {
  const kept = sampleResource('kept')
  const gone = sampleResource('gone')
  await store.create(kept)
  await store.create(gone)
  start(store, quick)
  await expect.poll(() => [...runtime.running.keys()].toSorted()).toEqual(['gone', 'kept'])
  await store.delete(gone.name, gone.uid, gone.version)
  await expect.poll(() => [...runtime.running.keys()]).toEqual(['kept'])
})

test('the reconciler removes at its start what was deleted while it did not run', async () => {
  runtime.running.set('left-over', 'uid')
  start(store, quick)
  await expect.poll(() => runtime.running.size).toBe(0)
})

test('the reconciler waits the shortest time again for a name that had worked', async () => {
  const timers = vi.spyOn(globalThis, 'setTimeout')
  /** The waits before the reconciler looks at the name again, in milliseconds. */
  const waits = (): unknown[] =>
    timers.mock.calls.filter((call) => (call as unknown[])[2] === 'a').map(([, ms]) => ms)
  await store.create(sampleResource('a'))
  start(store, { firstMs: 20, maxMs: 100_000 })
  await expect.poll(() => runtime.running.has('a')).toBe(true)

  for (const failures of [3, 1]) {
    runtime.running.clear()
    runtime.failures = failures
    reconciler.nudge('a')
    await expect.poll(() => runtime.running.has('a')).toBe(true)
    expect(reconciler.problem('a')).toBeUndefined()
  }
  expect(waits()).toEqual([20, 40, 80, 20])
})

test('the reconciler looks at everything again after a watch of the store has broken', async () => {
  let breaking: (() => void) | undefined
  let watches = 0
  const broken = new Proxy(store, {
    get(target, key) {
      if (key !== 'watch') {
        const value: unknown = Reflect.get(target, key)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      }
      return async function* (signal: AbortSignal) {
        watches += 1
        if (watches > 1) return yield* target.watch(signal)
        // The watch tells nothing, and then breaks.
        await new Promise<void>((resolve) => {
          breaking = resolve
          signal.addEventListener('abort', () => resolve(), { once: true })
        })
        throw new Error('The connection broke.')
      }
    },
  })
  start(broken, quick)
  await expect.poll(() => breaking).toBeDefined()

  await store.create(sampleResource('missed'))
  await store.create(sampleResource('nudged'))
  reconciler.nudge('nudged')
  await expect.poll(() => [...runtime.running.keys()]).toEqual(['nudged'])

  breaking?.()
  await expect.poll(() => runtime.running.has('missed')).toBe(true)
})

test('the reconciler looks again at a name that changed while it was worked on, once', async () => {
  await store.create(sampleResource('a'))
  let release = (): void => undefined
  runtime.hold = new Promise((resolve) => (release = resolve))
  start(store, quick)
  await expect.poll(() => runtime.applied.length).toBe(1)
  for (let change = 0; change < 3; change += 1) reconciler.nudge('a')
  await store.create(sampleResource('b'))
  // By then the watch of the store is this far.
  await expect.poll(() => runtime.applied.includes('b')).toBe(true)
  expect(runtime.applied.filter((name) => name === 'a')).toHaveLength(1)

  runtime.hold = undefined
  release()
  await expect.poll(() => runtime.applied.filter((name) => name === 'a').length).toBe(2)
})

test('the reconciler goes on after terms that fail, and nothing of them does', async () => {
  runtime.broken.terms = 1
  runtime.broken.drift = 1
  await store.create(sampleResource('one'))
  start(store, quick)
  const signals: AbortSignal[] = []
  reconciler.alongside({
    run: async (signal) => {
      signals.push(signal)
      await aborted(signal)
    },
    problems: () => new Map(),
  })

  await expect.poll(() => [...runtime.running.keys()]).toEqual(['one'])
  expect(signals.map((signal) => signal.aborted)).toEqual([true, false])
})

test('work beside the reconciler that fails begins again, and a stop awaits it', async () => {
  let begun = 0
  let ended = 0
  start(store, quick)
  reconciler.alongside({
    run: async (signal) => {
      begun += 1
      if (begun === 1) throw new Error('It does not work yet.')
      await aborted(signal)
      await nextTurn()
      ended += 1
    },
    problems: () => new Map(),
  })

  await expect.poll(() => begun).toBe(2)
  await reconciler[Symbol.asyncDispose]()
  expect(ended).toBe(1)
})

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve())
  })
}
