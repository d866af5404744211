import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { hasEnded } from './has-ended.ts'

const password = 'p/w %1'

export interface PostgresSettings {
  /** Parameters of the server, such as `max_connections`. */
  readonly parameters?: Readonly<Record<string, string | number>>
  /** Lines that precede the usual ones in pg_hba.conf. */
  readonly access?: readonly string[]
}

/**
 * A real PostgreSQL server with its own port and folder. Disposing stops it and removes the folder.
 */
export class PostgresServer implements AsyncDisposable {
  readonly folder: string
  readonly port: number
  readonly #parameters: Readonly<Record<string, string | number>>
  #process: ChildProcess | undefined
  #log = ''

  private constructor(
    folder: string,
    port: number,
    parameters: Readonly<Record<string, string | number>>,
  ) {
    this.folder = folder
    this.port = port
    this.#parameters = parameters
  }

  /** The reason why this machine cannot run PostgreSQL, if there is one. */
  static get missing(): string | undefined {
    return binaries() === undefined
      ? 'PostgreSQL is not installed (apt-get install postgresql); ' +
          'POSTGRES_URL may name a disposable database instead'
      : undefined
  }

  static async start({
    parameters = {},
    access = [],
  }: PostgresSettings = {}): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-pg-'))
    const account = serverAccount()
    const passwordFile = join(folder, 'password')
    writeFileSync(passwordFile, password)
    for (const path of [folder, passwordFile])
      if (account.uid !== undefined) chownSync(path, account.uid, account.gid)

    const data = join(folder, 'data')
    execFileSync(
      program('initdb'),
      [
        '-D',
        data,
        '-U',
        'postgres',
        '--pwfile',
        passwordFile,
        '--auth-local=trust',
        '--auth-host=scram-sha-256',
        '-E',
        'UTF8',
        '--no-locale',
        '-N',
      ],
      { ...account, cwd: folder, stdio: 'pipe' },
    )

    const rules = join(data, 'pg_hba.conf')
    writeFileSync(rules, [...access, readFileSync(rules, 'utf8')].join('\n'))
    const server = new PostgresServer(folder, await freePort(), parameters)
    await server.startAgain()

    return server
  }

  /** The server's log. */
  get log(): string {
    return this.#log
  }

  /** The URL of a database, for a user. All users share one password. */
  url(database = 'postgres', user = 'postgres', port = this.port): string {
    return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`
  }

  /** Runs SQL as the superuser. Returns the rows, with `|` between columns. */
  sql(text: string, database = 'postgres'): string[] {
    const output = execFileSync(
      program('psql'),
      [
        '-X',
        '-q',
        '-A',
        '-t',
        '-v',
        'ON_ERROR_STOP=1',
        '-h',
        this.folder,
        '-p',
        String(this.port),
        '-U',
        'postgres',
        '-d',
        database,
        '-c',
        text,
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    )

    return output.split('\n').filter((line) => line !== '')
  }

  /** Makes a database, and a user that owns it. Returns the URL. */
  createDatabase(name: string): string {
    this.sql(`CREATE ROLE ${name} LOGIN PASSWORD '${password}'`)
    this.sql(`CREATE DATABASE ${name} OWNER ${name}`)
    return this.url(name, name)
  }

  /** Starts the server on the same data and port, if it has ended. */
  async startAgain(): Promise<void> {
    if (this.#process !== undefined && !hasEnded(this.#process)) return
    this.#log = ''
    const parameters = {
      listen_addresses: '127.0.0.1',
      port: this.port,
      unix_socket_directories: this.folder,
      // The data must survive the end of processes here, not the end of the machine.
      fsync: 'off',
      shared_buffers: '16MB',
      ...this.#parameters,
    }

    const child = spawn(
      program('postgres'),
      [
        '-D',
        join(this.folder, 'data'),
        ...Object.entries(parameters).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { ...serverAccount(), cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] },
    )

    this.#process = child
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        this.#log += text
        if (this.#log.includes('ready to accept connections')) resolve()
      })
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`PostgreSQL did not start:\n${this.#log}`)))
    })
  }

  /** `SIGINT` breaks all connections and ends in order. `SIGKILL` ends all processes at once. */
  async end(signal: 'SIGINT' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child?.pid === undefined || hasEnded(child)) return
    const ended = once(child, 'exit')
    if (signal === 'SIGKILL') {
      // A stopped server starts no further process, which could outlive the server.
      child.kill('SIGSTOP')
      while (!['T', undefined].includes(stateOf(child.pid))) await sleep(1)
    }
    const ending = this.signal(signal, signal === 'SIGKILL')
    await ended
    // The last process holds the shared memory, and no new server starts while that is in use.
    for (const pid of ending) while (![undefined, 'Z'].includes(stateOf(pid))) await sleep(1)
  }

  /**
   * Sends a signal to the server, or to all of its processes, and returns their ids. `SIGSTOP`
   * freezes them.
   */
  signal(signal: NodeJS.Signals, all = true): readonly number[] {
    const pid = this.#process?.pid
    if (pid === undefined) return []
    const pids = [pid, ...(all ? childrenOf(pid) : [])]
    for (const each of pids) {
      try {
        process.kill(each, signal)
      } catch {
        // The process has ended by itself.
      }
    }
    return pids
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal('SIGCONT')
    await this.end('SIGINT')
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/**
 * PgBouncer before a server. It moves transactions between server sessions, so notifications are
 * lost.
 */
export class PgBouncer implements AsyncDisposable {
  readonly port: number
  readonly #process: ChildProcess
  readonly #folder: string

  private constructor(port: number, folder: string, child: ChildProcess) {
    this.port = port
    this.#folder = folder
    this.#process = child
  }

  static get missing(): string | undefined {
    return find('pgbouncer') === undefined
      ? 'PgBouncer is not installed (apt-get install pgbouncer)'
      : undefined
  }

  static async start(server: PostgresServer): Promise<PgBouncer> {
    const account = serverAccount()
    const folder = mkdtempSync(join(tmpdir(), 'mcpgw-pgb-'))
    const port = await freePort()
    const users = join(folder, 'users.txt')
    const settings = join(folder, 'pgbouncer.ini')

    writeFileSync(users, '')
    writeFileSync(
      settings,
      (
        `[databases]\n* = host=${server.folder} port=${server.port}\n[pgbouncer]\nlisten_addr ` +
        `= 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = any\nauth_file = ` +
        `${users}\npool_mode = transaction\ndefault_pool_size = 3\n`
      ).replace('* = host', '* = user=postgres host'),
    )

    for (const path of [folder, users, settings])
      if (account.uid !== undefined) chownSync(path, account.uid, account.gid)
    const child = spawn(find('pgbouncer') ?? 'pgbouncer', [settings], {
      ...account,
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let log = ''

    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        log += text
        if (log.includes('process up')) resolve()
      })
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`PgBouncer did not start:\n${log}`)))
    })

    return new PgBouncer(port, folder, child)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGTERM')
    await ended
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

type Account =
  | { readonly uid: number; readonly gid: number }
  | { readonly uid?: never; readonly gid?: never }

/** Neither program runs as root, so root starts them under another account. */
function serverAccount(): Account {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string): number => {
    for (const user of ['postgres', 'nobody']) {
      try {
        return Number(
          execFileSync('id', [flag, user], {
            encoding: 'utf8',
            stdio: ['ignore', 'pipe', 'ignore'],
          }),
        )
      } catch {
        // Try the next user.
      }
    }
    return 65_534
  }
  return { uid: id('-u'), gid: id('-g') }
}

/** The process state in /proc: `T` for a stopped process, undefined for an ended one. */
function stateOf(pid: number): string | undefined {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .map(Number)
}

/** The folder of the newest installed server. Debian's folders are not in the search path. */
function binaries(): string | undefined {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian)
    ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a))
    : []
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ]
  return folders.find(
    (folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')),
  )
}

function program(name: string): string {
  return join(binaries() ?? '', name)
}

function find(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}
