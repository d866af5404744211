import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Adapter, Resource } from '../../packages/gateway/src/core/resource.ts'
import {
  startReconciler,
  type Reconciler,
} from '../../packages/gateway/src/reconcile/reconciler.ts'
import { renderWorkload } from '../../packages/gateway/src/reconcile/render.ts'
import type { Runtime } from '../../packages/gateway/src/runtime/runtime.ts'
import type { SecretSources } from '../../packages/gateway/src/secrets/sources.ts'
import { openStore } from '../../packages/gateway/src/store/open.ts'
import type { Store } from '../../packages/gateway/src/store/store.ts'
import { createLog } from '../../packages/gateway/src/telemetry/log.ts'
import { TestNamespace } from './fixtures/cluster.ts'
import { Wire } from './fixtures/wire.ts'

// No adapter here refers to a secret.
const render = (resource: Resource) => renderWorkload(resource, {} as SecretSources)
const dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-leader-'))
const log = createLog({ level: 'silent', format: 'json', terminal: false })
let namespace: TestNamespace
let store: Store
beforeAll(async () => {
  namespace = await TestNamespace.open()
  store = await openStore({ dataDir })
})
afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
  rmSync(dataDir, { recursive: true })
})

/** The write side of a gateway, behind a wire of its own to the cluster. */
class WriteSide implements AsyncDisposable {
  readonly wire: Wire
  readonly runtime: Runtime
  readonly #reconciler: Reconciler

  private constructor(wire: Wire, runtime: Runtime) {
    this.wire = wire
    this.runtime = runtime
    this.#reconciler = startReconciler({
      store,
      runtime,
      render,
      log,
      resyncMs: 60_000,
      retry: { firstMs: 200, maxMs: 2000 },
    })
  }

  static async open(): Promise<WriteSide> {
    const wire = await Wire.to(namespace.api.server)
    // A pause of the machine of some seconds must not end a term here.
    const settings = { kubeconfig: namespace.kubeconfigBy(wire.url), leaseSeconds: 15 }
    return new WriteSide(wire, await namespace.openRuntime(settings))
  }

  problem(name: string): string | undefined {
    return this.#reconciler.problem(name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reconciler[Symbol.asyncDispose]()
    await this.runtime[Symbol.asyncDispose]()
    await this.wire[Symbol.asyncDispose]()
  }
}

const adapter = (name: string, replicaCount = 0): Adapter => ({
  kind: 'adapter',
  name,
  uid: randomUUID(),
  version: 1,
  generation: 1,
  owner: { id: 'a', issuer: 'test' },
  createdAt: '2026-01-01T00:00:00.000Z',
  lastUpdatedAt: '2026-01-01T00:00:00.000Z',
  spec: {
    imageName: 'contract-server',
    imageVersion: '1.0.0',
    environmentVariables: { A: { value: 'b', secret: false } },
    replicaCount,
    description: '',
    useWorkloadIdentity: false,
    requiredRoles: [],
  },
})
const statefulSet = (name: string): Promise<StatefulSet | undefined> =>
  namespace.get<StatefulSet>('/apis/apps/v1', `statefulsets/${name}`)
const lease = (): Promise<Lease | undefined> =>
  namespace.get<Lease>('/apis/coordination.k8s.io/v1', 'leases/mcp-gateway')
const holder = (): Promise<string> =>
  namespace.eventually(async () => (await lease())?.spec?.holderIdentity || undefined)

describe('gateways that share a store and a cluster', () => {
  test('one gateway writes, and another takes over when it stops or is cut off', async () => {
    const first = await WriteSide.open()
    await store.create(adapter('one'))
    await namespace.eventually(() => statefulSet('one'))
    const firstHolder = await holder()

    const second = await WriteSide.open()
    await namespace.delete('/api/v1', 'services/one-service')
    await namespace.eventually(() => namespace.get('/api/v1', 'services/one-service'))
    await namespace.patch('/apis/apps/v1', 'statefulsets/one', { spec: { replicas: 3 } })
    await namespace.eventually(async () =>
      (await statefulSet('one'))?.spec?.replicas === 0 ? true : undefined,
    )
    await namespace.delete('/apis/apps/v1', 'statefulsets/one')
    await namespace.eventually(() => statefulSet('one'))
    expect(await holder()).toBe(firstHolder)

    // One gateway tells of the conflict that another has met.
    await namespace.create('/api/v1', 'services', {
      metadata: { name: 'taken-service' },
      spec: { ports: [{ port: 1 }] },
    })
    await store.create(adapter('taken'))
    await expect
      .poll(() => second.problem('taken'))
      .toMatch(/Service 'taken-service' .* was not made by this gateway/)

    await namespace.delete('/api/v1', 'services/taken-service')
    await expect.poll(() => second.problem('taken')).toBeUndefined()
    expect(await holder()).toBe(firstHolder)

    // A gateway that is cut off must stop writing before another begins.
    await first.wire.cut()
    await store.create(adapter('two'))
    await namespace.eventually(() => statefulSet('two'))
    const secondHolder = await holder()
    expect(secondHolder).not.toBe(firstHolder)

    await first.wire.mend()

    const two = (await store.get('two')) as Adapter
    await store.delete('two', two.uid, two.version)
    await namespace.eventually(async () =>
      (await statefulSet('two')) === undefined ? true : undefined,
    )
    expect(await holder()).toBe(secondHolder)

    // A gateway that stops hands over its open work.
    await second[Symbol.asyncDispose]()
    await namespace.eventually(async () => ((await holder()) === firstHolder ? true : undefined))
    await store.create(adapter('three'))
    await namespace.eventually(() => statefulSet('three'))
    await first[Symbol.asyncDispose]()
    expect((await lease())?.spec?.holderIdentity).toBe('')
  })

  test('a missing right to the Lease is reported, and nothing is written', async () => {
    await namespace.create('/api/v1', 'serviceaccounts', { metadata: { name: 'no-lease' } })
    await namespace.allow('no-lease', [
      { apiGroups: ['', 'apps', 'policy'], resources: ['*'], verbs: ['*'] },
    ])
    await using runtime = await namespace.openRuntime({
      kubeconfig: await namespace.kubeconfigOf('no-lease'),
      leaseSeconds: 4,
    })
    await using reconciler = startReconciler({
      store,
      runtime,
      render,
      log,
      resyncMs: 60_000,
      retry: { firstMs: 200, maxMs: 2000 },
    })
    await store.create(adapter('unled'))
    await expect
      .poll(() => reconciler.problem('unled'))
      .toMatch(/cannot get resource "leases".*docs\/kubernetes\.md/)
    expect(await statefulSet('unled')).toBeUndefined()
  })
})
