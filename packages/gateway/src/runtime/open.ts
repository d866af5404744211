import type { Config, ProgramConfig } from '../config/config.ts'
import type { KubernetesConfig } from '../config/kubernetes.ts'
import type { Log } from '../telemetry/log.ts'
import type { Runtime } from './runtime.ts'

export interface OpenRuntimeOptions {
  readonly settings: Config['runtime']
  readonly dataDir: string
  /** Files and folders of the gateway besides the data folder, which workloads must not read. */
  readonly privateFiles: readonly string[]
  /** Folders in which the gateway makes such files while workloads run. */
  readonly privateFolders: readonly string[]
  readonly programs: Readonly<Record<string, ProgramConfig>>
  /** The environment of this process, of which workloads get a small part. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly log: Log
}

/** Makes a Secret on the configured cluster; false when there is one of that name. */
export async function createSecret(
  settings: KubernetesConfig,
  name: string,
  data: Readonly<Record<string, string>>,
): Promise<boolean> {
  const kubernetes = await import('./kubernetes/secret.ts')
  return kubernetes.createSecret(settings, name, data)
}

/** Opens the configured runtime. Runtimes are imported here alone, and only the one that is used. */
export async function openRuntime(options: OpenRuntimeOptions): Promise<Runtime> {
  const { settings, log } = options
  if (settings.kind === 'kubernetes') {
    const { openKubernetesRuntime } = await import('./kubernetes/kubernetes-runtime.ts')
    return openKubernetesRuntime({ settings: settings.kubernetes, log })
  }
  const { openProcessRuntime } = await import('./process/process-runtime.ts')
  return openProcessRuntime(options)
}
