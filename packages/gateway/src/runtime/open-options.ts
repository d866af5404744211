import type { Config, ProgramConfig } from '../config/config.ts'
import type { Log } from '../telemetry/log.ts'

export interface OpenRuntimeOptions {
  readonly settings: Config['runtime']
  readonly dataDir: string
  /** Files and folders of the gateway outside the data folder. Workloads must not read them. */
  readonly privateFiles: readonly string[]
  /** Folders in which the gateway creates private files while workloads run. */
  readonly privateFolders: readonly string[]
  readonly programs: Readonly<Record<string, ProgramConfig>>
  /** The environment of this process. Workloads get a small part of it. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly log: Log
}
