import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { Pod, ResourceQuota } from 'kubernetes-types/core/v1.js'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.js'
import type { PolicyRule } from 'kubernetes-types/rbac/v1.js'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { Workload, WorkloadStatus } from '../../packages/gateway/src/core/workload.ts'
import type { Runtime } from '../../packages/gateway/src/runtime/runtime.ts'
import { TestNamespace } from './fixtures/cluster.ts'
import { Wire } from './fixtures/wire.ts'

const signal = new AbortController().signal
let namespace: TestNamespace
const runtimes: Runtime[] = []
beforeAll(async () => {
  namespace = await TestNamespace.open()
})
afterEach(async () => {
  for (const runtime of runtimes.splice(0)) {
    for (const ref of await runtime.list(signal)) await runtime.remove(ref, signal)
    await runtime[Symbol.asyncDispose]()
  }
})
afterAll(() => namespace[Symbol.asyncDispose]())

const open = async (...settings: Parameters<TestNamespace['openRuntime']>): Promise<Runtime> => {
  const runtime = await namespace.openRuntime(...settings)
  runtimes.push(runtime)
  return runtime
}
const workload = (changes: Partial<Workload> = {}): Workload => ({
  kind: 'adapter',
  name: `w-${randomUUID().slice(0, 8)}`,
  uid: randomUUID(),
  generation: 1,
  image: { name: 'contract-server', version: '1.0.0' },
  environment: { GREETING: 'hello' },
  replicas: 1,
  owner: '["development","alice"]',
  useWorkloadIdentity: false,
  ...changes,
})
const until = (
  runtime: Runtime,
  name: string,
  wanted: (status: WorkloadStatus) => boolean,
): Promise<WorkloadStatus> =>
  namespace.eventually(async () => {
    const status = await runtime.status(name)
    return status !== undefined && wanted(status) ? status : undefined
  })
const ready = ({ conditions }: WorkloadStatus): boolean =>
  conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
const readyMessage = ({ conditions }: WorkloadStatus): string =>
  conditions
    .filter(({ type }) => type === 'Ready')
    .map(({ reason, message, output = '', internals = '' }) =>
      [`${reason}: ${message}`, output, internals].join(' '),
    )[0] ?? ''

/** Every object of our kinds, by kind and name. */
async function inventory(name: string): Promise<Record<string, ObjectMeta>> {
  const kinds = [
    ['/apis/apps/v1', 'statefulsets'],
    ['/api/v1', 'services'],
    ['/api/v1', 'secrets'],
    ['/api/v1', 'pods'],
    ['/apis/policy/v1', 'poddisruptionbudgets'],
  ] as const
  const lists = await Promise.all(
    kinds.map(([group, kind]) => namespace.list<{ metadata: ObjectMeta }>(group, kind)),
  )
  const all = lists.flatMap((items, index) =>
    items.map(({ metadata }) => [`${kinds[index]?.[1]}/${metadata.name}`, metadata] as const),
  )
  return Object.fromEntries(all.filter(([key]) => key.includes(name)))
}

describe('a workload on a cluster', () => {
  test('a workload has the documented objects, and none after its removal', async () => {
    const runtime = await open()
    const wanted = workload({ replicas: 2 })
    const { name } = wanted
    await runtime.apply(wanted, signal)
    await until(runtime, name, ready)
    expect(Object.keys(await inventory(name)).toSorted()).toEqual([
      `poddisruptionbudgets/${name}`,
      `pods/${name}-0`,
      `pods/${name}-1`,
      `secrets/${name}-environment`,
      `services/${name}-service`,
      `statefulsets/${name}`,
    ])
    await runtime.apply({ ...wanted, generation: 2, replicas: 1, environment: {} }, signal)
    await until(runtime, name, (status) => status.observedGeneration === 2 && ready(status))
    expect(Object.keys(await inventory(name)).toSorted()).toEqual([
      `pods/${name}-0`,
      `services/${name}-service`,
      `statefulsets/${name}`,
    ])
    await runtime.remove(wanted, signal)
    expect(await inventory(name)).toEqual({})
  })

  test('a workload goes with its pods, also when its StatefulSet alone was deleted', async () => {
    const runtime = await open()
    const wanted = workload({ environment: {} })
    const { name } = wanted
    await runtime.apply(wanted, signal)
    await until(runtime, name, ready)
    await namespace.delete('/apis/apps/v1', `statefulsets/${name}`, { propagationPolicy: 'Orphan' })
    await namespace.eventually(async () =>
      (await namespace.get('/apis/apps/v1', `statefulsets/${name}`)) === undefined
        ? true
        : undefined,
    )
    await expect
      .poll(() => runtime.directory.get(name)?.replicas.map(({ phase, path }) => [phase, path]))
      .toEqual([['ready', '/mcp']])
    await runtime.remove(wanted, signal)
    expect(await inventory(name)).toEqual({})
  })

  test('A19: pods have no token, no rights, and nothing to write to but /tmp', async () => {
    const runtime = await open()
    const wanted = workload({ environment: {} })
    await runtime.apply(wanted, signal)
    await until(runtime, wanted.name, ready)
    const pod = await namespace.get<Pod>('/api/v1', `pods/${wanted.name}-0`)
    expect(pod?.spec?.volumes?.map(({ name }) => name)).toEqual(['tmp'])
    expect(pod?.spec?.containers[0]?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  })

  test('the logs are those of the container, whatever others put into the pod', async () => {
    const runtime = await open()
    const wanted = workload({ environment: {} })
    await runtime.apply(wanted, signal)
    await until(runtime, wanted.name, ready)
    const pod = await namespace.get<Pod>('/api/v1', `pods/${wanted.name}-0`)
    const { image, securityContext } = pod?.spec?.containers[0] ?? {}
    const helper = {
      name: 'helper',
      image,
      securityContext,
      command: ['node', '-e', 'console.log("from beside")'],
    }
    await namespace.patch('/api/v1', `pods/${wanted.name}-0/ephemeralcontainers`, {
      spec: { ephemeralContainers: [helper] },
    })
    const lines = async (container: string): Promise<string[] | undefined> => {
      const found = await runtime.logs(
        wanted,
        { replica: 0, tail: 10, follow: false, previous: false, container },
        signal,
      )
      if (found === undefined) return undefined
      const told: string[] = []
      for await (const line of found) told.push(line)
      return told
    }
    await expect.poll(() => lines('helper')).toEqual(['from beside'])
    expect(await lines('nobody')).toBeUndefined()
  })

  test('values with signs of shells and of Kubernetes arrive as they are', async () => {
    const runtime = await open()
    const environment = {
      A: '$(HOME) $HOME `x` "y"\n\'z\' é',
      'dotted.name-1': 'x',
      HOME: '/data',
      PORT: '1',
    }
    const wanted = workload({ environment })
    await runtime.apply(wanted, signal)
    await until(runtime, wanted.name, ready)
    const origin = runtime.directory.get(wanted.name)?.replicas[0]?.origin
    const said = (await (await fetch(`${origin}/`)).json()) as {
      environment: Record<string, string>
    }
    expect(said.environment).toMatchObject({ ...environment, PORT: '8000' })
  })

  test('an address may come from the cluster’s DNS, with a port of its own', async () => {
    const runtime = await open({ address: 'dns', pod: { port: 9000 } })
    const wanted = workload()
    await runtime.apply(wanted, signal)
    await until(runtime, wanted.name, ready)
    const { name } = wanted
    expect(runtime.directory.get(name)?.replicas[0]?.origin).toBe(
      `http://${name}-0.${name}-service.${namespace.name}.svc.cluster.local:9000`,
    )
  })

  test('a changed path restarts nothing, and the directory has it', async () => {
    const wanted = workload()
    const first = await open()
    await first.apply(wanted, signal)
    await until(first, wanted.name, ready)
    const before = await namespace.get<Pod>('/api/v1', `pods/${wanted.name}-0`)
    const second = await open({ pod: { path: '/other' } })
    await second.apply(wanted, signal)
    await expect.poll(() => second.directory.get(wanted.name)?.replicas[0]?.path).toBe('/other')
    expect((await namespace.get<Pod>('/api/v1', `pods/${wanted.name}-0`))?.metadata?.uid).toBe(
      before?.metadata?.uid,
    )
  })

  test('another gateway knows of a workload at once', async () => {
    const [first, second] = [await open(), await open()]
    const wanted = workload()
    await first.apply(wanted, signal)
    for (const each of [first, second]) await until(each, wanted.name, ready)
    const third = await open()
    expect(third.directory.get(wanted.name)).toEqual(first.directory.get(wanted.name))
    expect(await third.status(wanted.name)).toEqual(await first.status(wanted.name))
  })

  test('changes by hand are put right, and deleted objects are created again', async () => {
    const runtime = await open()
    const wanted = workload()
    const { name } = wanted
    await runtime.apply(wanted, signal)
    await until(runtime, name, ready)
    await namespace.patch('/apis/apps/v1', `statefulsets/${name}`, {
      spec: { replicas: 3, template: { spec: { terminationGracePeriodSeconds: 2 } } },
    })
    await namespace.patch('/api/v1', `services/${name}-service`, {
      spec: { selector: { app: 'mine' } },
    })
    await namespace.delete('/api/v1', `secrets/${name}-environment`)
    await namespace.eventually(async () => {
      await runtime.apply(wanted, signal)
      const statefulSet = await namespace.get<StatefulSet>('/apis/apps/v1', `statefulsets/${name}`)
      const service = await namespace.get<{ spec: { selector: object } }>(
        '/api/v1',
        `services/${name}-service`,
      )
      const secret = await namespace.get('/api/v1', `secrets/${name}-environment`)
      const right =
        statefulSet?.spec?.replicas === 1 &&
        statefulSet.spec.template.spec?.terminationGracePeriodSeconds === 1
      return right && secret !== undefined && JSON.stringify(service?.spec.selector).includes(name)
        ? true
        : undefined
    })
    await until(runtime, name, ready)
    await namespace.delete('/apis/apps/v1', `statefulsets/${name}`)
    await namespace.eventually(async () => {
      await runtime.apply(wanted, signal)
      return namespace.get('/apis/apps/v1', `statefulsets/${name}`)
    })
    await until(runtime, name, ready)
  })

  test('a restart by kubectl stays, and so does one of the gateway', async () => {
    const runtime = await open()
    const wanted = workload({ restartedAt: '2026-01-02T03:04:05.678Z' })
    const { name } = wanted
    const template = async () =>
      (await namespace.get<StatefulSet>('/apis/apps/v1', `statefulsets/${name}`))?.spec?.template
        .metadata
    const podUid = async () =>
      (await namespace.get<Pod>('/api/v1', `pods/${name}-0`))?.metadata?.uid
    await runtime.apply(wanted, signal)
    await until(runtime, name, ready)
    const first = await podUid()
    const byHand = {
      'kubectl.kubernetes.io/restartedAt': '2026-02-03T04:05:06Z',
      'adapter/restarted-at': null,
    }
    await namespace.patch('/apis/apps/v1', `statefulsets/${name}`, {
      spec: { template: { metadata: { annotations: byHand } } },
    })
    const rolled = await namespace.eventually(async () => {
      await runtime.apply(wanted, signal)
      const status = await runtime.status(name)
      const uid = await podUid()
      const settled =
        status !== undefined &&
        ready(status) &&
        (await template())?.annotations?.['adapter/restarted-at'] !== undefined
      return uid !== undefined && uid !== first && settled ? uid : undefined
    })
    await runtime.apply({ ...wanted, generation: 2 }, signal)
    await until(runtime, name, (status) => status.observedGeneration === 2 && ready(status))
    expect((await template())?.annotations).toMatchObject({
      'kubectl.kubernetes.io/restartedAt': '2026-02-03T04:05:06Z',
      'adapter/restarted-at': '2026-01-02T03:04:05.678Z',
    })
    expect(await podUid()).toBe(rolled)
  })

  test('applying an unchanged workload asks nothing of the cluster', async () => {
    const runtime = await open()
    const wanted = workload()
    await runtime.apply(wanted, signal)
    await until(runtime, wanted.name, ready)
    await runtime.apply(wanted, signal)
    // The runtime sends no request with such a signal.
    await expect(runtime.apply(wanted, AbortSignal.abort())).resolves.toBeUndefined()
    await expect(runtime.apply({ ...wanted, generation: 2 }, AbortSignal.abort())).rejects.toThrow(
      'aborted',
    )
  })
})

describe('objects of others', () => {
  const foreign = [
    [
      'StatefulSet',
      '/apis/apps/v1',
      'statefulsets',
      '',
      {
        serviceName: 'x',
        selector: { matchLabels: { a: 'b' } },
        template: {
          metadata: { labels: { a: 'b' } },
          spec: { containers: [{ name: 'c', image: 'i' }] },
        },
        replicas: 0,
      },
    ],
    ['Service', '/api/v1', 'services', '-service', { ports: [{ port: 1 }] }],
    ['Secret', '/api/v1', 'secrets', '-environment', undefined],
    [
      'PodDisruptionBudget',
      '/apis/policy/v1',
      'poddisruptionbudgets',
      '',
      { minAvailable: 1, selector: { matchLabels: { a: 'b' } } },
    ],
  ] as const

  test.each(foreign)(
    'A3, A4: a %s of the same name is neither taken over, nor changed, nor deleted',
    async (kind, group, plural, suffix, spec) => {
      const runtime = await open()
      const wanted = workload({ replicas: 2 })
      const objectName = `${wanted.name}${suffix}`
      // The object may even bear the original's labels.
      const labels = { 'adapter/type': 'mcp', 'adapter/name': wanted.name }
      const body = {
        metadata: { name: objectName, labels },
        ...(spec === undefined ? { stringData: { A: 'b' } } : { spec }),
      }
      const before = await namespace.create<{ metadata: ObjectMeta }>(group, plural, body)
      await expect(runtime.apply(wanted, signal)).rejects.toThrow(
        new RegExp(`${kind} '${objectName}' .* was not made by this gateway`),
      )
      await runtime.remove(wanted, signal)
      const after = await inventory(wanted.name)
      expect(Object.keys(after)).toEqual([`${plural}/${objectName}`])
      expect(after[`${plural}/${objectName}`]?.uid).toBe(before.metadata.uid)
      expect(
        after[`${plural}/${objectName}`]?.managedFields?.map(({ manager }) => manager),
      ).not.toContain('mcp-gateway')
      expect(await runtime.status(wanted.name)).toBeUndefined()
      await namespace.delete(group, `${plural}/${objectName}`)
      await runtime.apply(wanted, signal)
      await until(runtime, wanted.name, ready)
    },
  )

  test('workloads of another installation are neither listed nor removed', async () => {
    const [blue, green] = [
      await open({ installation: 'blue' }),
      await open({ installation: 'green' }),
    ]
    const wanted = workload()
    await blue.apply(wanted, signal)
    await until(blue, wanted.name, ready)
    expect(await green.list(signal)).toEqual([])
    expect(green.directory.get(wanted.name)).toBeUndefined()
    await green.remove(wanted, signal)
    await expect(green.apply({ ...wanted, uid: randomUUID() }, signal)).rejects.toThrow(
      /was not made by this gateway/,
    )
    expect(ready((await blue.status(wanted.name)) as WorkloadStatus)).toBe(true)
  })
})

describe('refusals of the cluster', () => {
  test('an exceeded quota shows in the cluster’s words, and heals with room', async () => {
    await using wire = await Wire.to(namespace.api.server)
    await using another = await namespace.openRuntime({
      kubeconfig: namespace.kubeconfigBy(wire.url),
    })
    const runtime = await open()
    await namespace.create('/api/v1', 'resourcequotas', {
      metadata: { name: 'tight' },
      spec: { hard: { pods: '1' } },
    })
    // From then on the quota counts pods.
    await namespace.eventually(
      async () =>
        (await namespace.get<ResourceQuota>('/api/v1', 'resourcequotas/tight'))?.status?.hard,
    )
    const wanted = workload({ replicas: 2 })
    await runtime.apply(wanted, signal)
    const status = await until(runtime, wanted.name, (each) =>
      readyMessage(each).includes('exceeded quota'),
    )
    expect(readyMessage(status)).toMatch(/^FailedCreate: .*exceeded quota: tight/)
    expect(status.replicas.map(({ phase }) => phase).toSorted()).toContain('pending')

    await until(another, wanted.name, (each) => readyMessage(each).includes('exceeded quota'))
    await wire.cut()
    expect(readyMessage((await another.status(wanted.name)) as WorkloadStatus)).toMatch(
      /^Unknown: .*The API server at .* cannot be reached/,
    )

    await namespace.delete('/api/v1', 'resourcequotas/tight')
    await until(runtime, wanted.name, ready)
  })

  test('the status says why no node takes a pod', async () => {
    const runtime = await open({ pod: { nodeSelector: { 'no-such': 'node' } } })
    const wanted = workload()
    await runtime.apply(wanted, signal)
    const status = await until(runtime, wanted.name, (each) =>
      readyMessage(each).startsWith('Unschedulable'),
    )
    expect(readyMessage(status)).toMatch(/didn't match Pod's node affinity\/selector/)
  })

  test('a missing namespace is named, and the workload heals once it exists', async () => {
    const runtime = await open({ namespace: `${namespace.name}-later` })
    const wanted = workload()
    await expect(runtime.apply(wanted, signal)).rejects.toThrow(
      /namespaces "mcpgw-test-.*-later" not found/,
    )
    await namespace.api.json('POST', '/api/v1/namespaces', signal, {
      body: { metadata: { name: `${namespace.name}-later` } },
    })
    await namespace.eventually(() =>
      runtime
        .apply(wanted, signal)
        .then(() => true)
        .catch(() => undefined),
    )
    await until(runtime, wanted.name, ready)
    await namespace.api.json('DELETE', `/api/v1/namespaces/${namespace.name}-later`, signal)
  })

  test('the documented rights are enough, and a missing one is named', async () => {
    const page = readFileSync(
      fileURLToPath(new URL('../../docs/kubernetes.md', import.meta.url)),
      'utf8',
    )
    const role = parse(/```yaml\n(apiVersion: rbac[\s\S]*?)```/.exec(page)?.[1] ?? '') as {
      rules: PolicyRule[]
    }
    const bind = async (name: string, rules: readonly PolicyRule[]): Promise<string> => {
      await namespace.create('/api/v1', 'serviceaccounts', { metadata: { name } })
      await namespace.allow(name, rules)
      return namespace.kubeconfigOf(name)
    }
    const wanted = workload({ replicas: 2 })
    const allowed = await open({ kubeconfig: await bind('allowed', role.rules) })
    for await (const term of allowed.terms(
      signal,
      () => undefined,
      () => new Map(),
    )) {
      expect(term.aborted).toBe(false)
      break
    }
    await allowed.apply(wanted, signal)
    await until(allowed, wanted.name, ready)
    for await (const line of (await allowed.logs(
      wanted,
      { replica: 0, tail: 1, follow: false, previous: false },
      signal,
    )) ?? [])
      expect(line).toBeDefined()

    await allowed.apply({ ...wanted, generation: 2, replicas: 1 }, signal)
    await allowed.remove(wanted, signal)
    expect(await inventory(wanted.name)).toEqual({})

    const readOnly = role.rules.map((rule) => ({ ...rule, verbs: ['get', 'list', 'watch'] }))
    const looking = await open({ kubeconfig: await bind('looking', readOnly) })
    await expect(looking.apply(wanted, signal)).rejects.toThrow(
      /cannot patch resource "secrets".*docs\/kubernetes\.md/,
    )

    const blind = await bind(
      'blind',
      readOnly.filter(({ resources }) => resources?.includes('pods') !== true),
    )
    await expect(open({ kubeconfig: blind })).rejects.toThrow(
      /cannot list resource "pods".*docs\/kubernetes\.md/,
    )
  })

  test('a wrong kubeconfig says what is wrong with it', async () => {
    await expect(open({ kubeconfig: '/no/such/kubeconfig' })).rejects.toThrow(
      /kubeconfig cannot be read: .*no such file/,
    )
    await expect(open({ context: 'nowhere' })).rejects.toThrow(/no context 'nowhere'/)
  })
})
