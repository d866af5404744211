import type { KubernetesConfig } from '../config/kubernetes.ts'
import type { OpenRuntimeOptions } from './open-options.ts'
import type { Runtime } from './runtime.ts'

/** Creates a Secret on the configured cluster. Returns false when the name is taken. */
export async function createSecret(
  settings: KubernetesConfig,
  name: string,
  data: Readonly<Record<string, string>>,
): Promise<boolean> {
  const kubernetes = await import('./kubernetes/secret.ts')
  return kubernetes.createSecret(settings, name, data)
}

/**
 * Opens the configured runtime. Only this module imports runtimes, and only the configured one is
 * loaded.
 */
export async function openRuntime(options: OpenRuntimeOptions): Promise<Runtime> {
  const { settings, log } = options
  if (settings.kind === 'kubernetes') {
    const { openKubernetesRuntime } = await import('./kubernetes/kubernetes-runtime.ts')
    return openKubernetesRuntime({ settings: settings.kubernetes, log })
  }
  const { openProcessRuntime } = await import('./process/process-runtime.ts')
  return openProcessRuntime(options)
}
