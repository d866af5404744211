import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { delimiter, dirname, isAbsolute, join, relative } from 'node:path'
import { isHeldBelow, isHeldOutside, type LocalSocket } from '../../../lib/net/socket-owner.ts'
import { inAccount, type Account, type Homes } from './homes.ts'
import { asUser, hasSetpriv } from './as-user.ts'
import { bounded } from './bounds.ts'
import { heldBack } from './held-back.ts'
import { mustBeExecutable } from '../replica/executable.ts'
import type { Launch, Sandbox, SandboxOptions, Start } from '../launch.ts'
import { isWithin, shows, viewArguments, type View } from './view.ts'

/**
 * A process sees its own processes, its owner's home and the machine's read-only files, but nothing
 * of the gateway.
 */
export class BwrapSandbox implements Sandbox {
  readonly kind = 'bwrap'
  readonly #options: SandboxOptions
  readonly #homes: Homes
  readonly #bwrap: string
  readonly #bounded: readonly string[]
  readonly #temporaryBytes: number | undefined

  constructor(options: SandboxOptions, homes: Homes, bwrap: string) {
    this.#homes = homes
    this.#bwrap = bwrap
    this.#bounded = bounded(options.processes)
    this.#temporaryBytes = knowsSizes(bwrap) ? temporaryBytes : undefined
    this.#options = options
  }

  check(): void {
    const { privateFolders } = this.#options
    // Servers that already run would see a folder that is created later.
    for (const folder of privateFolders) mkdirSync(folder, { recursive: true, mode: 0o700 })
    // Where each owner has a user, file modes keep servers from the files.
    if (this.#homes.haveUsers) return

    const view = viewOf(this.#options, this.#homes.folder)
    const visible = privateFolders.flatMap(real).find((folder) => shows(view, folder))
    if (visible !== undefined)
      throw new Error(
        `audit.sinks: local servers could read the audit log in ${visible}, ` +
          'because they need other files there. ' +
          'Keep the audit log in a folder of its own, or in the data folder.',
      )
  }

  environment(owner: string, inherited: Readonly<Record<string, string>>): Record<string, string> {
    return inAccount(this.#homes.of(owner), inherited)
  }

  launch({ owner, command, args, workingDirectory, environment, marks }: Start): Launch {
    const account = this.#homes.of(owner)
    mustBeExecutable(command, environment['PATH'] ?? '')
    const { environment: outer, giving } = heldBack(environment)

    return {
      command: this.#bwrap,
      args: [...this.#arguments(account, marks), ...this.#bounded, ...giving, command, ...args],
      environment: outer,
      user: undefined,
      workingDirectory: workingDirectory ?? account.home,
      tellsSignalsByCode: true,
    }
  }

  /** If all servers share this process's user, the holder of the socket decides. */
  holds({ user, inode }: LocalSocket): boolean | Promise<boolean> {
    if (this.#homes.haveUsers) return this.#homes.isUser(user)
    return user === process.getuid?.() && isHeldOutside(inode).then((isOutside) => !isOutside)
  }

  /** If all servers share a user, only the processes below `pid` show the owner. */
  belongs({ user, inode }: LocalSocket, owner: string, pid: number): boolean | Promise<boolean> {
    const own = this.#homes.of(owner).user?.uid
    return own === undefined ? isHeldBelow(pid, inode) : user === own
  }

  /**
   * Returns why `bwrap` does not work here; undefined when it works. Starts a process in it to find
   * out.
   */
  obstacle(program: string): string | undefined {
    const look = `require('node:fs').accessSync(process.argv[1])`
    const account = this.#homes.probe(this.#options.users.first)
    const { status, error, stderr } = spawnSync(
      this.#bwrap,
      [...this.#arguments(account, {}), process.execPath, '-e', look, program],
      { cwd: account.home, env: {}, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' },
    )
    if (status === 0) return undefined

    const [said = ''] = (error?.message ?? stderr).trim().split('\n')
    return `bwrap could not start a program that reads ${program} (${said.slice(0, 200)}).`
  }

  /**
   * Sets the marks only inside: a sweep that ended `bwrap` first would give the server no time to
   * stop. Everything inside ends with the gateway or the server, and cannot escape.
   */
  #arguments({ user, home }: Account, marks: Readonly<Record<string, string>>): string[] {
    return [
      viewArguments({
        ...viewOf(this.#options, this.#homes.folder),
        home,
        temporaryBytes: this.#temporaryBytes,
      }),
      ['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
      ['--die-with-parent'],
      user === undefined ? [] : ['--cap-drop', 'ALL', ...neededCapabilities],
      Object.entries(marks).flatMap(([name, value]) => ['--setenv', name, value]),
      ['--'],
      user === undefined ? [] : asUser(user.uid),
    ].flat()
  }
}

/**
 * Bytes that each in-memory folder of a view may hold. When memory runs out, the kernel cannot tell
 * who owns these bytes.
 */
const temporaryBytes = 512 * 1024 * 1024

/** bwrap before 0.7 has no `--size`, and gives such folders half of the memory. */
function knowsSizes(bwrap: string): boolean {
  return spawnSync(bwrap, ['--help'], { encoding: 'utf8' }).stdout?.includes('--size ') === true
}

/** Needed to enter the owner's home and then become its user. The change of user drops them. */
const neededCapabilities = ['CAP_SETUID', 'CAP_SETGID', 'CAP_DAC_READ_SEARCH'].flatMap((each) => [
  '--cap-add',
  each,
])

/** Returns the path of this machine's `bwrap`, or why no `bwrap` can be used. */
export function findBwrap(path: string): { readonly bwrap: string } | { readonly missing: string } {
  if (process.platform !== 'linux')
    return { missing: `this is ${process.platform}, and it needs Linux.` }

  const bwrap = path
    .split(delimiter)
    .map((folder) => join(folder, 'bwrap'))
    .find((file) => isAbsolute(file) && existsSync(file))
  if (bwrap === undefined)
    return { missing: 'bwrap is not installed (the package is called bubblewrap).' }

  return process.getuid?.() === 0 && !hasSetpriv()
    ? { missing: 'setpriv of util-linux is not installed.' }
    : { bwrap }
}

/** @param resolvConf the file that configures the lookup of host names */
export function viewOf(
  options: SandboxOptions,
  homes: string,
  resolvConf = '/etc/resolv.conf',
): Omit<View, 'home' | 'temporaryBytes'> {
  const { dataDir, path, programs, privateFiles, privateFolders, mounts, userHome } = options
  const hidden = [userHome ?? '/', '/tmp', '/var/tmp', '/run', '/var/run', homes].flatMap(real)
  const hides = hidden.filter((folder) => folder !== '/')
  const ofPrograms = programs.flatMap(({ command, workingDirectory }) => [
    ...command.filter(isAbsolute).flatMap((file) => projectOf(file, hides)),
    ...(workingDirectory === undefined ? [] : [workingDirectory]),
  ])
  const ofPath = [dirname(process.execPath), ...path.split(delimiter).filter(isAbsolute)]

  const shown = [
    ...ofPrograms,
    ...ofPath,
    // npm and pyenv keep here the programs to which the links in `PATH` lead.
    ...ofPath.flatMap((folder) => besides.map((name) => join(dirname(folder), name))),
    ...options.readableFiles,
    // Show only the file: the sockets of the name service are beside it.
    ...real(resolvConf),
  ].flatMap((each) => [...new Set([each, ...real(each)])])

  const isSpare = (folder: string): boolean =>
    ![...system, process.execPath, ...shown].some((each) => isWithin(each, folder))

  const secret = [dataDir, homes, ...privateFiles, ...privateFolders.filter(isSpare)].flatMap(real)

  return {
    hidden: hides,
    shown: shown.filter(existsSync),
    secret: [...secret, ...waysByLinks(secret, shown, hides)].map((each) => ({
      path: each,
      isFolder: statSync(each).isDirectory(),
    })),
    mounts: mounts.map((mount) => ({ ...mount, path: realpathSync(mount.path) })),
  }
}

/**
 * Returns the paths of secrets by links. In a hidden folder, a view shows the folder behind a link
 * as a folder, so the secrets in it have a second path.
 */
function waysByLinks(
  secret: readonly string[],
  shown: readonly string[],
  hidden: readonly string[],
): string[] {
  return shown
    .filter((link) => hidden.some((root) => isWithin(link, root)))
    .flatMap((link) =>
      real(link).flatMap((target) =>
        secret
          .filter((each) => target !== link && isWithin(each, target))
          .map((each) => join(link, relative(target, each))),
      ),
    )
}

/**
 * Returns the whole project of a file in a hidden folder, because a program needs more than its
 * first file.
 */
function projectOf(file: string, hidden: readonly string[]): string[] {
  return real(file).flatMap((path) => {
    const root = hidden.find((folder) => isWithin(path, folder))
    if (root === undefined) return [path]

    let project = statSync(path).isDirectory() ? path : dirname(path)
    for (let folder = project; folder !== root && isWithin(folder, root); folder = dirname(folder))
      if (manifests.some((name) => existsSync(join(folder, name)))) project = folder
    // A file directly in the hidden folder must not show the whole folder.
    return project === root ? [path] : [path, project]
  })
}

const besides = ['lib', 'libexec', 'versions']

/** Folders that every program needs. */
const system = ['/usr', '/bin', '/sbin', '/lib', '/lib64', '/etc', '/opt', '/dev', '/proc', '/sys']

const manifests = ['package.json', 'pyproject.toml', '.git']

function real(path: string): string[] {
  try {
    return [realpathSync(path)]
  } catch {
    return []
  }
}
