import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { skipNote } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { Deployed, type Load, type Seen } from './fixtures/deployed.ts'
import { figures, timed } from './fixtures/figures.ts'

// An hour of a platform engineer, with figures for docs/reliability.md: a release of the chart from
// installation to removal, under traffic, on full nodes and drained ones.

const run = promisify(execFile)
const chart = fileURLToPath(new URL('../../deploy/helm/mcp-gateway', import.meta.url))
const { REGISTRY = '' } = process.env
const helmless = ((): boolean => {
  try {
    execFileSync('helm', ['version'], { stdio: 'ignore' })
    return false
  } catch {
    return true
  }
})()

let namespace: TestNamespace
let deployed: Deployed
let folder: string

const helm = async (...words: string[]): Promise<string> =>
  (await run('helm', [...words, '--namespace', namespace.name], { maxBuffer: 2 ** 26 })).stdout
/** Upgrades the release, with `set` on top of its values. */
const upgrade = (...set: string[]): Promise<string> =>
  helm(
    'upgrade',
    '--install',
    'gateway',
    chart,
    '--values',
    join(folder, 'values.json'),
    ...set.flatMap((each) => ['--set', each]),
  )
const rolledOut = (): Promise<string> =>
  deployed.kubectl('rollout', 'status', 'statefulset/mcpgateway', '--timeout=240s')
const gateway = async () => {
  const [first] = await deployed.bothReady('gateway')
  if (first === undefined) throw new Error('There is no gateway.')
  return first
}
async function register(name: string, replicaCount: number, more: object = {}): Promise<void> {
  const body = { name, imageName: 'mcp-example', imageVersion: '1.0.0', replicaCount, ...more }
  expect(await deployed.ask(await gateway(), 'POST', '/adapters', body)).toMatchObject({
    status: 201,
  })
}
const statusOf = async (name: string): Promise<string> =>
  (await deployed.ask(await gateway(), 'GET', `/adapters/${name}/status`)).body
/** Gives the clients' counts from before some work until after it. */
async function during(name: string, work: (load: Load) => Promise<unknown>): Promise<Seen> {
  await using load = await deployed.load(name, 'steady')
  await load.more(500)
  await work(load)
  await load.more(500)
  return await load.stop()
}

beforeAll(async () => {
  if (helmless) return
  namespace = await TestNamespace.open()
  folder = mkdtempSync(join(tmpdir(), 'mcpgw-platform-'))
  deployed = await Deployed.open(namespace)
  const kubernetes = {
    registry: REGISTRY,
    pod: { requests: { cpu: '10m', memory: '32Mi' }, drainSeconds: 3, stopGraceSeconds: 1 },
    overrides: [
      { name: 'full', requests: { cpu: '300m' } },
      { name: 'crumbs', requests: { cpu: '30m' } },
    ],
  }
  const values = {
    image: { registry: REGISTRY, tag: 'latest' },
    configuration: {
      publicOrigin: 'https://mcp.example.com',
      identity: deployed.identity,
      access: { create: { adapter: ['*'], tool: ['*'] } },
      runtime: { maxReplicas: 40, kubernetes },
    },
    gateway: {
      env: [
        {
          name: 'NODE_EXTRA_CA_CERTS',
          value: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
        },
      ],
    },
  }
  writeFileSync(join(folder, 'values.json'), JSON.stringify(values))
})
afterAll(async () => {
  if (helmless) return
  await deployed[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

describe.skipIf(helmless)(
  `a release of the chart${skipNote(helmless ? 'needs helm' : undefined)}`,
  () => {
    test('a release installs, tests itself, and serves an adapter', async () => {
      const [installMs, notes] = await timed(() => upgrade())
      expect(notes).toContain(`helm test gateway -n ${namespace.name}`)
      const [readyMs] = await timed(() => deployed.bothReady('gateway'))
      await deployed.bothReady('tool-gateway')
      expect(await helm('test', 'gateway')).toMatch(/Phase:\s+Succeeded/)
      const [servedMs] = await timed(async () => {
        await register('steady', 2)
        await expect.poll(() => statusOf('steady')).toContain('"replicaStatus":"Healthy"')
      })
      figures('chart installed', { installMs, readyMs, servedMs })
    })

    test('a release is upgraded and rolled back under traffic without a lost request', async () => {
      let upgradedMs = 0
      let backMs = 0
      const seen = await during('upgraded', async (load) => {
        ;[upgradedMs] = await timed(async () => {
          await upgrade('configuration.proxy.coldStartSeconds=30')
          await rolledOut()
        })
        await load.more(300)
        ;[backMs] = await timed(async () => {
          await helm('rollback', 'gateway')
          await rolledOut()
        })
      })
      figures('chart upgraded and rolled back', { upgradedMs, backMs, ...seen })
      // Tool gateways change too, and they hold the sessions of `/mcp`.
      expect(seen.lost, JSON.stringify(seen.faults)).toBe(0)
    }, 600_000)

    test('a release with a missing image stops at its first gateway, and heals', async () => {
      let toldMs = 0
      let healedMs = 0
      const seen = await during('bad-image', async (load) => {
        ;[toldMs] = await timed(async () => {
          await upgrade('image.tag=no-such-version')
          await expect
            .poll(async () => JSON.stringify(await deployed.pods('gateway')), { timeout: 120_000 })
            .toMatch(/ErrImagePull|ImagePullBackOff/)
        })
        await load.more(300)
        ;[healedMs] = await timed(async () => {
          await helm('rollback', 'gateway')
          await rolledOut()
          await deployed.bothReady('gateway')
        })
      })
      figures('chart upgraded to a bad image, and rolled back', { toldMs, healedMs, ...seen })
      expect(seen.lost, JSON.stringify(seen.faults)).toBe(0)
    }, 600_000)

    test('a release rolls its gateways on a full node ahead of adapters', async () => {
      // The pods need more than any node has room for, first in large pieces and then in small
      // ones.
      await register('full', 32)
      await expect.poll(() => statusOf('full'), { timeout: 120_000 }).toContain('Unschedulable')
      await register('crumbs', 20)
      await expect.poll(() => statusOf('crumbs'), { timeout: 120_000 }).toContain('Unschedulable')
      let rolledMs = 0
      const seen = await during('full-node', async () => {
        ;[rolledMs] = await timed(async () => {
          await deployed.kubectl('rollout', 'restart', 'statefulset/mcpgateway')
          await rolledOut()
          await deployed.bothReady('gateway')
        })
      })
      figures('gateways rolled on a full node', { rolledMs, ...seen })
      for (const name of ['full', 'crumbs'])
        expect(await deployed.ask(await gateway(), 'DELETE', `/adapters/${name}`)).toMatchObject({
          status: 204,
        })
      await expect.poll(() => deployed.kubectl('get', 'pods', '-o=name')).not.toMatch(/full|crumbs/)
      // A pod of an adapter may have given way, with its sessions.
      expect(seen.lost, JSON.stringify(seen.faults)).toBe(0)
    }, 600_000)

    test('a release outlives the drain of a node without a lost request', async () => {
      const { spec: { nodeName = '' } = {} } = await gateway()
      // The clients and the database belong to the test, so the drain leaves them out.
      const words = ['--ignore-daemonsets', '--delete-emptydir-data', '--timeout=40s']
      const selector = '--pod-selector=app.kubernetes.io/name,app.kubernetes.io/component'
      let drainedMs = 0
      let healedMs = 0
      const seen = await during('drained', async () => {
        try {
          ;[drainedMs] = await timed(() =>
            deployed.kubectl('drain', nodeName, selector, ...words).catch((error: Error) => error),
          )
        } finally {
          await deployed.kubectl('uncordon', nodeName)
        }
        ;[healedMs] = await timed(async () => {
          await deployed.bothReady('gateway')
          await deployed.bothReady('tool-gateway')
          await expect.poll(() => statusOf('steady')).toContain('"replicaStatus":"Healthy"')
        })
      })
      figures('node drained', { drainedMs, healedMs, ...seen })
      expect(seen.lost, JSON.stringify(seen.faults)).toBe(0)
    }, 600_000)

    test('a release is uninstalled, and the commands of its notes remove the rest', async () => {
      const notes = await helm('get', 'notes', 'gateway')
      const commands = [...notes.matchAll(/^ {2}kubectl (-n \S+ delete .*)$/gm)].map(
        ([, words = '']) => words.split(' '),
      )
      const left = (): Promise<string> =>
        deployed.kubectl('get', 'statefulset,service,secret,lease,poddisruptionbudget', '-o=name')
      await helm('uninstall', 'gateway', '--wait')

      // The adapter runs on.
      expect(await left()).toContain('statefulset.apps/steady')
      expect(commands).toHaveLength(3)
      for (const words of commands) await run('kubectl', words)
      // These two belong to the test.
      expect((await left()).trim().split('\n').toSorted()).toEqual([
        'secret/mcpgateway-postgres',
        'service/postgres',
      ])
      await expect.poll(() => deployed.kubectl('get', 'pods', '-o=name')).not.toContain('steady')
    })
  },
)
