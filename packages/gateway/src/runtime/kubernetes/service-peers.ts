import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import { PeerDirectory, type Peer, type Peers } from '../../core/directories/peers.ts'
import type { Log } from '../../telemetry/log.ts'
import { KubernetesApi } from './api/api.ts'
import { collection } from './api/kinds.ts'
import { ListWatch } from './api/list-watch.ts'

export interface ServicePeersOptions {
  /** The Service's name, in the namespace of the gateway's pod or of the kubeconfig's context. */
  readonly service: string
  readonly settings: Pick<KubernetesConfig, 'kubeconfig' | 'context'>
  readonly log: Log
}

/**
 * Watches a Service's EndpointSlices. A pod is a peer from its first address, before it is ready,
 * until it is gone. Known peers stay while the API server is away.
 * @throws Error when the cluster cannot be reached or denies access
 */
export async function openServicePeers({
  service,
  settings,
  log,
}: ServicePeersOptions): Promise<Peers> {
  const api = await KubernetesApi.open(settings)
  const directory = new PeerDirectory()
  const slices = new Map<string, EndpointSlice>()

  try {
    const watch = await ListWatch.open<EndpointSlice>({
      api,
      path: collection('EndpointSlice', api.namespace),
      labelSelector: `kubernetes.io/service-name=${service}`,
      log,
      changed: (before, now) => {
        slices.delete(before?.metadata?.name ?? '')
        if (now !== undefined) slices.set(now.metadata?.name ?? '', now)
        directory.set(peersIn([...slices.values()]))
      },
    })

    return {
      directory,
      async [Symbol.asyncDispose]() {
        await watch[Symbol.asyncDispose]()
        await api[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await api[Symbol.asyncDispose]()
    throw error
  }
}

/**
 * The pods behind a Service, at the port `http` or else the first. A pod with addresses of both
 * families is in two slices; IPv4 wins.
 */
export function peersIn(slices: readonly EndpointSlice[]): ReadonlyMap<string, Peer> {
  const found = new Map<string, Peer>()
  for (const { addressType, endpoints, ports } of slices.toSorted((a, b) =>
    a.addressType.localeCompare(b.addressType),
  )) {
    const port = (ports?.find(({ name }) => name === 'http') ?? ports?.[0])?.port
    if (port === undefined || addressType === 'FQDN') continue
    for (const { addresses, conditions, targetRef } of endpoints) {
      const [address] = addresses
      const name = targetRef?.kind === 'Pod' ? targetRef.name : undefined
      if (address === undefined || name === undefined || found.has(name)) continue
      const host = addressType === 'IPv6' ? `[${address}]` : address
      // `ready` proves nothing where a Service publishes addresses that are not ready.
      const ready = conditions?.serving !== false && conditions?.terminating !== true
      found.set(name, { origin: `http://${host}:${port}`, ready })
    }
  }
  return found
}
