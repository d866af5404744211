import type { OpenClusterSecretsOptions, OpenedSecrets } from './kubernetes/cluster-secrets.ts'

/**
 * Does not contact a cluster when the configuration opens no Secret.
 * @throws Error when the cluster cannot be reached or denies access
 */
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
