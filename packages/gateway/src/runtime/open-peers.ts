import type { KubernetesConfig } from '../config/kubernetes.ts'
import { PeerDirectory, type Peers } from '../core/peers.ts'
import type { Log } from '../telemetry/log.ts'

export interface OpenPeersOptions {
  /** Origins by names, where peers neither come nor go. */
  readonly fixed: Readonly<Record<string, string>>
  /** The Service whose pods they are, where a cluster has them come and go. */
  readonly service: string | undefined
  readonly settings: KubernetesConfig
  readonly log: Log
}

/** @throws Error when the cluster is to be asked and cannot be, or does not let us look */
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
