import type { KubernetesConfig } from '../config/kubernetes.ts'
import { PeerDirectory, type Peers } from '../core/directories/peers.ts'
import type { Log } from '../telemetry/log.ts'

export interface OpenPeersOptions {
  /** Origins by name, for peers that do not change. */
  readonly fixed: Readonly<Record<string, string>>
  /** The Service whose pods are the peers, for peers that come and go in a cluster. */
  readonly service: string | undefined
  readonly settings: KubernetesConfig
  readonly log: Log
}

/** @throws Error when the cluster is needed and cannot be reached, or denies access */
export async function openPeers({
  fixed,
  service,
  settings,
  log,
}: OpenPeersOptions): Promise<Peers> {
  if (service === undefined)
    return { directory: PeerDirectory.of(fixed), [Symbol.asyncDispose]: () => Promise.resolve() }
  const { openServicePeers } = await import('./kubernetes/service-peers.ts')
  return openServicePeers({ service, settings, log })
}
