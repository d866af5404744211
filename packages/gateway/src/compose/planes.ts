import { openAggregate } from '../aggregate/open.ts'
import { Silences } from '../core/silences.ts'
import { createDataPlane } from '../proxy/data-plane.ts'
import { RouteTable } from '../servers/routes.ts'
import { openServers } from '../servers/open.ts'
import { ToolFeed } from '../tools/feed/feed.ts'
import { openTools } from '../tools/open.ts'
import type { Cluster } from './cluster.ts'
import type { Composition } from './composition.ts'
import type { Door } from './door.ts'
import { endpointRules } from './endpoint-rules.ts'
import type { OutgoingSide } from './outgoing.ts'
import { remoteTools } from './remote-tools.ts'
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
  const { hop, peers, sealer } = cluster
  const { outgoing, held } = outgoingSide
  const common = { entrance, hop, sealer, outgoing, directory, shares, now, keys }
  const rules = endpointRules(config)
  const settings = config.proxy
  const silences = new Silences(now)

  const routes = parts.use(await RouteTable.open(store, followFailed))
  const servers = parts.use(
    openServers({
      ...common,
      silences,
      routes,
      self: hop.self,
      endpointPolicy: rules.adapter.policy,
      settings,
      connectionsPerServer: config.limits.connectionsPerServer,
    }),
  )
  const dataPlane = createDataPlane({ ...common, silences, routes, servers, settings })
  const remote = remoteTools(composition, cluster, door, routes)
  const { policy: endpointPolicy } = rules.tool
  const { tools } = parts.use(
    await openTools({ ...composition, ...common, store, endpointPolicy, send: remote?.send }),
  )
  const aggregate = parts.use(
    await openAggregate({
      ...composition,
      ...common,
      store,
      peers,
      routes,
      servers,
      tools,
    }),
  )
  const issuer = (): string => address.origin
  const feed = new ToolFeed({ store, directory, entrance, keys, secrets: held, issuer })

  return {
    endpoints: [dataPlane, ...(remote === undefined ? [] : [remote.router]), aggregate, feed],
    silences,
    virtualServers: aggregate.virtualServers,
    drain: () => {
      entrance.drain()
      servers.adapters.drain()
      aggregate.drain()
    },
  }
}
