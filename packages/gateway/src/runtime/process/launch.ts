import type { LocalSocket } from '../../lib/net/socket-owner.ts'
import type { Log } from '../../telemetry/log.ts'

export interface SandboxOptions {
  readonly sandbox: 'auto' | 'none' | 'uid' | 'bwrap'
  /** The folder of the servers' homes. Unset: a folder that all users can pass through. */
  readonly homes: string | undefined
  readonly users: { readonly first: number; readonly count: number }
  /** Processes and threads that the user of one owner's servers may have. */
  readonly processes: number
  /** Folders of the operator that servers see in `bwrap`. */
  readonly mounts: readonly { readonly path: string; readonly readOnly: boolean }[]
  readonly dataDir: string
  /** Files and folders of the gateway outside the data folder. */
  readonly privateFiles: readonly string[]
  /** Folders in which the gateway creates private files while servers run. */
  readonly privateFolders: readonly string[]
  /** Files that inherited variables name, such as certificates. */
  readonly readableFiles: readonly string[]
  /** The home of the gateway's user. */
  readonly userHome: string | undefined
  /** A program that servers must be able to read: the bridge. */
  readonly program: string
  readonly programs: readonly {
    readonly command: readonly string[]
    readonly workingDirectory?: string | undefined
  }[]
  /** The `PATH` in which commands are looked up. */
  readonly path: string
  readonly log: Log
}

/** A process to start for an owner. */
export interface Start {
  readonly owner: string
  readonly command: string
  readonly args: readonly string[]
  readonly workingDirectory?: string | undefined
  readonly environment: Readonly<Record<string, string>>
  /** Variables by which the gateway finds the processes again. */
  readonly marks: Readonly<Record<string, string>>
}

/** The command that starts the process in its sandbox. */
export interface Launch {
  readonly command: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** Undefined for the gateway's user. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined
  readonly workingDirectory: string | undefined
  /** Exit code 128 + n means an end by signal n. */
  readonly tellsSignalsByCode: boolean
}

/**
 * Keeps local servers away from the gateway's files, from each other, and from the control plane.
 */
export interface Sandbox {
  readonly kind: 'none' | 'uid' | 'bwrap'
  /** The inherited part of the environment for an owner's processes. */
  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string>
  launch(start: Start): Launch
  /** Tells whether a process of the sandbox holds a socket. */
  holds(socket: LocalSocket): boolean | Promise<boolean>
  /**
   * Tells whether a socket belongs to the server that process `pid` is, or to another server of the
   * same owner. Absent where nothing keeps servers apart.
   */
  belongs?(socket: LocalSocket, owner: string, pid: number): boolean | Promise<boolean>
  /** @throws Error when servers could read a private file of the configuration */
  check?(): void
}
