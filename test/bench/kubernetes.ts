import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { KubeConfig } from '@kubernetes/client-node'
import { GatewayProcess } from '@mcp-gateway/testkit'
import type { Pod } from 'kubernetes-types/core/v1.js'
import { ListWatch } from '../../packages/gateway/src/runtime/kubernetes/api/list-watch.ts'
import { createLog } from '../../packages/gateway/src/telemetry/log.ts'
import { projectImages, publishImage } from '../../scripts/images.ts'
import { TestNamespace } from '../kubernetes/fixtures/cluster.ts'
import { timed } from '../kubernetes/fixtures/figures.ts'
import { McpSession } from '../kubernetes/fixtures/traffic.ts'
import { median } from './median.ts'
import { cpuMicros, rssMb } from './processes.ts'
import { kubernetesHeading, sectionOf } from './section.ts'

/**
 * Measures the cost of the runtime on a cluster: `npm run bench:kubernetes` with KUBECONFIG and
 * REGISTRY as for `npm run test:kubernetes`. Writes its section of docs/benchmarks.md.
 */
const { values } = parseArgs({
  options: {
    adapters: { type: 'string', default: '500' },
    out: { type: 'string', default: 'docs/benchmarks.md' },
  },
})
const adapters = Number(values.adapters)
const say = (text: string): boolean => process.stderr.write(`${text}\n`)

/** The API server as the gateway sees it, with counters of its requests. */
class CountingServer implements AsyncDisposable {
  count = 0
  /** Counts the requests without those for the Lease, which never stop. */
  work = 0
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async open(): Promise<CountingServer> {
    const config = new KubeConfig()
    config.loadFromDefault()
    const credentials: RequestOptions = {}
    await config.applyToHTTPSOptions(credentials)
    const target = new URL(config.getCurrentCluster()?.server ?? '')
    const server = createServer((near, answer) => {
      counting.count += 1
      if (near.url?.includes('/leases/') !== true) counting.work += 1
      const { host: _host, ...headers } = near.headers
      const far = httpsRequest(
        {
          ...credentials,
          hostname: target.hostname,
          port: target.port,
          path: near.url,
          method: near.method,
          headers,
        },
        (response) => {
          answer.writeHead(response.statusCode ?? 502, response.headers)
          response.pipe(answer)
        },
      )
      far.on('error', () => answer.destroy())
      answer.on('close', () => far.destroy())
      near.pipe(far)
    })
    const counting = new CountingServer(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return counting
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /**
   * Waits until the gateway asks for nothing but the Lease for two seconds. Gives the time and the
   * number of requests.
   */
  async quiet(): Promise<{ readonly ms: number; readonly requests: number }> {
    const [begun, before] = [performance.now(), this.work]
    for (let [last, at] = [this.work, performance.now()]; ;) {
      await sleep(50)
      if (this.work !== last) [last, at] = [this.work, performance.now()]
      else if (performance.now() - at > 2000) return { ms: at - begun, requests: last - before }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function started(
  namespace: TestNamespace,
  server: CountingServer,
  pod: object,
): Promise<GatewayProcess> {
  const { kubernetes } = namespace.options({
    kubeconfig: namespace.kubeconfigBy(server.url),
    pod,
  }).settings
  return GatewayProcess.start({ config: { runtime: { kind: 'kubernetes', kubernetes } } })
}

const adapter = (name: string, replicaCount: number) => ({
  name,
  imageName: 'mcp-example',
  imageVersion: '1.0.0',
  replicaCount,
})

/** Measures a few adapters that run. */
async function times(): Promise<Record<string, number>> {
  await using namespace = await TestNamespace.open()
  await using server = await CountingServer.open()
  await using gateway = await started(namespace, server, {})
  const called: number[] = []
  const routable: number[] = []
  const seen = new Map<string, number>()
  await using _pods = await ListWatch.open<Pod>({
    api: namespace.api,
    path: namespace.path('/api/v1', 'pods'),
    log: createLog({ level: 'silent', format: 'json', terminal: false }),
    changed: (_before, now) => {
      const { name = '' } = now?.metadata ?? {}
      const ready =
        now?.status?.conditions?.some(
          ({ type, status }) => type === 'Ready' && status === 'True',
        ) === true
      if (ready && !seen.has(name)) seen.set(name, performance.now())
    },
  })
  for (let round = 0; round < 7; round += 1) {
    const name = `timed-${round}`
    const [ms] = await timed(async () => {
      await gateway.api('POST', '/adapters', adapter(name, 1))
      await (await McpSession.open(`${gateway.origin}/adapters/${name}/mcp`)).call('where_am_i')
    })
    called.push(ms)
    await gateway.api('PATCH', `/adapters/${name}`, { replicaCount: 2 })
    const at = await gateway
      .untilStatus(name, ({ readyReplicas }) => readyReplicas === 2, 60_000)
      .then(() => performance.now())
    routable.push(Math.max(0, at - (seen.get(`${name}-1`) ?? at)))
    await gateway.api('DELETE', `/adapters/${name}`)
    say(`round ${round}: first call ${ms} ms, routable ${routable.at(-1)?.toFixed(0)} ms`)
  }
  return {
    firstCallMs: median(called),
    routableMs: median(routable),
    routableWorstMs: Math.max(...routable),
  }
}

interface Measured {
  readonly gateway: GatewayProcess
  readonly server: CountingServer
}

/** Registers adapters of two replicas that never run. Gives the time until all are applied. */
async function registerAll(
  names: readonly string[],
  { gateway, server }: Measured,
): Promise<number> {
  const [registered] = await timed(async () => {
    const left = [...names]
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let name = left.pop(); name !== undefined; name = left.pop())
          await gateway.api('POST', '/adapters', adapter(name, 2))
      }),
    )
    await server.quiet()
  })
  for (const name of names)
    await gateway.untilStatus(
      name,
      ({ replicas }) => replicas.filter(({ reason }) => reason === 'Unschedulable').length === 2,
      300_000,
    )
  say(`${names.length} adapters registered and applied in ${registered} ms`)
  await server.quiet()
  return registered
}

/** The steady state of a minute includes one look at everything. */
async function steadyState({ gateway, server }: Measured): Promise<Record<string, number>> {
  const [cpu, asked] = [cpuMicros(gateway.pid), server.count]
  await sleep(60_000)
  const steady = {
    requests: (server.count - asked) / 60,
    cpu: (cpuMicros(gateway.pid) - cpu) / 1000,
  }
  say(
    `steady: ${steady.requests.toFixed(2)} requests/s, ${steady.cpu} ms of processor time a minute`,
  )
  return { requestsPerSecond: steady.requests, steadyCpuMs: steady.cpu }
}

async function changeEach(
  names: readonly string[],
  { gateway, server }: Measured,
): Promise<Record<string, number>> {
  const works: number[] = []
  const changes: number[] = []
  for (const name of names) {
    const before = cpuMicros(gateway.pid)
    await gateway.api('PATCH', `/adapters/${name}`, { environmentVariables: { CHANGED: 'yes' } })
    changes.push((await server.quiet()).requests)
    works.push((cpuMicros(gateway.pid) - before) / 1000)
  }
  return { changeCpuMs: median(works), changeRequests: median(changes) }
}

/** The first look after a start compares everything. */
async function lookAfterStart({ gateway, server }: Measured): Promise<Record<string, number>> {
  await gateway.end('SIGTERM')
  const before = server.work
  await gateway.startAgain()
  while (!gateway.output.includes('leading: this gateway writes')) await sleep(10)
  const { ms: resyncMs } = await server.quiet()
  const resyncRequests = server.work - before
  const resyncCpuMs = cpuMicros(gateway.pid) / 1000
  say(`looking at everything after a start: ${resyncMs} ms, ${resyncRequests} requests`)
  return { resyncMs, resyncRequests, resyncCpuMs }
}

/** Measures many adapters whose pods no node takes. */
async function scale(): Promise<Record<string, number>> {
  await using namespace = await TestNamespace.open()
  await using server = await CountingServer.open()
  await using gateway = await started(namespace, server, { nodeSelector: { 'no-such': 'node' } })
  const measured = { gateway, server }
  await server.quiet()
  const empty = rssMb(gateway.pid)

  const names = Array.from({ length: adapters }, (_, index) => `scale-${index}`)
  const registeredMs = await registerAll(names, measured)
  const memoryMb = rssMb(gateway.pid) - empty

  const steady = await steadyState(measured)
  const changed = await changeEach(names.slice(0, 10), measured)
  const looked = await lookAfterStart(measured)
  const memoryAfterStartMb = rssMb(gateway.pid) - empty
  return { registeredMs, memoryMb, memoryAfterStartMb, ...steady, ...changed, ...looked }
}

const example = projectImages.find(({ references }) => references[0] === 'mcp-example:1.0.0')
if (example !== undefined) await publishImage(example)
const figures: Record<string, number> = { ...(await times()), ...(await scale()) }
const row = (what: string, figure: string, digits: number, goal?: number): string => {
  const value = figures[figure] ?? Number.NaN
  const verdict = goal === undefined || value <= goal ? 'met' : '**not met**'
  const [bound, end] = goal === undefined ? ['', ''] : [`≤ ${goal}`, verdict]
  return `| ${what} | ${value.toFixed(digits)} | ${bound} | ${end} |`
}
const cores = `${cpus().length} cores (${cpus()[0]?.model})`
const section = `${kubernetesHeading}
\`npm run bench:kubernetes\` measures this on the cluster of KUBECONFIG and writes this section. The
cluster has one node, which shares ${cores} with the gateway and the load.
${adapters} adapters with ${2 * adapters} replicas are real objects, whose pods no node takes. Work
is the processor time of the gateway's process. A proxy between the gateway and the API server
counts the requests.

| | measured | goal | |
|---|---|---|---|
${[
  row('adapter registered to its first call answered, local image, p50 ms', 'firstCallMs', 0),
  row('pod Ready to routable, p50 ms', 'routableMs', 0, 1000),
  row('pod Ready to routable, worst, ms', 'routableWorstMs', 0, 1000),
  row('one change: work, p50 ms', 'changeCpuMs', 0, 200),
  row('one change: requests', 'changeRequests', 0),
  row('a look at everything after a start, ms', 'resyncMs', 0, 30_000),
  row('the same: requests, lists included', 'resyncRequests', 0),
  row('the same: work since the process began, ms', 'resyncCpuMs', 0),
  row('memory above empty, MB', 'memoryMb', 0, 150),
  row('memory above empty after a start, MB', 'memoryAfterStartMb', 0, 150),
  row('requests in the steady state, a second', 'requestsPerSecond', 2, 1),
  row('work in the steady state, ms a minute', 'steadyCpuMs', 0),
  row('registering all adapters until applied, ms', 'registeredMs', 0),
].join('\n')}

Until the first call, the cluster takes the time: it places the pod, asks the registry for the
image, starts the pod and probes it once a second. After a start, the gateway looks at everything
and applies it again, object by object. It waits there for the API server's answers.
`
say(section)
const page = readFileSync(values.out, 'utf8')
const before = sectionOf(values.out, kubernetesHeading)
writeFileSync(
  values.out,
  before === '' ? `${page.trimEnd()}\n\n${section}` : page.replace(before, () => section),
)
process.exit(0)
