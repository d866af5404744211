import type { LocalSocket } from '../../lib/net/socket-owner.ts'
import type { Log } from '../../telemetry/log.ts'

export interface SandboxOptions {
  readonly sandbox: 'auto' | 'none' | 'uid' | 'bwrap'
  /** Where servers have their homes. Unset: a folder that all users can pass through. */
  readonly homes: string | undefined
  readonly users: { readonly first: number; readonly count: number }
  /** Processes and threads that the servers of one owner may have. */
  readonly processes: number
  /** Folders of the operator that servers see with `bwrap`. */
  readonly mounts: readonly { readonly path: string; readonly readOnly: boolean }[]
  readonly dataDir: string
  /** Files and folders of the gateway besides the data folder. */
  readonly privateFiles: readonly string[]
  /** Folders in which the gateway makes private files while servers run. */
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
  /** Where commands are looked for: `PATH`. */
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
  /** Variables by which its processes are found again. */
  readonly marks: Readonly<Record<string, string>>
}

/** How it is started. */
export interface Launch {
  readonly command: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** That of the gateway when it is undefined. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined
  readonly workingDirectory: string | undefined
  /** Exit code 128 + n stands for an end by signal n. */
  readonly tellsSignalsByCode: boolean
}

/** What keeps local servers away from the gateway's files, from each other, and from the control plane. */
export interface Sandbox {
  readonly kind: 'none' | 'uid' | 'bwrap'
  /** The inherited part of the environment for an owner's processes. */
  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string>
  launch(start: Start): Launch
  /** Whether one of its processes has a socket. */
  holds(socket: LocalSocket): boolean | Promise<boolean>
  /**
   * Whether a socket is of the server that an owner's process `pid` is, or of one beside it. Absent
   * where nothing keeps servers apart.
   */
  belongs?(socket: LocalSocket, owner: string, pid: number): boolean | Promise<boolean>
  /** @throws Error when something of the configuration cannot be kept from servers */
  check?(): void
}
