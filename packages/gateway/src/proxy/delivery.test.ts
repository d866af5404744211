import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { freePort } from '@mcp-gateway/testkit'
import { expect, test } from 'vitest'
import { authenticateDevelopment } from '../auth/development.ts'
import { ConfigSchema } from '../config/config.ts'
import { ReplicaDirectory } from '../core/directories/directory.ts'
import type { Adapter } from '../core/resource.ts'
import { createShares } from '../core/shares.ts'
import { Silences } from '../core/silences.ts'
import { Entrance } from '../ingress/entrance.ts'
import { Hop } from '../ingress/peer-hop.ts'
import { createSessionSealer } from '../ingress/session-sealer.ts'
import { createAddressPolicy } from '../lib/net/address-policy.ts'
import { openServers } from '../servers/open.ts'
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

test('a call to a replica that refuses learns that its adapter was stopped', async () => {
  const directory = new ReplicaDirectory()
  directory.set('echo', {
    uid,
    desiredReplicas: 1,
    replicas: [
      {
        name: 'echo-0',
        index: 0,
        phase: 'ready',
        origin: `http://127.0.0.1:${await freePort()}`,
        path: '/mcp',
        generation: 1,
        restarts: 0,
      },
    ],
  })
  const config = ConfigSchema.parse({})
  const keys = [Buffer.alloc(32, 1)]
  const now = (): number => 0
  const hop = new Hop({ keys, self: 'gateway-0', peers: [], now })
  const shares = createShares(config.limits, config.edge.bodyLimitBytes)
  using entrance = new Entrance({
    authenticate: authenticateDevelopment,
    hop,
    bodyLimitBytes: config.edge.bodyLimitBytes,
    shares,
    recheckMs: 5000,
    requestFinished: () => undefined,
    audit: undefined,
  })
  const common = {
    routes: { get: () => adapter },
    sealer: createSessionSealer({ keys, maxAgeMs: 3600_000, now }),
    outgoing: () => {
      // The gateway has picked the replica, and has not opened the connection.
      directory.set('echo', { uid, desiredReplicas: 0, replicas: [] })
      return { headers: [], replaces: undefined }
    },
    settings: config.proxy,
    silences: new Silences(now),
    now,
  }
  await using servers = openServers({
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

  const answer = await fetch(`http://127.0.0.1:${port}/adapters/echo/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    signal: AbortSignal.timeout(5000),
  })
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ id: 1, error: { data: { code: 'stopped' } } })

  server.close()
  await hop[Symbol.asyncDispose]()
})
