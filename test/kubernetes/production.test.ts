import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import type { Pod } from 'kubernetes-types/core/v1.js'
import { parse } from 'yaml'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { Deployed } from './fixtures/deployed.ts'
import { figures, timed } from './fixtures/figures.ts'

// deploy/kubernetes/overlays/production unchanged, except for the parts of each installation:
// images, callers, the database.

const root = fileURLToPath(new URL('../..', import.meta.url))
const { REGISTRY = '' } = process.env
const rbac = '/apis/rbac.authorization.k8s.io/v1'
let namespace: TestNamespace
/**
 * The folder of the installation's own overlay, because kustomize takes no absolute path to
 * another.
 */
let folder: string
let deployed: Deployed

beforeAll(async () => {
  namespace = await TestNamespace.open()
  mkdirSync(join(root, '.cache'), { recursive: true })
  folder = mkdtempSync(join(root, '.cache/production-'))
  deployed = await Deployed.open(namespace)
  const put = (name: string, content: unknown): void =>
    writeFileSync(join(folder, name), JSON.stringify(content))
  put('mcp-gateway.yaml', {
    host: '0.0.0.0',
    publicOrigin: 'https://mcp.example.com',
    edge: { allowedHosts: ['mcpgateway-service'] },
    identity: deployed.identity,
    access: { create: { adapter: ['*'], tool: ['*'] } },
    audit: { sinks: [{ type: 'stdout' }] },
    runtime: {
      kubernetes: {
        registry: REGISTRY,
        pod: { requests: { cpu: '10m', memory: '32Mi' }, drainSeconds: 0, stopGraceSeconds: 1 },
      },
    },
  })
  const image = (name: string): object => ({
    name: `registry.example.com/${name}`,
    newName: `${REGISTRY}/${name}`,
    newTag: 'latest',
  })
  const trust = {
    name: 'NODE_EXTRA_CA_CERTS',
    value: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
  }
  const patch = {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'mcpgateway' },
    // This lets another process of the pod kill a gateway.
    spec: {
      template: {
        spec: { shareProcessNamespace: true, containers: [{ name: 'gateway', env: [trust] }] },
      },
    },
  }
  put('kustomization.yaml', {
    namespace: namespace.name,
    resources: ['../../deploy/kubernetes/overlays/production'],
    images: [image('mcp-gateway'), image('tool-gateway')],
    configMapGenerator: [
      {
        name: 'mcpgateway',
        namespace: 'adapter',
        behavior: 'replace',
        files: ['mcp-gateway.yaml'],
      },
    ],
    patches: [{ patch: JSON.stringify(patch) }],
  })
  await deployed.kubectl('apply', '-k', folder)
  await deployed.bothReady('gateway')
  await deployed.bothReady('tool-gateway')
}, 300_000)

afterAll(async () => {
  await deployed[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  },
}
const list = { jsonrpc: '2.0', id: 2, method: 'tools/list', params: {} }
const adapter = (name: string) => ({
  name,
  imageName: 'mcp-example',
  imageVersion: '1.0.0',
  description: 'test',
})

async function open(gateway: Pod, path: string): Promise<{ 'mcp-session-id': string }> {
  const { status, headers, body } = await deployed.ask(gateway, 'POST', path, initialize)
  expect({ status, body }).toMatchObject({ status: 200 })
  return { 'mcp-session-id': String(headers['mcp-session-id']) }
}

describe('the production overlay', () => {
  test('each of two gateways and tool gateways serves sessions of the other', async () => {
    const [one, two] = (await deployed.bothReady('gateway')) as [Pod, Pod]
    expect(
      (await deployed.ask(one, 'GET', '/adapters', undefined, { authorization: 'Bearer none' }))
        .status,
    ).toBe(401)
    expect((await deployed.ask(one, 'POST', '/adapters', adapter('shared'))).status).toBe(201)
    await expect
      .poll(async () => (await deployed.ask(two, 'GET', '/adapters/shared')).status)
      .toBe(200)
    for (const [first, second] of [
      [one, two],
      [two, one],
    ] as const) {
      const session = await open(first, '/adapters/shared/mcp')
      for (const each of [second, first, second])
        expect(
          await deployed.ask(each, 'POST', '/adapters/shared/mcp', list, session),
        ).toMatchObject({
          status: 200,
          body: expect.stringContaining('where_am_i'),
        })
    }
    // Some sessions live on one tool gateway, some on the other.
    const sessions = await Promise.all(Array.from({ length: 6 }, () => open(one, '/mcp')))
    for (const session of sessions)
      for (const each of [two, one])
        expect((await deployed.ask(each, 'POST', '/mcp', list, session)).status).toBe(200)
  })

  test('the gateway has the documented rights and no more, and tool gateways none', async () => {
    const page = readFileSync(join(root, 'docs/kubernetes.md'), 'utf8')
    interface Rule {
      readonly apiGroups: string[]
      readonly resources: string[]
      readonly verbs: string[]
    }
    const documented = [...page.matchAll(/```yaml\n(apiVersion: rbac[\s\S]*?)```/g)].flatMap(
      ([, role = '']) => (parse(role) as { rules: Rule[] }).rules,
    )
    const rights = (rules: readonly Rule[]): string[] =>
      rules
        .flatMap(({ apiGroups, resources, verbs }) =>
          apiGroups.flatMap((group) =>
            resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)),
          ),
        )
        .toSorted()
    const { rules } = (await namespace.get<{ rules: Rule[] }>(rbac, 'roles/mcpgateway')) ?? {
      rules: [],
    }
    expect(rights(rules)).toEqual(rights(documented))

    // Lists the rights of an account on the cluster, from any binding.
    const mayDo = async (account: string): Promise<string[]> => {
      const listed = await deployed.kubectl(
        'auth',
        'can-i',
        '--list',
        '--no-headers',
        `--as=system:serviceaccount:${namespace.name}:${account}`,
      )
      // Everybody may ask for their own rights, and read the server's description of itself.
      const lines = listed
        .split('\n')
        .filter((line) => line.trim() !== '' && !/^(selfsubject|\s)/.test(line))
      return lines
        .flatMap((line) => {
          const [, resource = '', group = '', verbs = ''] =
            /^([\w/]+)\.?(\S*) +\[\] +\[\] +\[(.*)\]$/.exec(line) ?? [line, line]
          return verbs.split(' ').map((verb) => `${verb} ${group}/${resource}`)
        })
        .toSorted()
    }
    expect(await mayDo('mcpgateway-sa')).toEqual(rights(documented))
    expect(await mayDo('toolgateway-sa')).toEqual([])
    expect(await mayDo('workload-sa')).toEqual([])

    const [toolGateway] = (await deployed.pods('tool-gateway')) as [Pod]
    expect(toolGateway.spec?.volumes?.filter(({ projected }) => projected !== undefined)).toEqual(
      [],
    )
  })
})

describe('under traffic', () => {
  test('gateways roll without a lost request or session', async () => {
    await using load = await deployed.load('rolled', 'shared')
    await load.more(1000)
    const [ms] = await timed(async () => {
      await deployed.kubectl('rollout', 'restart', 'statefulset/mcpgateway')
      await deployed.kubectl('rollout', 'status', 'statefulset/mcpgateway', '--timeout=300s')
    })
    await load.more(1000)
    const early = (await load.seen())?.requests ?? 0
    if (early < 10_000) await load.more(10_000 - early)
    const { done: _, ...seen } = await load.stop()
    figures('gateways rolled under load', { msForTwo: ms, ...seen })
    expect(seen).toMatchObject({
      lost: 0,
      sessionsEnded: 0,
      streamsCut: 0,
      streamsRefused: 0,
      draining: 0,
    })
    expect(seen.answered).toBe(seen.requests)
    expect(seen['streamsEnded']).toBeGreaterThan(0)
  }, 900_000)

  test('tool gateways roll without a lost request, and their sessions open again', async () => {
    await using load = await deployed.load('tools-rolled', 'shared')
    await load.more(500)
    await deployed.kubectl('rollout', 'restart', 'statefulset/toolgateway')
    await deployed.kubectl('rollout', 'status', 'statefulset/toolgateway', '--timeout=300s')
    await load.more(500)
    const { done: _, ...seen } = await load.stop()
    figures('tool gateways rolled under load', seen)
    expect(seen.lost, JSON.stringify(seen.faults)).toBe(0)
  }, 900_000)

  test('another gateway writes once the Lease of a killed leader has expired', async () => {
    await using load = await deployed.load('killed', 'shared')
    await load.more(500)
    const lease = await namespace.get<Lease>('/apis/coordination.k8s.io/v1', 'leases/mcp-gateway')
    const leader = (lease?.spec?.holderIdentity ?? '').replace(/_.*/, '')
    const other = (await deployed.pods('gateway')).find(
      ({ metadata }) => metadata?.name !== leader,
    ) as Pod
    await deployed.kubectl('exec', leader, '--container=gateway', '--', 'node', '-e', killGateway)
    const [ms] = await timed(async () => {
      expect((await deployed.ask(other, 'POST', '/adapters', adapter('after'))).status).toBe(201)
      await namespace.eventually(() => namespace.get('/apis/apps/v1', 'statefulsets/after'))
    })
    await load.more(1000)
    const { done: _, ...seen } = await load.stop()
    figures('leader killed under load', { msUntilWritten: ms, ...seen })
    // Each of the nine has at most one open request. A request to a closed port was not sent.
    expect(seen.lost).toBeLessThanOrEqual(9)
    expect(seen.sessionsEnded).toBe(0)
  }, 900_000)
})

const killGateway = `
  const { readdirSync, readFileSync } = require('node:fs')
  const others = readdirSync('/proc').map(Number).filter((pid) => pid > 1 && pid !== process.pid)
  for (const pid of others)
    if (readFileSync('/proc/' + pid + '/cmdline', 'latin1').includes('bundle/mcp-gateway.js'))
      process.kill(pid, 'SIGKILL')`
