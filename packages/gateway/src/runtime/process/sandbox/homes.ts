import { createHash } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  fchownSync,
  mkdirSync,
  openSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { dirname, join, parse } from 'node:path'
import type { OwnerUsers } from './owner-users.ts'

/** The account of an owner's processes. `user` is undefined where owners have no users. */
export interface Account {
  readonly user: { readonly uid: number; readonly gid: number } | undefined
  readonly home: string
}

/** The homes of owners. Where owners have users, only the owner's user can read a home. */
export class Homes {
  readonly folder: string
  readonly #users: OwnerUsers | undefined

  /** @param users undefined where all processes run as the gateway's user */
  constructor(dataDir: string, configured: string | undefined, users: OwnerUsers | undefined) {
    const folder = configured ?? (users === undefined ? `${dataDir}-homes` : passable(dataDir))
    mkdirSync(folder, { recursive: true })
    this.folder = realpathSync(folder)
    this.#users = users
    chmodSync(this.folder, users === undefined ? 0o700 : 0o711)
  }

  get haveUsers(): boolean {
    return this.#users !== undefined
  }

  /** Tells whether a user id belongs to the range that owners get. */
  isUser(uid: number): boolean {
    return this.#users?.isInRange(uid) === true
  }

  of(owner: string): Account {
    const uid = this.#users?.of(owner)
    return this.#made(uid === undefined ? nameOf(owner) : String(uid), uid)
  }

  /** An account to try a sandbox with. It uses the given id where owners have users. */
  probe(uid: number): Account {
    return this.#made('probe', this.#users === undefined ? undefined : uid)
  }

  #made(name: string, uid: number | undefined): Account {
    const home = join(this.folder, name)
    makeFolder(home)
    if (uid !== undefined) give(home, uid)
    // The owner may replace the folder by a link, so leave an existing entry alone.
    const temporary = join(home, 'tmp')
    if (makeFolder(temporary) && uid !== undefined) give(temporary, uid)
    return { user: uid === undefined ? undefined : { uid, gid: uid }, home }
  }
}

/** Returns false when an entry of that name exists. */
function makeFolder(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Gives a folder to a user. Never follows a link. */
function give(path: string, uid: number): void {
  const folder = openSync(path, constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    fchownSync(folder, uid, uid)
  } finally {
    closeSync(folder)
  }
}

/** Variables that name folders of the gateway's user. Each owner has caches of their own. */
const ofTheGatewaysHome = new RegExp(
  String.raw`^(HOME|USER|LOGNAME|TMPDIR|TEMP|TMP|XDG_\w+|npm_config_cache|` +
    'UV_(CACHE|TOOL|TOOL_BIN|PYTHON_INSTALL)_DIR)$',
  'i',
)

/** The inherited variables, with the account's folders in place of those of the gateway's user. */
export function inAccount(
  { user, home }: Account,
  inherited: Readonly<Record<string, string>>,
): Record<string, string> {
  const kept = Object.entries(inherited).filter(([name]) => !ofTheGatewaysHome.test(name))
  const name = user === undefined ? 'mcp' : `mcp-${user.uid}`

  return {
    ...Object.fromEntries(kept),
    HOME: home,
    TMPDIR: join(home, 'tmp'),
    USER: name,
    LOGNAME: name,
  }
}

function nameOf(owner: string): string {
  return createHash('sha256').update(owner).digest('hex').slice(0, 32)
}

/**
 * Returns a folder beside the data folder if every user can pass through its parents, else a folder
 * where packages keep their state.
 */
function passable(dataDir: string): string {
  const { root } = parse(dataDir)
  let folder = dirname(dataDir)
  const parents = [folder]
  while (folder !== root) parents.push((folder = dirname(folder)))
  const open = parents.every((each) => (statSync(each).mode & 0o001) !== 0)

  return open ? `${dataDir}-homes` : '/var/lib/mcp-gateway/homes'
}
