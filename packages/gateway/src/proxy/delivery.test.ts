import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { freePort } from '@mcp-gateway/testkit'
import { describe, expect, test } from 'vitest'
import { authenticateDevelopment } from '../auth/development.ts'
import { ConfigSchema } from '../config/config.ts'
import { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Adapter } from '../core/resource.ts'
import { createShares, type CallerShares } from '../core/shares.ts'
import { Silences } from '../core/silences.ts'
import { Entrance } from '../ingress/entrance.ts'
import { Hop } from '../ingress/peer-hop.ts'
import { createSessionSealer } from '../ingress/session-sealer.ts'
import { createAddressPolicy } from '../lib/net/address-policy.ts'
import { openServers } from '../servers/open.ts'
import { modernRequest } from '../../test/fixtures/mcp-requests.ts'
import { createDataPlane } from './data-plane.ts'

const uid = '11111111-1111-4111-8111-111111111111'
const adapter: Adapter = {
  kind: 'adapter',
  name: 'echo',
  uid,
  version: 1,
  generation: 1,
  owner: { id: 'dev', issuer: 'development' },
  createdAt: '2026-01-01T00:00:00.000Z',
  lastUpdatedAt: '2026-01-01T00:00:00.000Z',
  spec: {
    imageName: 'echo',
    imageVersion: '1',
    environmentVariables: {},
    replicaCount: 1,
    description: '',
    useWorkloadIdentity: false,
    requiredRoles: [],
    anonymous: true,
  },
}

const replica = (port: number) =>
  ({
    name: 'echo-0',
    index: 0,
    phase: 'ready',
    origin: `http://127.0.0.1:${port}`,
    path: '/mcp',
    generation: 1,
    restarts: 0,
  }) as const

interface OpenPlane extends AsyncDisposable {
  readonly origin: string
  readonly directory: ReplicaDirectory
  readonly entrance: Entrance
  readonly shares: CallerShares
}

/** A data plane behind a port of its own. `sending` is called before headers leave for a server. */
async function openPlane(sending: () => void = () => undefined): Promise<OpenPlane> {
  const directory = new ReplicaDirectory()
  const config = ConfigSchema.parse({})
  const keys = [Buffer.alloc(32, 1)]
  const now = (): number => 0
  const hop = new Hop({ keys, self: 'gateway-0', peers: [], now })
  const shares = createShares({ ...config.limits, openRequests: 4 }, config.edge.bodyLimitBytes)
  const entrance = new Entrance({
    authenticate: authenticateDevelopment,
    hop,
    bodyLimitBytes: config.edge.bodyLimitBytes,
    shares,
    recheckMs: 5000,
    requestFinished: () => undefined,
    audit: undefined,
  })
  const common = {
    routes: { get: () => adapter, onChange: () => () => undefined },
    sealer: createSessionSealer({ keys, maxAgeMs: 3600_000, now }),
    outgoing: () => {
      sending()
      return { headers: [], replaces: undefined }
    },
    settings: config.proxy,
    silences: new Silences(now),
    now,
  }
  const servers = openServers({
    ...common,
    directory,
    endpointPolicy: createAddressPolicy([]),
    connectionsPerServer: config.limits.connectionsPerServer,
    shares,
    self: hop.self,
    keys,
  })
  const plane = createDataPlane({ ...common, entrance, hop, servers })
  const server = createServer((request, response) => void plane.take(request, response))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return {
    origin: `http://127.0.0.1:${port}`,
    directory,
    entrance,
    shares,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await servers[Symbol.asyncDispose]()
      entrance[Symbol.dispose]()
      await hop[Symbol.asyncDispose]()
    },
  }
}

test('a call to a replica that refuses learns that its adapter was stopped', async () => {
  // The gateway has picked the replica, and has not opened the connection.
  const stop = (): void => directory.set('echo', { uid, desiredReplicas: 0, replicas: [] })
  await using plane = await openPlane(stop)
  const { origin, directory } = plane
  directory.set('echo', { uid, desiredReplicas: 1, replicas: [replica(await freePort())] })

  const answer = await fetch(`${origin}/adapters/echo/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    signal: AbortSignal.timeout(5000),
  })
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ id: 1, error: { data: { code: 'stopped' } } })
})

describe('a call that waits for the era of a server that has just started', () => {
  /** A server that never answers, and the methods that it was sent. */
  async function silentServer(): Promise<AsyncDisposable & { port: number; methods: string[] }> {
    const methods: string[] = []
    const server = createServer((request) => void methods.push(methodOf(request)))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    return {
      port,
      methods,
      [Symbol.asyncDispose]: async () => {
        server.closeAllConnections()
        server.close()
      },
    }
  }
  const methodOf = ({ headers }: IncomingMessage): string => String(headers['mcp-method'])

  /** Sends modern calls while no replica is there, then starts one that never answers. */
  async function callColdServer(
    { directory, origin, shares }: OpenPlane,
    server: { readonly port: number; readonly methods: readonly string[] },
    count: number,
  ): Promise<Promise<Response>[]> {
    directory.set('echo', { uid, desiredReplicas: 1, replicas: [] })
    const answers = Array.from({ length: count }, () =>
      fetch(`${origin}/adapters/echo/mcp`, {
        method: 'POST',
        ...modernRequest('tools/list', {}),
        signal: AbortSignal.timeout(5000),
      }),
    )
    await expect.poll(() => shares.requests.held).toBe(count)

    directory.set('echo', { uid, desiredReplicas: 1, replicas: [replica(server.port)] })
    await expect.poll(() => server.methods).toEqual(['server/discover'])
    return answers
  }

  test('a stopping gateway refuses a call that still waits for the era of its server', async () => {
    await using server = await silentServer()
    await using plane = await openPlane()
    const [call] = await callColdServer(plane, server, 1)
    plane.entrance.drain()

    const answer = await call
    expect(answer?.status).toBe(503)
    expect(await answer?.json()).toMatchObject({ error: { data: { code: 'draining' } } })
  })

  test('a call that waits for the era of its server ends when another needs its place', async () => {
    await using server = await silentServer()
    await using plane = await openPlane()
    const calls = await callColdServer(plane, server, 2)

    // The caller of the calls holds half of the four places.
    const shortages = ['second', 'third', 'fourth'].map((caller) =>
      plane.shares.requests.open(caller).hold(1),
    )
    expect(shortages).toEqual([undefined, undefined, undefined])
    const answer = await Promise.race(calls)
    expect(answer.status).toBe(429)
    plane.entrance.drain()
    await Promise.all(calls)
    expect(server.methods).toEqual(['server/discover'])
  })
})
