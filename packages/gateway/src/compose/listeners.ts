import { describeRequest } from '../control/audit-trail.ts'
import { openListener, type Listener, type ListenerOptions } from '../http/listener.ts'
import { addProblems } from '../http/rest.ts'
import { forPeers } from '../ingress/peer-hop.ts'
import { clientNetwork } from '../lib/net/address-policy.ts'
import type { Callers } from './callers.ts'
import type { Composition } from './composition.ts'
import type { Door } from './door.ts'
import type { Planes } from './planes.ts'
import type { PublicAddress } from './public-address.ts'
import type { State } from './state.ts'

export interface ListenerParts {
  readonly state: State
  readonly callers: Callers
  readonly door: Door
  readonly planes: Planes
  readonly address: PublicAddress
  readonly routes: ListenerOptions['routes']
}

/** Listens for clients. If the cluster has its own port, also listens for probes and peers. */
export async function openListeners(
  { config, parts }: Composition,
  { state, callers, door, planes, address, routes }: ListenerParts,
): Promise<Listener> {
  const listeners: Listener[] = []
  parts.defer(
    async () => void (await Promise.all(listeners.map((each) => each[Symbol.asyncDispose]()))),
  )

  // Only changes need the store; requests use known data. So an outage of a shared database does
  // not take gateways out of service.
  const ready = (): Promise<Readonly<Record<string, string>>> =>
    state.store.ping().then(
      () => ({}),
      () => ({ store: 'unavailable' }),
    )

  const { requestFinished, refused, shares } = door
  const common = { ...config.edge, ready, requestFinished, refused }

  const listener = await openListener({
    ...common,
    connections: {
      shares: shares.connections,
      // A proxy connects for many clients, so its connections have no share.
      partyOf: (remote) =>
        callers.client.isProxy(remote.replace(/^::ffff:/, '')) ? undefined : clientNetwork(remote),
    },
    host: config.host,
    port: config.port,
    allowedHosts: address.hosts,
    // Behind a proxy, pages of the gateway's public origin may call it with another Host.
    allowedOrigins: [
      ...config.edge.allowedOrigins,
      ...(address.origin === '' ? [] : [address.origin]),
    ],
    endpoints: planes.endpoints,
    describe: describeRequest,
    routes,
    listening: (origin) => {
      if (address.origin === '') address.origin = origin
    },
    onDrain: () => planes.drain(),
  })

  listeners.push(listener)

  const { host, port } = config.cluster
  if (port !== undefined)
    listeners.push(
      await openListener({ ...common, ...forProbesAndPeers(door, planes), host, port }),
    )

  return listener
}

function forProbesAndPeers({ shares }: Door, planes: Planes) {
  return {
    // Clients cannot use up the connections of probes and peers, nor one peer those of another.
    connections: { shares: shares.peerConnections, partyOf: (remote: string) => remote },
    allowedHosts: ['*'],
    allowedOrigins: [],
    endpoints: planes.endpoints.map(forPeers),
    routes: addProblems,
    onDrain: () => undefined,
  }
}
