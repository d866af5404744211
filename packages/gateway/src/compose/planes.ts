import { Silences } from '../core/silences.ts'
import { createDataPlane } from '../proxy/data-plane.ts'
import { RouteTable } from '../proxy/routes.ts'
import { ToolFeed } from '../tools/feed/feed.ts'
import { openToolRouter } from '../tools/open.ts'
import { RemoteRouter } from '../tools/feed/remote-router.ts'
import { loopMark } from '../upstream/loop-mark.ts'
import type { Cluster } from './cluster.ts'
import type { Composition } from './composition.ts'
import type { Door } from './door.ts'
import { endpointRules } from './endpoint-rules.ts'
import type { OutgoingSide } from './outgoing.ts'
import type { PublicAddress } from './public-address.ts'
import type { State } from './state.ts'
import type { Workloads } from './workloads.ts'

export interface PlaneParts {
  readonly state: State
  readonly workloads: Workloads
  readonly cluster: Cluster
  readonly door: Door
  readonly outgoingSide: OutgoingSide
  readonly address: PublicAddress
}

export type Planes = Awaited<ReturnType<typeof openPlanes>>

/** Opens the MCP endpoints: adapters, the tool router, and the feed for tool gateways. */
export async function openPlanes(
  composition: Composition,
  { state, workloads, cluster, door, outgoingSide, address }: PlaneParts,
) {
  const { config, parts, now } = composition
  const { store, keys, followFailed } = state
  const { directory } = workloads.runtime
  const { entrance, shares } = door
  const { hop, sealer, toolGateways } = cluster
  const { outgoing, held } = outgoingSide
  const common = { entrance, hop, sealer, outgoing, directory, shares, now }
  const rules = endpointRules(config)
  const silences = new Silences(now)

  const dataPlane = parts.use(
    createDataPlane({
      ...common,
      silences,
      routes: parts.use(await RouteTable.open(store, followFailed)),
      endpointPolicy: rules.adapter.policy,
      loopMark: loopMark(keys),
      settings: config.proxy,
      connectionsPerServer: config.limits.connectionsPerServer,
    }),
  )

  const toolRouter =
    toolGateways === undefined
      ? parts.use(
          await openToolRouter({
            ...composition,
            ...common,
            store,
            endpointPolicy: rules.tool.policy,
          }),
        )
      : new RemoteRouter({ toolGateways, entrance, hop, sealer })

  const issuer = (): string => address.origin
  const feed = new ToolFeed({ store, directory, entrance, keys, secrets: held, issuer })

  return {
    endpoints: [dataPlane, toolRouter, feed],
    silences,
    drain: () => {
      entrance.drain()
      dataPlane.drain()
      if ('drain' in toolRouter) toolRouter.drain()
    },
  }
}
