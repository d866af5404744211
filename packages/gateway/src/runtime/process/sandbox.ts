import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { LocalSocket } from '../../lib/socket-owner.ts'
import type { Log } from '../../telemetry/log.ts'
import { asUser, hasSetpriv } from './as-user.ts'
import { BwrapSandbox, findBwrap } from './bwrap.ts'
import { mustBeExecutable } from './executable.ts'
import { heldBack } from './held-back.ts'
import { Homes, inAccount } from './homes.ts'
import { OwnerUsers } from './owner-users.ts'

export interface SandboxOptions {
  readonly sandbox: 'auto' | 'none' | 'uid' | 'bwrap'
  /** Where servers have their homes. Unset: a folder that all users can pass through. */
  readonly homes: string | undefined
  readonly users: { readonly first: number; readonly count: number }
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
  belongs?(socket: LocalSocket, owner: string, pid: number): boolean
  /** @throws Error when something of the configuration cannot be kept from servers */
  check?(): void
}

/**
 * Opens the sandbox of the configuration; `auto` is the strongest that this machine offers without set-up, and the log
 * says which one that is, and why it is not a stronger one.
 * @throws Error when the configured sandbox cannot be had here
 */
export function openSandbox(options: SandboxOptions): Sandbox {
  const { sandbox, log } = options
  const why: string[] = []
  for (const kind of ['bwrap', 'uid'] as const) {
    if (sandbox !== 'auto' && sandbox !== kind) continue
    const opened = candidates[kind](options)
    if (typeof opened !== 'string') {
      opened.check?.()
      log.info({ sandbox: kind, ...reasonOf(why) }, 'local servers run in a sandbox')
      return opened
    }
    if (sandbox === kind) throw new Error(`runtime.sandbox '${kind}' cannot be used: ${opened}`)
    why.push(`${kind}: ${opened}`)
  }
  if (sandbox === 'auto')
    log.warn(
      { sandbox: 'none', ...reasonOf(why) },
      'local servers run as the user of the gateway: register only servers that you trust',
    )
  return noSandbox
}

function reasonOf(why: readonly string[]): { readonly reason?: string } {
  return why.length === 0 ? {} : { reason: why.join(' ') }
}

/** Each opens its sandbox, or says what is missing for it. */
const candidates: Readonly<Record<'bwrap' | 'uid', (options: SandboxOptions) => Sandbox | string>> =
  {
    bwrap: (options) => {
      const found = findBwrap(options.path)
      if ('missing' in found) return found.missing
      try {
        const sandbox = new BwrapSandbox(options, openHomes(options), found.bwrap)
        return sandbox.obstacle(options.program) ?? sandbox
      } catch (error) {
        return `${(error as Error).message}.`
      }
    },
    uid: (options) => userObstacle(options) ?? new UserSandbox(openHomes(options)),
  }

function openHomes({ dataDir, homes, users }: SandboxOptions): Homes {
  if (process.getuid?.() !== 0) return new Homes(dataDir, homes, undefined)
  return new Homes(dataDir, homes, new OwnerUsers(join(dataDir, 'sandbox-users.json'), users))
}

const noSandbox: Sandbox = {
  kind: 'none',
  environment: (_owner, inherited) => ({ ...inherited }),
  launch: ({ command, args, environment, marks, workingDirectory }) => ({
    command,
    args,
    environment: { ...environment, ...marks },
    user: undefined,
    workingDirectory,
    tellsSignalsByCode: false,
  }),
  holds: () => false,
}

/** Each owner's servers run as a user of their own, with a home that only this user can read. */
class UserSandbox implements Sandbox {
  readonly kind = 'uid'
  readonly #homes: Homes
  readonly #hasSetpriv = hasSetpriv()

  constructor(homes: Homes) {
    this.#homes = homes
  }

  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string> {
    return inAccount(this.#homes.of(owner), inherited)
  }

  holds({ user }: LocalSocket): boolean {
    return this.#homes.isUser(user)
  }

  belongs({ user }: LocalSocket, owner: string): boolean {
    return user === this.#homes.of(owner).user?.uid
  }

  launch({ owner, command, args, environment, marks, workingDirectory }: Start): Launch {
    const { home, user } = this.#homes.of(owner)
    const { environment: outer, giving } = heldBack(environment)
    const common = {
      environment: { ...outer, ...marks },
      workingDirectory: workingDirectory ?? home,
      tellsSignalsByCode: false,
    }
    mustBeExecutable(command, environment['PATH'] ?? '')
    const toUser = user === undefined || !this.#hasSetpriv ? [] : asUser(user.uid)
    const [first = '', ...rest] = [...toUser, ...giving, command, ...args]

    return { ...common, command: first, args: rest, user: toUser.length === 0 ? user : undefined }
  }
}

/** Why servers cannot run as users of their own; undefined when they can. */
function userObstacle({ users, program }: SandboxOptions): string | undefined {
  if (process.platform !== 'linux') return `this is ${process.platform}, and it needs Linux.`
  if (process.getuid?.() !== 0) return 'the gateway does not run as root.'

  const look = `require('node:fs').accessSync(process.argv[1])`
  const { status, error } = spawnSync(process.execPath, ['-e', look, program], {
    uid: users.first,
    gid: users.first,
    cwd: '/',
    env: {},
    stdio: 'ignore',
  })
  if (error !== undefined) return `no process can be started as another user (${error.message}).`
  return status === 0 ? undefined : `other users cannot read ${program}.`
}
