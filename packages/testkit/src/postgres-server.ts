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
  /** Lines for pg_hba.conf, before the usual ones. */
  readonly access?: readonly string[]
}

/** A real PostgreSQL server on a port and in a folder of its own. Disposing stops it and removes the folder. */
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

  /** Why there can be none on this machine, if so. */
  static get missing(): string | undefined {
    return binaries() === undefined
      ? 'PostgreSQL is not installed (apt-get install postgresql); POSTGRES_URL may name a disposable database instead'
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

  /** What it wrote to its log. */
  get log(): string {
    return this.#log
  }

  /** Where a database of it is, for a user who has the password of all. */
  url(database = 'postgres', user = 'postgres', port = this.port): string {
    return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`
  }

  /** Runs SQL as the superuser; gives the rows, columns between `|`. */
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

  /** Makes a database and a user that owns it. */
  createDatabase(name: string): string {
    this.sql(`CREATE ROLE ${name} LOGIN PASSWORD '${password}'`)
    this.sql(`CREATE DATABASE ${name} OWNER ${name}`)
    return this.url(name, name)
  }

  /** Starts it on the same data and port, if it has ended. */
  async startAgain(): Promise<void> {
    if (this.#process !== undefined && !hasEnded(this.#process)) return
    this.#log = ''
    const parameters = {
      listen_addresses: '127.0.0.1',
      port: this.port,
      unix_socket_directories: this.folder,
      // What is to survive here is the end of processes, not of the machine.
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

  /** `SIGINT` breaks all connections and ends in order; `SIGKILL` ends all of its processes as they are. */
  async end(signal: 'SIGINT' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child?.pid === undefined || hasEnded(child)) return
    const ended = once(child, 'exit')
    if (signal === 'SIGKILL') {
      // One that stands still starts no process more, which would go on without it.
      child.kill('SIGSTOP')
      while (!['T', undefined].includes(stateOf(child.pid))) await sleep(1)
    }
    const ending = this.signal(signal, signal === 'SIGKILL')
    await ended
    // The shared memory is in use until the last of them has ended, and no server starts beside it.
    for (const pid of ending) while (![undefined, 'Z'].includes(stateOf(pid))) await sleep(1)
  }

  /** Sends a signal to the server, or to all of its processes, and tells which: `SIGSTOP` makes it stand still. */
  signal(signal: NodeJS.Signals, all = true): readonly number[] {
    const pid = this.#process?.pid
    if (pid === undefined) return []
    const pids = [pid, ...(all ? childrenOf(pid) : [])]
    for (const each of pids) {
      try {
        process.kill(each, signal)
      } catch {
        // It has ended by itself.
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

/** PgBouncer before a server, which hands its sessions from one transaction to another, so that notifications are lost. */
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
      `[databases]\n* = host=${server.folder} port=${server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = any\nauth_file = ${users}\npool_mode = transaction\ndefault_pool_size = 3\n`.replace(
        '* = host',
        '* = user=postgres host',
      ),
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

/** Neither runs as root: root starts them as somebody else. */
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
        // The next one.
      }
    }
    return 65_534
  }
  return { uid: id('-u'), gid: id('-g') }
}

/** The letter that /proc has for it: `T` for one that stands still, none for one that is gone. */
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

/** The folder of the newest server that is installed: Debian's are not in the search path. */
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
