import type { Secret } from 'kubernetes-types/core/v1.js'
import type { KubernetesConfig } from '../../config/kubernetes.ts'
import { allOf } from '../../lib/async/all-of.ts'
import { Listeners } from '../../lib/async/listeners.ts'
import { Parts } from '../../lib/async/parts.ts'
import type { Log } from '../../telemetry/log.ts'
import { KubernetesApi } from './api/api.ts'
import { collection } from './api/kinds.ts'
import { ListWatch } from './api/list-watch.ts'

export interface OpenClusterSecretsOptions {
  /** Keyed by the names that workloads use to refer to them. */
  readonly opened: Readonly<
    Record<
      string,
      { readonly secret?: string | undefined; readonly namespace?: string | undefined }
    >
  >
  readonly settings: KubernetesConfig
  readonly log: Log
}

/** The opened Secrets of a cluster, kept current until this is disposed. */
export interface OpenedSecrets extends AsyncDisposable {
  /** Base64 values by key; undefined when there is no such Secret now. */
  get(name: string): Readonly<Record<string, string>> | undefined
  onChange(listener: (name: string) => void): () => void
}

/**
 * Watches each configured Secret by its name, so that rights to these Secrets are enough.
 * @throws Error when the cluster cannot be reached or denies access to a Secret
 */
export async function watchClusterSecrets({
  opened,
  settings,
  log,
}: OpenClusterSecretsOptions): Promise<OpenedSecrets> {
  const parts = new Parts()
  const found = new Map<string, Secret>()
  const listeners = new Listeners<string>()

  try {
    const api = parts.use(await KubernetesApi.open(settings))
    const watches = Object.entries(opened).map(
      ([name, { secret = name, namespace = settings.namespace }]) =>
        ListWatch.open<Secret>({
          api,
          path: collection('Secret', namespace),
          fieldSelector: `metadata.name=${secret}`,
          log,
          changed: (_before, now) => {
            if (now === undefined) found.delete(name)
            else found.set(name, now)
            listeners.tell(name)
          },
        }).then((watch) => parts.use(watch)),
    )

    await allOf(watches)
  } catch (error) {
    await parts[Symbol.asyncDispose]()
    throw error
  }

  return {
    get(name) {
      const secret = found.get(name)
      return secret === undefined ? undefined : (secret.data ?? {})
    },
    onChange: (listener) => listeners.add(listener),
    [Symbol.asyncDispose]: () => parts[Symbol.asyncDispose](),
  }
}
