import type { Config } from '../config/config.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import { GatewayError } from '../core/errors.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Silences } from '../core/silences.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import { Upstreams } from '../upstream/upstreams.ts'
import { AdapterServers } from './adapter-servers.ts'
import type { RouteTable } from './routes.ts'
import { ToolGuard } from './tool-guard.ts'

export interface ServersOptions {
  readonly routes: Pick<RouteTable, 'get' | 'onChange'>
  readonly directory: ReplicaDirectory
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  /** The addresses that an adapter's endpoint may have. */
  readonly endpointPolicy: AddressPolicy
  readonly settings: Config['proxy']
  /** Most requests that may be open at one server outside the runtime. */
  readonly connectionsPerServer: number
  readonly shares: CallerShares
  /** Keys of 32 bytes that all processes of the gateway share. */
  readonly keys: readonly Buffer[]
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  /** The name of this process among the gateways. */
  readonly self: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** The servers of adapters, as both data planes reach them. */
export interface Servers extends AsyncDisposable {
  readonly upstreams: Upstreams
  readonly guard: ToolGuard
  readonly adapters: AdapterServers
}

export function openServers(options: ServersOptions): Servers {
  const { settings, routes, shares } = options
  const upstreams = new Upstreams(options.directory, {
    connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
    keepAliveMs: settings.upstreamKeepAliveSeconds * 1000,
    coldStartMs: settings.coldStartSeconds * 1000,
    endpointPolicy: options.endpointPolicy,
    endpointConnections: { most: options.connectionsPerServer, beyond: 'refuse' },
    keys: options.keys,
  })
  const guard = new ToolGuard({
    resource: (name) => routes.get(name),
    heldBytes: shares.heldBytes,
  })
  const adapters = new AdapterServers({
    ...options,
    guard,
    pick: (resource) => {
      const upstream = upstreams.pick(resource, undefined)
      if (upstream !== undefined) return upstream
      throw new GatewayError('no_ready_replica', { headers: { 'retry-after': '1' } })
    },
    isLeaving: (upstream) => upstreams.isLeaving(upstream),
    routed: (name) => routes.get(name),
    answerTimeoutMs: settings.answerTimeoutSeconds * 1000,
    handshakeMs: settings.handshakeTimeoutSeconds * 1000,
  })

  const stopFollowing = routes.onChange((name) => adapters.forgetChanged(name))

  return {
    upstreams,
    guard,
    adapters,
    async [Symbol.asyncDispose]() {
      stopFollowing()
      adapters.close()
      await upstreams[Symbol.asyncDispose]()
    },
  }
}
