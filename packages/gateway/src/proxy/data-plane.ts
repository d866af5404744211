import type { Config } from '../config/config.ts'
import type { ReplicaDirectory } from '../core/directories/directory.ts'
import { GatewayError } from '../core/errors.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Silences } from '../core/silences.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Hop } from '../ingress/peer-hop.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { AddressPolicy } from '../lib/net/address-policy.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import { Upstreams } from '../upstream/upstreams.ts'
import { headerRules } from './headers.ts'
import { Pipeline } from './pipeline.ts'
import type { RouteTable } from './routes.ts'
import { ToolGuard } from './tool-guard.ts'
import { Translation } from './translation.ts'

export interface DataPlaneOptions {
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session or its parked call. */
  readonly hop: Hop
  readonly routes: Pick<RouteTable, 'get' | 'onChange'>
  readonly directory: ReplicaDirectory
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  /** The addresses that an adapter's endpoint may have. */
  readonly endpointPolicy: AddressPolicy
  readonly settings: Config['proxy']
  /** The name of this gateway in requests to servers elsewhere, by which it finds a loop. */
  readonly loopMark?: string | undefined
  /** Most requests that may be open at one server outside the runtime. */
  readonly connectionsPerServer: number
  readonly shares: CallerShares
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  readonly now: () => number
}

/** The data plane: MCP over streamable HTTP at `/adapters/{name}/mcp`. */
export interface DataPlane extends AsyncDisposable, Pick<Pipeline, 'take'> {
  /**
   * Ends listen streams of translated servers in order, so that clients open them elsewhere. Calls
   * in progress go on.
   */
  drain(): void
}

/** Connects the parts of the data plane. `pipeline.ts` is the life of a request. */
export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { settings, routes, hop, shares } = options
  const answerTimeoutMs = settings.answerTimeoutSeconds * 1000
  const handshakeMs = settings.handshakeTimeoutSeconds * 1000

  const upstreams = new Upstreams(options.directory, {
    connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
    keepAliveMs: settings.upstreamKeepAliveSeconds * 1000,
    coldStartMs: settings.coldStartSeconds * 1000,
    endpointPolicy: options.endpointPolicy,
    loopMark: options.loopMark,
    endpointConnections: { most: options.connectionsPerServer, beyond: 'refuse' },
  })
  const guard = new ToolGuard({
    resource: (name) => routes.get(name),
    heldBytes: shares.heldBytes,
  })
  const translation = new Translation({
    ...options,
    guard,
    pick: (resource) => {
      const upstream = upstreams.pick(resource, undefined)
      if (upstream !== undefined) return upstream
      throw new GatewayError('no_ready_replica', { headers: { 'retry-after': '1' } })
    },
    isLeaving: (upstream) => upstreams.isLeaving(upstream),
    routed: (name) => routes.get(name),
    self: hop.self,
    answerTimeoutMs,
    handshakeMs,
  })

  const stopFollowing = routes.onChange((name) => translation.forgetChanged(name))

  const pipeline = new Pipeline({
    entrance: options.entrance,
    hop,
    routes,
    sealer: options.sealer,
    upstreams,
    guard,
    translation,
    outgoing: options.outgoing,
    headerRules: headerRules(settings),
    silences: options.silences,
    answerTimeoutMs,
    handshakeMs,
    now: options.now,
  })

  return {
    take: (request, response) => pipeline.take(request, response),
    drain: () => translation.drain(),
    async [Symbol.asyncDispose]() {
      stopFollowing()
      translation.close()
      await upstreams[Symbol.asyncDispose]()
    },
  }
}
