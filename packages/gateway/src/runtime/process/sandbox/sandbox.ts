import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { LocalSocket } from '../../../lib/net/socket-owner.ts'
import { asUser, hasSetpriv } from './as-user.ts'
import { bounded } from './bounds.ts'
import { BwrapSandbox, findBwrap } from './bwrap.ts'
import { mustBeExecutable } from '../replica/executable.ts'
import { heldBack } from './held-back.ts'
import { Homes, inAccount } from './homes.ts'
import type { Launch, Sandbox, SandboxOptions, Start } from '../launch.ts'
import { OwnerUsers } from './owner-users.ts'

/**
 * Opens the configured sandbox. `auto` takes the strongest that works here without set-up. The log
 * names the choice, and why no stronger one works.
 * @throws Error when the configured sandbox does not work here
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

/** Each function opens its sandbox, or returns what is missing. */
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
    uid: (options) => userObstacle(options) ?? new UserSandbox(openHomes(options), options),
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

/** Runs each owner's servers as a user of their own, with a home that only this user can read. */
class UserSandbox implements Sandbox {
  readonly kind = 'uid'
  readonly #homes: Homes
  readonly #bounded: readonly string[]
  readonly #hasSetpriv = hasSetpriv()

  constructor(homes: Homes, { processes }: SandboxOptions) {
    this.#homes = homes
    this.#bounded = bounded(processes)
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
    const [first = '', ...rest] = [...toUser, ...this.#bounded, ...giving, command, ...args]

    return { ...common, command: first, args: rest, user: toUser.length === 0 ? user : undefined }
  }
}

/** Returns why servers cannot run as users of their own; undefined when they can. */
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
