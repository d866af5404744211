import type { Config } from '../config/config.ts'
import type { Silences } from '../core/silences.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Hop } from '../ingress/peer-hop.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { Servers } from '../servers/open.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import { headerRules } from './headers.ts'
import { Pipeline } from './pipeline.ts'
import type { RouteTable } from '../servers/routes.ts'
import { Translation } from './translation.ts'

export interface DataPlaneOptions {
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session or its parked call. */
  readonly hop: Hop
  readonly routes: Pick<RouteTable, 'get'>
  readonly servers: Servers
  readonly sealer: SessionSealer
  readonly outgoing: DecideOutgoing
  readonly settings: Config['proxy']
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  readonly now: () => number
}

/**
 * The data plane of one adapter: MCP over streamable HTTP at `/adapters/{name}/mcp`. Connects its
 * parts; `pipeline.ts` is the life of a request.
 */
export function createDataPlane(options: DataPlaneOptions): Pick<Pipeline, 'take'> {
  const { servers, settings, sealer } = options
  const { adapters, guard, upstreams } = servers
  const translation = new Translation({ servers: adapters, guard, sealer })
  return new Pipeline({
    ...options,
    servers: adapters,
    upstreams,
    guard,
    translation,
    headerRules: headerRules(settings),
    answerTimeoutMs: settings.answerTimeoutSeconds * 1000,
    handshakeMs: settings.handshakeTimeoutSeconds * 1000,
  })
}
