import { createServer } from 'node:http'
import { authenticateDevelopment } from '../../packages/gateway/src/auth/development.ts'
import { ConfigSchema } from '../../packages/gateway/src/config/config.ts'
import { ReplicaDirectory } from '../../packages/gateway/src/core/directories/directory.ts'
import { PeerDirectory } from '../../packages/gateway/src/core/directories/peers.ts'
import { createShares } from '../../packages/gateway/src/core/shares.ts'
import { Entrance } from '../../packages/gateway/src/ingress/entrance.ts'
import { createAddressPolicy } from '../../packages/gateway/src/lib/net/address-policy.ts'
import { Hop } from '../../packages/gateway/src/ingress/peer-hop.ts'
import { IdentitySigner } from '../../packages/gateway/src/upstream/identity-signer.ts'
import { createOutgoing } from '../../packages/gateway/src/upstream/outgoing.ts'
import { openServers } from '../../packages/gateway/src/servers/open.ts'
import { createDataPlane } from '../../packages/gateway/src/proxy/data-plane.ts'
import { RouteTable } from '../../packages/gateway/src/servers/routes.ts'
import { createSessionSealer } from '../../packages/gateway/src/ingress/session-sealer.ts'
import { Silences } from '../../packages/gateway/src/core/silences.ts'
import { openStore } from '../../packages/gateway/src/store/open.ts'

/**
 * The data plane of a gateway as a process, with a store to share and a given list of servers, as
 * from a cluster. Takes one argument of JSON; prints a line when it listens.
 */
export interface PlaneOptions {
  readonly name: string
  readonly port: number
  readonly peers: Readonly<Record<string, string>>
  readonly dataDir: string
  /** Base64. */
  readonly key: string
  readonly servers: readonly {
    readonly name: string
    readonly uid: string
    readonly origin: string
  }[]
}

const { name, port, peers, dataDir, key, servers } = JSON.parse(
  process.argv[2] ?? '{}',
) as PlaneOptions
const directory = new ReplicaDirectory()
for (const { name: server, uid, origin } of servers) {
  const replica = {
    name: `${server}-0`,
    index: 0,
    phase: 'ready' as const,
    origin,
    path: '/mcp',
    generation: 1,
    restarts: 0,
  }
  directory.set(server, { uid, desiredReplicas: 1, replicas: [replica] })
}
const config = ConfigSchema.parse({})
const keys = [Buffer.from(key, 'base64')]
const now = (): number => Date.now()
const hop = new Hop({ keys, self: name, peers: [PeerDirectory.of(peers)], now })
const { bodyLimitBytes } = config.edge
const shares = createShares(config.limits, bodyLimitBytes)
const routes = await RouteTable.open(await openStore({ dataDir }))
const common = {
  routes,
  silences: new Silences(Date.now),
  sealer: createSessionSealer({ keys, maxAgeMs: 3600_000, now }),
  outgoing: createOutgoing(
    new IdentitySigner({ keys, issuer: () => `http://127.0.0.1:${port}`, now }),
    () => ({ message: 'none' }),
  ),
  settings: config.proxy,
  now,
}
const plane = createDataPlane({
  ...common,
  servers: openServers({
    ...common,
    directory,
    endpointPolicy: createAddressPolicy([]),
    connectionsPerServer: config.limits.connectionsPerServer,
    shares,
    self: hop.self,
    keys,
  }),
  entrance: new Entrance({
    authenticate: authenticateDevelopment,
    hop,
    bodyLimitBytes,
    shares,
    recheckMs: 5000,
    requestFinished: () => undefined,
    audit: undefined,
  }),
  hop,
})
let handed = 0
const server = createServer((request, response) => {
  if (request.url === '/handed') return void response.end(String(handed))
  if (request.headers['x-mcpgw-hop'] !== undefined) handed += 1
  plane.take(request, response)
})
server.listen(port, '127.0.0.1', () => process.stdout.write('listens\n'))
