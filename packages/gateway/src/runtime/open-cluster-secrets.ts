import type { KubernetesConfig } from '../config/kubernetes.ts'
import type { Log } from '../telemetry/log.ts'

export interface OpenClusterSecretsOptions {
  /** By the names under which workloads refer to them. */
  readonly opened: Readonly<
    Record<
      string,
      { readonly secret?: string | undefined; readonly namespace?: string | undefined }
    >
  >
  readonly settings: KubernetesConfig
  readonly log: Log
}

/** What a cluster holds of the Secrets that are opened, kept current for as long as this is open. */
export interface OpenedSecrets extends AsyncDisposable {
  /** Values in base64 by their keys; undefined when there is no such Secret now. */
  get(name: string): Readonly<Record<string, string>> | undefined
  onChange(listener: (name: string) => void): () => void
}

/** Where none is opened, no cluster is asked. @throws Error when the cluster cannot be reached or does not let us look */
export async function openClusterSecrets(
  options: OpenClusterSecretsOptions,
): Promise<OpenedSecrets> {
  if (Object.keys(options.opened).length === 0)
    return {
      get: () => undefined,
      onChange: () => () => undefined,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
  const { watchClusterSecrets } = await import('./kubernetes/cluster-secrets.ts')
  return watchClusterSecrets(options)
}
