import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request as send, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Lease } from 'kubernetes-types/coordination/v1.js'
import type { Pod } from 'kubernetes-types/core/v1.js'
import { parse } from 'yaml'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { figures, timed } from './fixtures/figures.ts'
import { postgresCertificate } from './fixtures/postgres-certificate.ts'

// deploy/kubernetes/overlays/production as it is, but for what each installation has to say for itself: images, who may call, the database.

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const { REGISTRY = '' } = process.env
const never = new AbortController().signal
const rbac = '/apis/rbac.authorization.k8s.io/v1'
let namespace: TestNamespace
/** Of the installation's own overlay; kustomize takes no absolute path to another. */
let folder: string
let token: string

const kubectl = async (...words: string[]): Promise<string> =>
  (await run('kubectl', ['--namespace', namespace.name, ...words], { maxBuffer: 2 ** 26 })).stdout

beforeAll(async () => {
  namespace = await TestNamespace.open()
  mkdirSync(join(root, '.cache'), { recursive: true })
  folder = mkdtempSync(join(root, '.cache/production-'))
  await openDatabase()
  const { issuer } = await namespace.api.json<{ issuer: string }>(
    'GET',
    '/.well-known/openid-configuration',
    never,
  )
  const put = (name: string, content: unknown): void =>
    writeFileSync(join(folder, name), JSON.stringify(content))
  put('mcp-gateway.yaml', {
    host: '0.0.0.0',
    publicOrigin: 'https://mcp.example.com',
    edge: { allowedHosts: ['mcpgateway-service'] },
    // The cluster is an identity provider, too: of service accounts.
    identity: {
      mode: 'oidc',
      issuers: [
        {
          preset: 'generic',
          issuer,
          jwksUri: 'https://kubernetes.default.svc/openid/v1/jwks',
          audiences: ['mcp-gateway'],
        },
      ],
    },
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
    // So that a gateway can be killed by another process of its pod.
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
  await namespace.api.json('POST', `${rbac}/clusterrolebindings`, never, {
    body: {
      metadata: { name: namespace.name },
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: 'system:service-account-issuer-discovery',
      },
      subjects: [
        { apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:unauthenticated' },
      ],
    },
  })
  await namespace.create('/api/v1', 'serviceaccounts', { metadata: { name: 'caller' } })
  const requested = await namespace.create<{ status: { token: string } }>(
    '/api/v1',
    'serviceaccounts/caller/token',
    {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: ['mcp-gateway'], expirationSeconds: 3600 },
    },
  )
  token = requested.status.token
  await kubectl('apply', '-k', folder)
  await bothReady('gateway')
  await bothReady('tool-gateway')
}, 300_000)

afterAll(async () => {
  await namespace.api.json('DELETE', `${rbac}/clusterrolebindings/${namespace.name}`, never)
  await namespace[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const securityContext = {
  runAsNonRoot: true,
  runAsUser: 1000,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
}

async function openDatabase(): Promise<void> {
  const labels = { app: 'postgres' }
  await namespace.create('/api/v1', 'pods', {
    metadata: { name: 'postgres', labels },
    spec: {
      containers: [
        {
          name: 'postgres',
          image: `${REGISTRY}/postgres:1.1.0`,
          env: [
            { name: 'TLS_KEY', value: postgresCertificate.key },
            { name: 'TLS_CERTIFICATE', value: postgresCertificate.certificate },
          ],
          securityContext,
        },
      ],
      terminationGracePeriodSeconds: 1,
    },
  })
  await namespace.create('/api/v1', 'services', {
    metadata: { name: 'postgres' },
    spec: { selector: labels, ports: [{ port: 5432 }] },
  })
  await namespace.create('/api/v1', 'secrets', {
    metadata: { name: 'mcpgateway-postgres' },
    stringData: {
      url: 'postgres://gateway:test@postgres/postgres?sslmode=verify-full&sslrootcert=/etc/postgres/ca.crt',
      'ca.crt': postgresCertificate.certificate,
    },
  })
}

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata?.deletionTimestamp === undefined &&
  status?.conditions?.some(
    (condition) => condition.type === 'Ready' && condition.status === 'True',
  ) === true
const pods = (component: string): Promise<Pod[]> =>
  namespace.list<Pod>('/api/v1', `pods?labelSelector=app.kubernetes.io/component=${component}`)
/** The pods of a component once there are two, as the autoscalers want it, and both are ready. */
const bothReady = (component: string): Promise<Pod[]> =>
  namespace.eventually(async () => {
    const found = await pods(component)
    return found.length === 2 && found.every(isReady) ? found : undefined
  }, 180_000)

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Sends a request to one of the gateways. */
function ask(
  { status }: Pod,
  method: string,
  path: string,
  body?: object,
  headers: object = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = send(
      {
        host: status?.podIP,
        port: 8000,
        method,
        path,
        headers: {
          host: 'mcpgateway-service',
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...headers,
        },
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
        )
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

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
  const { status, headers, body } = await ask(gateway, 'POST', path, initialize)
  expect({ status, body }).toMatchObject({ status: 200 })
  return { 'mcp-session-id': String(headers['mcp-session-id']) }
}

describe('the production overlay', () => {
  test('runs two gateways and two tool gateways on PostgreSQL, of which each serves the sessions that another has opened', async () => {
    const [one, two] = (await bothReady('gateway')) as [Pod, Pod]
    expect(
      (await ask(one, 'GET', '/adapters', undefined, { authorization: 'Bearer none' })).status,
    ).toBe(401)
    expect((await ask(one, 'POST', '/adapters', adapter('shared'))).status).toBe(201)
    await expect.poll(async () => (await ask(two, 'GET', '/adapters/shared')).status).toBe(200)
    for (const [first, second] of [
      [one, two],
      [two, one],
    ] as const) {
      const session = await open(first, '/adapters/shared/mcp')
      for (const each of [second, first, second])
        expect(await ask(each, 'POST', '/adapters/shared/mcp', list, session)).toMatchObject({
          status: 200,
          body: expect.stringContaining('where_am_i'),
        })
    }
    // Some are held by one tool gateway, some by the other.
    const sessions = await Promise.all(Array.from({ length: 6 }, () => open(one, '/mcp')))
    for (const session of sessions)
      for (const each of [two, one])
        expect((await ask(each, 'POST', '/mcp', list, session)).status).toBe(200)
  })

  test('lets the gateway do what the documentation says and no more, and tool gateways nothing', async () => {
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
    // What the cluster lets an account do, by whatever binding.
    const mayDo = async (account: string): Promise<string[]> => {
      const listed = await kubectl(
        'auth',
        'can-i',
        '--list',
        '--no-headers',
        `--as=system:serviceaccount:${namespace.name}:${account}`,
      )
      // What everybody may: ask for its own rights, and read what the server says of itself.
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
    const [toolGateway] = (await pods('tool-gateway')) as [Pod]
    expect(toolGateway.spec?.volumes?.filter(({ projected }) => projected !== undefined)).toEqual(
      [],
    )
  })
})

/** What the clients in the cluster have seen so far. */
interface Seen {
  readonly requests: number
  readonly answered: number
  readonly lost: number
  readonly sessionsEnded: number
  readonly faults: Readonly<Record<string, number>>
  readonly done?: true
  readonly [figure: string]: unknown
}

/** Clients in a pod, who reach the gateways through their Service. */
class Load implements AsyncDisposable {
  readonly #name: string

  private constructor(name: string) {
    this.#name = name
  }

  static async start(name: string, adapterName: string): Promise<Load> {
    const script = readFileSync(
      fileURLToPath(new URL('fixtures/load.mjs', import.meta.url)),
      'utf8',
    )
    await namespace.create('/api/v1', 'configmaps', {
      metadata: { name },
      data: { 'load.mjs': script },
    })
    const env = {
      TARGET: 'http://mcpgateway-service:8000',
      ADAPTER: adapterName,
      TOKEN: token,
      WORKERS: '9',
    }
    await namespace.create('/api/v1', 'pods', {
      metadata: { name },
      spec: {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        containers: [
          {
            name: 'load',
            image: `${REGISTRY}/mcp-gateway:latest`,
            command: ['node', '/load/load.mjs'],
            env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
            securityContext,
            volumeMounts: [{ name: 'load', mountPath: '/load' }],
          },
        ],
        volumes: [{ name: 'load', configMap: { name } }],
      },
    })
    return new Load(name)
  }

  async seen(): Promise<Seen | undefined> {
    const log = await kubectl('logs', this.#name, '--tail=1').catch(() => '')
    return log.startsWith('{') ? (JSON.parse(log) as Seen) : undefined
  }

  /** Until they have made so many requests more. */
  async more(requests: number): Promise<void> {
    const before = (await this.seen())?.requests ?? 0
    await expect
      .poll(async () => (await this.seen())?.requests ?? 0, { timeout: 400_000, interval: 500 })
      .toBeGreaterThan(before + requests)
  }

  async stop(): Promise<Seen> {
    await kubectl('exec', this.#name, '--', 'touch', '/tmp/stop')
    await expect
      .poll(async () => (await this.seen())?.done, { timeout: 90_000, interval: 500 })
      .toBe(true)
    return (await this.seen()) as Seen
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await namespace.delete('/api/v1', `pods/${this.#name}`, { gracePeriodSeconds: 0 })
  }
}

describe('under traffic', () => {
  test('gateways are rolled without a request lost or a session ended', async () => {
    await using load = await Load.start('rolled', 'shared')
    await load.more(1000)
    const [ms] = await timed(async () => {
      await kubectl('rollout', 'restart', 'statefulset/mcpgateway')
      await kubectl('rollout', 'status', 'statefulset/mcpgateway', '--timeout=300s')
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

  test('tool gateways are rolled without a request lost; their sessions are opened anew', async () => {
    await using load = await Load.start('tools-rolled', 'shared')
    await load.more(500)
    await kubectl('rollout', 'restart', 'statefulset/toolgateway')
    await kubectl('rollout', 'status', 'statefulset/toolgateway', '--timeout=300s')
    await load.more(500)
    const { done: _, ...seen } = await load.stop()
    figures('tool gateways rolled under load', seen)
    expect(seen.lost).toBe(0)
  }, 900_000)

  test('a leader that is killed loses what it had in hand, and another writes once its Lease has run out', async () => {
    await using load = await Load.start('killed', 'shared')
    await load.more(500)
    const lease = await namespace.get<Lease>('/apis/coordination.k8s.io/v1', 'leases/mcp-gateway')
    const leader = (lease?.spec?.holderIdentity ?? '').replace(/_.*/, '')
    const other = (await pods('gateway')).find(({ metadata }) => metadata?.name !== leader) as Pod
    await kubectl('exec', leader, '--container=gateway', '--', 'node', '-e', killGateway)
    const [ms] = await timed(async () => {
      expect((await ask(other, 'POST', '/adapters', adapter('after'))).status).toBe(201)
      await namespace.eventually(() => namespace.get('/apis/apps/v1', 'statefulsets/after'))
    })
    await load.more(1000)
    const { done: _, ...seen } = await load.stop()
    figures('leader killed under load', { msUntilWritten: ms, ...seen })
    // Each of the nine has one request under way at most; what meets a closed door was not sent.
    expect(seen.lost).toBeLessThanOrEqual(9)
    expect(seen.sessionsEnded).toBe(0)
  }, 900_000)
})

const killGateway = `
  const { readdirSync, readFileSync } = require('node:fs')
  for (const pid of readdirSync('/proc').filter((name) => Number(name) > 1 && Number(name) !== process.pid))
    if (readFileSync('/proc/' + pid + '/cmdline', 'latin1').includes('dist/main.js')) process.kill(Number(pid), 'SIGKILL')`
