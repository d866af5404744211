import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Event, Pod } from 'kubernetes-types/core/v1.js'
import type { AdapterStatus } from '@mcp-gateway/contract'
import { GatewayProcess } from '@mcp-gateway/testkit'
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernTransport,
} from '@modelcontextprotocol/client'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestNamespace } from './fixtures/cluster.ts'
import { Wire } from './fixtures/wire.ts'

let namespace: TestNamespace
let wire: Wire
let gateway: GatewayProcess
let folder: string
beforeAll(async () => {
  namespace = await TestNamespace.open()
  wire = await Wire.to(namespace.api.server)
  const { kubernetes } = namespace.options({
    kubeconfig: namespace.kubeconfigBy(wire.url),
  }).settings
  folder = mkdtempSync(join(tmpdir(), 'mcpgw-declared-'))
  gateway = await GatewayProcess.start({
    config: {
      runtime: { kind: 'kubernetes', kubernetes },
      declared: { team: { folder, pollSeconds: 0.1, emptyPrunes: true } },
    },
  })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await wire[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const adapter = (name: string, more: object = {}) => ({
  name,
  imageName: 'mcp-example',
  imageVersion: '1.0.0',
  description: 'test',
  ...more,
})
const healthy = (name: string) =>
  gateway.untilStatus(name, ({ replicaStatus }) => replicaStatus === 'Healthy', 120_000)
const endpoint = (name: string): URL => new URL(`${gateway.origin}/adapters/${name}/mcp`)

async function connected(name: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(
    new StreamableHTTPClientTransport(endpoint(name)) as Parameters<Client['connect']>[0],
  )
  return client
}
const text = (result: unknown): string | undefined =>
  (result as { content: { text: string }[] }).content[0]?.text
const whereAmI = async (client: Pick<Client, 'callTool'>): Promise<string | undefined> =>
  text(await client.callTool({ name: 'where_am_i', arguments: {} }))
const objects = async (): Promise<unknown[]> => {
  const selector = '?labelSelector=app.kubernetes.io/managed-by=mcp-gateway'
  const kinds = [
    ['/apis/apps/v1', 'statefulsets'],
    ['/api/v1', 'services'],
    ['/api/v1', 'secrets'],
    ['/api/v1', 'pods'],
  ] as const
  return (
    await Promise.all(kinds.map(([group, kind]) => namespace.list(group, `${kind}${selector}`)))
  ).flat()
}

describe('a gateway on a cluster', () => {
  test('a gateway serves clients of both eras, rolls, and leaves nothing behind', async () => {
    const created = await gateway.api(
      'POST',
      '/adapters',
      adapter('story', { environmentVariables: { GREETING: 'hello' } }),
    )
    expect(created.status).toBe(201)

    // The client calls before the adapter is ready: the call waits.
    const client = await connected('story')
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['add', 'where_am_i'])
    expect(text(await client.callTool({ name: 'add', arguments: { a: 2, b: 40 } }))).toBe('42')
    expect(await whereAmI(client)).toBe('story-0')

    const modern = new ModernClient({ name: 'test', version: '1.0.0' })
    await modern.connect(new ModernTransport(endpoint('story')))
    expect(await whereAmI(modern as unknown as Client)).toBe('story-0')

    await modern.close()

    expect(await healthy('story')).toMatchObject({
      image: 'mcp-example:1.0.0',
      readyReplicas: 1,
      replicas: [{ name: 'story-0', phase: 'ready' }],
    })

    const logs = async (): Promise<unknown> =>
      (await gateway.api('GET', '/adapters/story/logs?tail=5')).body
    await expect.poll(logs).toContain('mcp-example listens on 0.0.0.0:8000')

    const before = await namespace.get<Pod>('/api/v1', 'pods/story-0')
    expect(
      (await gateway.api('PATCH', '/adapters/story', { description: 'changes nothing that runs' }))
        .status,
    ).toBe(200)
    expect(
      (await gateway.api('PUT', '/adapters/story', adapter('story', { replicaCount: 2 }))).status,
    ).toBe(200)

    await gateway.untilStatus(
      'story',
      ({ generation, replicaStatus, updatedReplicas }) =>
        generation === 2 && replicaStatus === 'Healthy' && updatedReplicas === 2,
      120_000,
    )
    expect((await namespace.get<Pod>('/api/v1', 'pods/story-0'))?.metadata?.uid).not.toBe(
      before?.metadata?.uid,
    )

    await client.close()
    expect((await gateway.api('DELETE', '/adapters/story')).status).toBe(204)

    await namespace.eventually(async () => ((await objects()).length === 0 ? true : undefined))
  })

  test('a declared adapter runs, and events report its changes and mistakes', async () => {
    const events = async (): Promise<string[]> =>
      (await namespace.list<Event>('/api/v1', 'events'))
        .filter(({ source }) => source?.component === 'mcp-gateway')
        .map(({ type, reason, involvedObject }) => `${type} ${reason} ${involvedObject.name}`)
    const file = join(folder, 'servers.yaml')
    const document = JSON.stringify({ kind: 'Adapter', ...adapter('filed') })

    writeFileSync(file, document)
    await expect
      .poll(async () => (await gateway.api('GET', '/adapters/filed')).status, { timeout: 10_000 })
      .toBe(200)
    await healthy('filed')
    await expect.poll(events).toContain('Normal DeclaredApplied filed')

    writeFileSync(file, JSON.stringify({ ...JSON.parse(document), replicaCount: -1 }))
    await expect.poll(events, { timeout: 10_000 }).toContain('Warning DeclaredFailed filed')
    expect((await gateway.api('DELETE', '/adapters/filed')).status).toBe(409)

    rmSync(file)
    await namespace.eventually(async () => ((await objects()).length === 0 ? true : undefined))
  })

  test('an adapter that moves to an endpoint leaves nothing on the cluster', async () => {
    await gateway.api('POST', '/adapters', adapter('moving'))
    await namespace.eventually(async () => ((await objects()).length > 0 ? true : undefined))
    const moved = await gateway.api('PATCH', '/adapters/moving', {
      imageName: null,
      imageVersion: null,
      endpoint: 'http://127.0.0.1:9/mcp',
    })
    expect(moved.status).toBe(200)
    await gateway.untilStatus('moving', ({ replicaStatus }) => replicaStatus === 'External')
    await namespace.eventually(async () => ((await objects()).length === 0 ? true : undefined))
    await gateway.api('PATCH', '/adapters/moving', {
      endpoint: null,
      imageName: 'mcp-example',
      imageVersion: '1.0.0',
    })
    expect(await whereAmI(await connected('moving'))).toBe('moving-0')
    await gateway.api('DELETE', '/adapters/moving')
    await namespace.eventually(async () => ((await objects()).length === 0 ? true : undefined))
  })

  test('a session stays with its replica, and ends with 404 when that is replaced', async () => {
    await gateway.api('POST', '/adapters', adapter('sticky', { replicaCount: 2 }))
    const startOfSecond = ({ replicas }: AdapterStatus): string | undefined =>
      replicas.find(({ name }) => name === 'sticky-1')?.startedAt
    const before = startOfSecond(await healthy('sticky'))
    const clients = await Promise.all(Array.from({ length: 6 }, () => connected('sticky')))
    const homes = await Promise.all(clients.map(whereAmI))
    const onFirst = clients[homes.indexOf('sticky-0')] as Client
    const onSecond = clients[homes.indexOf('sticky-1')] as Client
    await namespace.delete('/api/v1', 'pods/sticky-1')
    for (let count = 0; count < 20; count += 1) expect(await whereAmI(onFirst)).toBe('sticky-0')
    await gateway.untilStatus(
      'sticky',
      (status) => status.replicaStatus === 'Healthy' && startOfSecond(status) !== before,
      120_000,
    )
    await expect(whereAmI(onSecond)).rejects.toMatchObject({ code: 404 })
    expect(await whereAmI(onFirst)).toBe('sticky-0')
    await gateway.api('DELETE', '/adapters/sticky')
  })

  test('routing continues while the API server is away, and catches up afterwards', async () => {
    await gateway.api('POST', '/adapters', adapter('lonely', { replicaCount: 2 }))
    await healthy('lonely')
    const client = await connected('lonely')
    const home = await whereAmI(client)
    await wire.cut()
    for (let count = 0; count < 20; count += 1) expect(await whereAmI(client)).toBe(home)

    const another = await connected('lonely')
    expect(await whereAmI(another)).toMatch(/^lonely-\d$/)
    expect((await gateway.api('GET', '/adapters/lonely/status')).body).toMatchObject({
      replicaStatus: 'Healthy',
    })
    expect(await gateway.api('GET', '/adapters/lonely/logs')).toMatchObject({
      status: 503,
      body: { code: 'cluster_unavailable' },
    })
    // Registering works, too. The status tells why the adapter does not run yet.
    expect((await gateway.api('POST', '/adapters', adapter('late'))).status).toBe(201)

    const { conditions } = await gateway.untilStatus(
      'late',
      (status) => status.conditions.length > 0,
    )
    expect(conditions[0]).toMatchObject({
      type: 'Accepted',
      status: 'False',
      reason: 'ReconcileFailed',
    })

    await namespace.delete('/api/v1', 'pods/lonely-1')
    await namespace.eventually(async () => {
      const pod = await namespace.get<Pod>('/api/v1', 'pods/lonely-1')
      return pod?.status?.conditions?.some(
        ({ type, status }) => type === 'Ready' && status === 'True',
      ) === true && pod.metadata?.deletionTimestamp === undefined
        ? pod
        : undefined
    })
    await wire.mend()
    const pod = await namespace.get<Pod>('/api/v1', 'pods/lonely-1')
    const startedAt = pod?.status?.containerStatuses?.[0]?.state?.running?.startedAt
    await gateway.untilStatus(
      'lonely',
      ({ replicas }) =>
        replicas.some(
          (replica) =>
            replica.name === 'lonely-1' &&
            Date.parse(replica.startedAt ?? '') === Date.parse(startedAt ?? ''),
        ),
      120_000,
    )
    await healthy('late')
    await gateway.api('DELETE', '/adapters/lonely')
    await gateway.api('DELETE', '/adapters/late')
  })

  test('a kill in mid-deletion does not keep the adapter, nor end others', async () => {
    await gateway.api('POST', '/adapters', adapter('kept'))
    await gateway.api('POST', '/adapters', adapter('dropped', { environmentVariables: { A: 'b' } }))
    await healthy('kept')
    await healthy('dropped')
    const before = await namespace.get<Pod>('/api/v1', 'pods/kept-0')
    const client = await connected('kept')
    await wire.cut()
    expect((await gateway.api('DELETE', '/adapters/dropped')).status).toBe(204)
    await gateway.end('SIGKILL')
    await wire.mend()
    await gateway.startAgain()
    expect(await whereAmI(client)).toBe('kept-0')
    await namespace.eventually(async () => ((await objects()).length === 3 ? true : undefined))
    expect((await namespace.get<Pod>('/api/v1', 'pods/kept-0'))?.metadata?.uid).toBe(
      before?.metadata?.uid,
    )
    await gateway.end('SIGTERM')
    // Unlike processes, pods are not the gateway's children.
    expect((await namespace.get<Pod>('/api/v1', 'pods/kept-0'))?.metadata?.uid).toBe(
      before?.metadata?.uid,
    )
  })
})
