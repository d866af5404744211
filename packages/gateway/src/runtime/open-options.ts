import type { Config, ProgramConfig } from '../config/config.ts'
import type { Log } from '../telemetry/log.ts'

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
