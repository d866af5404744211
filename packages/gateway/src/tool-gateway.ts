import { openAggregate, type Aggregate } from './aggregate/open.ts'
import { sealerOf } from './compose/cluster.ts'
import { compose, type App, type AppOptions, type Composition } from './compose/composition.ts'
import { openDoor, type Door } from './compose/door.ts'
import { PeerDirectory } from './core/directories/peers.ts'
import { openListener } from './http/listener.ts'
import { addProblems } from './http/rest.ts'
import { Hop, unsigned } from './ingress/peer-hop.ts'
import { loadSessionKeys } from './ingress/session-keys.ts'
import { createAddressPolicy } from './lib/net/address-policy.ts'
import { noRoutes } from './servers/routes.ts'
import { openServers } from './servers/open.ts'
import { Silences } from './core/silences.ts'
import { FollowedTools } from './tools/feed/followed-tools.ts'
import { openTools } from './tools/open.ts'
import { IdentitySigner } from './upstream/identity-signer.ts'
import { createOutgoing } from './upstream/outgoing.ts'

/**
 * Opens the role `tool-gateway`: `/mcp` for requests that gateways hand over.
 * It has no store and no runtime, and keeps nothing on disk.
 */
export function openToolGateway(options: Omit<AppOptions, 'environment' | 'signal'>): Promise<App> {
  const { config, log, version } = options
  return compose(options, async (composition) => {
    const { parts, now } = composition
    const { dataDir, sessions } = config
    const keys = await loadSessionKeys({ dataDir, configured: sessions.keys })
    const hop = parts.use(new Hop({ keys, self: config.cluster.name ?? '', peers: [], now }))
    const sealer = sealerOf(composition, keys)

    const door = await openDoor(composition, {
      authenticate: refuseUnsigned,
      hop,
      // The address of the gateway that handed the request over. Only that gateway knows the
      // client's.
      addressOf: ({ socket }) => socket.remoteAddress ?? '',
      sinks: config.audit.sinks ?? [],
    })

    const { entrance, shares, requestFinished, refused } = door
    const { tools, router } = await openFollowedTools(composition, { door, hop, sealer, keys })

    const { origin } = parts.use(
      await openListener({
        ...config.edge,
        host: config.host,
        port: config.port,
        connections: { shares: shares.peerConnections, partyOf: (address) => address },
        // The Host header names the gateway that the client reached, which has checked it. Here the
        // signature counts.
        allowedHosts: ['*'],
        endpoints: [router],
        routes: addProblems,
        ready: async () => {
          if (!tools.complete) throw new Error('the tools are not known yet')
          return {}
        },
        requestFinished,
        refused,
        onDrain: () => {
          entrance.drain()
          router.drain()
        },
      }),
    )

    log.info({ address: origin, version, role: config.role, name: hop.self }, 'ready')
    return origin
  })
}

interface Followed {
  readonly door: Door
  readonly hop: Hop
  readonly sealer: ReturnType<typeof sealerOf>
  readonly keys: readonly Buffer[]
}

/** Opens the router over the tools that gateways tell in their feed. */
async function openFollowedTools(
  composition: Composition,
  { door: { entrance, shares }, hop, sealer, keys }: Followed,
): Promise<{ readonly tools: FollowedTools; readonly router: Aggregate }> {
  const { config, log, parts, now } = composition
  const tools = parts.use(new FollowedTools({ gateways: config.tools.followed, hop, keys, log }))
  // Clients and servers know the gateway by its public address, not by the address of this
  // process.
  const signer = new IdentitySigner({ keys, issuer: () => tools.issuer, now })

  // The feed has values in place of references.
  const outgoing = createOutgoing(signer, () => ({
    message: 'The gateway did not have it either.',
  }))

  const networks = config.tools.endpointNetworks ?? config.endpointNetworks ?? []
  const common = { ...composition, directory: tools.directory, outgoing, shares, sealer, keys }
  const registered = parts.use(
    await openTools({ ...common, store: tools, endpointPolicy: createAddressPolicy(networks) }),
  )

  // The feed has registered tools alone, so `/mcp` has no other members here.
  const servers = parts.use(
    openServers({
      ...common,
      routes: noRoutes,
      endpointPolicy: createAddressPolicy([]),
      settings: config.proxy,
      connectionsPerServer: config.limits.connectionsPerServer,
      silences: new Silences(now),
      self: hop.self,
    }),
  )
  const router = parts.use(
    await openAggregate({
      ...common,
      store: undefined,
      peers: PeerDirectory.of({}),
      routes: noRoutes,
      servers,
      tools: registered.tools,
      entrance,
      hop,
    }),
  )

  return { tools, router }
}

function refuseUnsigned(): never {
  throw unsigned('A tool gateway takes requests of gateways only.')
}
