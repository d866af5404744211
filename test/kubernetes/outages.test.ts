import { setTimeout as sleep } from 'node:timers/promises'
import type { Pod } from 'kubernetes-types/core/v1.js'
import { GatewayProcess, skipNote } from '@mcp-gateway/testkit'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { daemonsAreHere, settled, stopDaemon } from './fixtures/daemons.ts'
import { figures, timed } from './fixtures/figures.ts'
import { McpSession, Traffic } from './fixtures/traffic.ts'

// Outages under the cluster and the gateway, with figures for docs/reliability.md.

let namespace: TestNamespace
let gateway: GatewayProcess
let config: unknown
beforeAll(async () => {
  namespace = await TestNamespace.open()
  config = {
    runtime: { kind: 'kubernetes', kubernetes: namespace.options().settings.kubernetes },
    proxy: { coldStartSeconds: 5 },
  }
  gateway = await GatewayProcess.start({ config })
  await create('steady', 2)
  await atRest()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
})

const endpoint = (name: string, at = gateway): string => `${at.origin}/adapters/${name}/mcp`
const create = async (name: string, replicaCount: number, at = gateway): Promise<void> => {
  const { status } = await at.api('POST', '/adapters', {
    name,
    imageName: 'mcp-example',
    imageVersion: '1.0.0',
    replicaCount,
  })
  expect(status).toBe(201)
}
const healthy = (name: string, at = gateway) =>
  at.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy', 120_000)
/** Waits for rest, so that no later test, in any file, meets the effects of an outage. */
const atRest = (): Promise<unknown> => Promise.all([settled(namespace), healthy('steady')])
const uidOf = async (name: string): Promise<string | undefined> =>
  (await namespace.get<Pod>('/api/v1', `pods/${name}`))?.metadata?.uid

describe('the gateway that writes', () => {
  test('another gateway follows a killed one, loses no call and does the work', async () => {
    await using second = await GatewayProcess.start({ config, dataDir: gateway.dataDir })
    expect(gateway.output).toContain('leading: this gateway writes')
    const traffic = new Traffic(endpoint('steady', second))
    await expect.poll(() => traffic.calls).toBeGreaterThan(50)
    await gateway.end('SIGKILL')
    const [ms] = await timed(async () => {
      await create('follower', 1, second)
      await namespace.eventually(() => namespace.get('/apis/apps/v1', 'statefulsets/follower'))
    })
    const met = await traffic.stop()
    await gateway.startAgain()
    figures('leader killed', { msUntilWritten: ms, ...met })
    expect([met.failures, met.ended]).toEqual([{}, 0])
    expect(second.output).toContain('leading: this gateway writes')
  })
})

const note = skipNote(
  daemonsAreHere ? undefined : 'needs the daemons of the cluster on this machine',
)

describe.skipIf(!daemonsAreHere)(`a daemon of the cluster that hangs${note}`, () => {
  afterEach(atRest)

  test('sessions survive a hanging kubelet, and new ones wait for a node', async () => {
    const session = await McpSession.open(endpoint('steady'))
    const home = await session.call('where_am_i')
    let givenUpMs = 0
    {
      using _stopped = stopDaemon('kubelet')
      ;[givenUpMs] = await timed(() =>
        gateway.untilStatus('steady', ({ readyReplicas }) => readyReplicas === 0, 120_000),
      )
      const { replicas } = await gateway.untilStatus('steady', () => true)
      expect(replicas).toMatchObject([{ reason: 'NodeLost' }, { reason: 'NodeLost' }])
      for (let count = 0; count < 20; count += 1)
        expect(await session.call('where_am_i')).toBe(home)
      await expect(McpSession.open(endpoint('steady'))).rejects.toThrow('503 no_ready_replica')
    }
    const [backMs] = await timed(async () => {
      await healthy('steady')
      await McpSession.open(endpoint('steady'))
    })
    expect(await session.call('where_am_i')).toBe(home)
    figures('kubelet stopped', { givenUpMs, backMs })
  })

  test('calls and sessions survive a minute without API server', async () => {
    const before = await Promise.all(['steady-0', 'steady-1'].map(uidOf))
    const session = await McpSession.open(endpoint('steady'))
    const home = await session.call('where_am_i')
    const traffic = new Traffic(endpoint('steady'))
    {
      using _stopped = stopDaemon('apiserver')
      await create('late', 1)
      await sleep(60_000)
      expect(await session.call('where_am_i')).toBe(home)
      await (await McpSession.open(endpoint('steady'))).call('where_am_i')
    }
    const [ms] = await timed(() => healthy('late'))
    const met = await traffic.stop()
    figures('API server stopped for a minute', { msUntilLateIsServed: ms, ...met })
    expect([met.failures, met.ended]).toEqual([{}, 0])
    expect(await session.call('where_am_i')).toBe(home)
    expect(await Promise.all(['steady-0', 'steady-1'].map(uidOf))).toEqual(before)
  })
})
