import { randomUUID } from 'node:crypto'
import { Hop } from '../ingress/peer-hop.ts'
import { createSessionSealer, type SessionSealer } from '../ingress/session-sealer.ts'
import { openPeers } from '../runtime/open-peers.ts'
import type { Composition } from './composition.ts'

export type Cluster = Awaited<ReturnType<typeof openCluster>>

/**
 * Opens the links to the other processes of this gateway: peers, the hop for requests, and sealed
 * sessions.
 */
export async function openCluster(composition: Composition, keys: readonly Buffer[]) {
  const { config, log, parts, now } = composition
  const known = { settings: config.runtime.kubernetes, log }
  const peers = parts.use(
    await openPeers({
      ...known,
      fixed: config.cluster.peers,
      service: config.cluster.peersService,
    }),
  )

  const { gateways, gatewaysService } = config.tools
  const toolGateways = parts.use(
    await openPeers({ ...known, fixed: gateways, service: gatewaysService }),
  )

  const self = config.cluster.name ?? randomUUID().slice(0, 8)
  const hop = parts.use(
    new Hop({ keys, self, peers: [peers.directory, toolGateways.directory], now }),
  )
  const sealer = sealerOf(composition, keys)
  const hasToolGateways = Object.keys(gateways).length > 0 || gatewaysService !== undefined

  return {
    hop,
    peers: peers.directory,
    sealer,
    toolGateways: hasToolGateways ? toolGateways.directory : undefined,
  }
}

export function sealerOf({ config, now }: Composition, keys: readonly Buffer[]): SessionSealer {
  const maxAgeMs = config.proxy.sessionMaxAgeSeconds * 1000
  return createSessionSealer({ keys, maxAgeMs, now })
}
