import { spawnSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  statSync,
} from 'node:fs'
import { delimiter, dirname, join, parse } from 'node:path'
import type { Log } from '../../telemetry/log.ts'
import { OwnerUsers } from './owner-users.ts'

export interface SandboxOptions {
  readonly sandbox: 'auto' | 'none' | 'uid'
  /** Where servers have their homes. Unset: a folder that all users can pass through. */
  readonly homes: string | undefined
  readonly users: { readonly first: number; readonly count: number }
  readonly dataDir: string
  /** A program that servers must be able to read: the bridge. */
  readonly program: string
  /** Where commands are looked for: `PATH`. */
  readonly path: string
  readonly log: Log
}

/** How a process of an owner is started. */
export interface Launch {
  readonly command: string
  readonly args: readonly string[]
  /** Both are those of the gateway where they are undefined. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined
  readonly workingDirectory: string | undefined
}

/** What keeps local servers away from the gateway's files, from each other, and from the control plane. */
export interface Sandbox {
  readonly kind: 'none' | 'uid'
  /** The inherited part of the environment for an owner's processes. */
  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string>
  launch(owner: string, command: string, args: readonly string[]): Launch
}

/**
 * Opens the sandbox of the configuration; `auto` is the strongest that this machine offers without set-up, and the log
 * says which one that is.
 * @throws Error when the configured sandbox cannot be had here
 */
export function openSandbox(options: SandboxOptions): Sandbox {
  const { sandbox, log } = options
  if (sandbox === 'none') return noSandbox

  const obstacle = userObstacle(options)
  if (obstacle === undefined) {
    log.info({ sandbox: 'uid' }, 'local servers run as a user of their own for each owner')
    return new UserSandbox(options)
  }
  if (sandbox === 'uid') throw new Error(`runtime.sandbox 'uid' cannot be used: ${obstacle}`)

  log.warn(
    { sandbox: 'none', reason: obstacle },
    'local servers run as the user of the gateway: register only servers that you trust',
  )
  return noSandbox
}

const noSandbox: Sandbox = {
  kind: 'none',
  environment: (_owner, inherited) => ({ ...inherited }),
  launch: (_owner, command, args) => ({
    command,
    args,
    user: undefined,
    workingDirectory: undefined,
  }),
}

/** Each owner's servers run as a user of their own, with a home that only this user can read. */
class UserSandbox implements Sandbox {
  readonly kind = 'uid'
  readonly #users: OwnerUsers
  readonly #homes: string
  readonly #path: string
  readonly #setpriv = setprivPath()

  constructor({ dataDir, homes, users, path }: SandboxOptions) {
    this.#path = path
    this.#users = new OwnerUsers(join(dataDir, 'sandbox-users.json'), users)
    this.#homes = homes ?? defaultHomes(dataDir)
    mkdirSync(this.#homes, { recursive: true })
    chmodSync(this.#homes, 0o711)
  }

  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string> {
    const { home, uid } = this.#homeOf(owner)
    const kept = Object.entries(inherited).filter(([name]) => !ofTheGatewaysHome.test(name))

    return {
      ...Object.fromEntries(kept),
      HOME: home,
      TMPDIR: join(home, 'tmp'),
      USER: `mcp-${uid}`,
      LOGNAME: `mcp-${uid}`,
    }
  }

  launch(owner: string, command: string, args: readonly string[]): Launch {
    const { home, uid } = this.#homeOf(owner)
    const user = { uid, gid: uid }
    // A command that is not there must fail by itself, so that its status says what is missing.
    if (this.#setpriv === undefined || !isExecutable(command, this.#path))
      return { command, args, user, workingDirectory: home }

    // Programs with the set-user-id bit give no more rights.
    return {
      command: this.#setpriv,
      args: ['--no-new-privs', '--', command, ...args],
      user,
      workingDirectory: home,
    }
  }

  #homeOf(owner: string): { readonly home: string; readonly uid: number } {
    const uid = this.#users.of(owner)
    const home = join(this.#homes, String(uid))
    for (const folder of [home, join(home, 'tmp')]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      chownSync(folder, uid, uid)
    }
    return { home, uid }
  }
}

/** Variables that name folders of the user of the gateway. Caches are each owner's own. */
const ofTheGatewaysHome =
  /^(HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|XDG_\w+|npm_config_cache|UV_(CACHE|TOOL|TOOL_BIN|PYTHON_INSTALL)_DIR)$/i

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

function isExecutable(command: string, path: string): boolean {
  const folders = command.includes('/') ? [''] : path.split(delimiter)
  return folders.some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function setprivPath(): string | undefined {
  const path = ['/usr/bin/setpriv', '/bin/setpriv'].find((each) => existsSync(each))
  if (path === undefined) return undefined
  // The one of BusyBox has other options.
  const { status } = spawnSync(path, ['--no-new-privs', '--', '/bin/true'], { stdio: 'ignore' })
  return status === 0 ? path : undefined
}

/** Beside the data folder where every user can pass through its parents, else where packages keep their state. */
function defaultHomes(dataDir: string): string {
  const { root } = parse(dataDir)
  let folder = dirname(dataDir)
  const parents = [folder]
  while (folder !== root) parents.push((folder = dirname(folder)))
  const passable = parents.every((each) => (statSync(each).mode & 0o001) !== 0)

  return passable ? `${dataDir}-homes` : '/var/lib/mcp-gateway/homes'
}
