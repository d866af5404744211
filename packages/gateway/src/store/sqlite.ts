import { chmodSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'libsql'
import { GatewayError } from '../core/errors.ts'
import type { ApiKey } from '../core/api-key.ts'
import type { BoundSessions } from '../core/virtual-servers/bound-sessions.ts'
import type { Holdings } from '../core/access.ts'
import type { Owned, Resource } from '../core/resource.ts'
import type { Secret } from '../core/secret.ts'
import { migrations } from './sqlite-migrations.ts'
import type { KeptLists, VirtualServer } from '../core/virtual-servers/virtual-server.ts'
import type { Admit, Change, Collection, ListQuery, Store } from './store.ts'
import { Watcher } from './watcher.ts'

export interface SqliteOptions {
  readonly file: string
  /** Milliseconds between two checks for changes by other processes. */
  readonly pollMs?: number
  /** Most pages of 4 KiB in the file; beyond it, writes fail with `storage_full`. */
  readonly maxPages?: number
}

/** Milliseconds to wait for a file that another process uses. */
const busyMs = 5000

/**
 * Deletions stay for this many changes, for processes that follow the file. A process that lags
 * more compares all names.
 */
const keptDeletions = 10_000

/**
 * Opens the embedded store: one file, WAL, every write on disk before it returns.
 * @throws GatewayError `store_unavailable` when the file cannot be opened, is damaged or has a
 * newer version; `storage_full`
 */
export function openSqliteStore(options: SqliteOptions): Store {
  let database: Database.Database
  try {
    database = new Database(options.file)
    chmodSync(options.file, 0o600)
    // Set the timeout first, to wait for another process that opens the file at this moment. FULL:
    // a finished write survives a power cut, not only `kill -9`.
    database.exec(
      `PRAGMA busy_timeout = ${busyMs}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;`,
    )
    if (options.maxPages !== undefined) database.exec(`PRAGMA max_page_count = ${options.maxPages}`)

    migrate(database, options.file)
    check(database)
  } catch (error) {
    if (error instanceof GatewayError) throw error
    const { message } = error as Error
    throw new GatewayError(isFull(error, options.file) ? 'storage_full' : 'store_unavailable', {
      detail: isDamage(error)
        ? `The store ${options.file} is damaged (${message}). Keep a copy of it; ` +
          `then restore a copy from before, or take out what can be saved with sqlite3's .recover.`
        : `The store ${options.file} cannot be opened: ${message}`,
      cause: error,
    })
  }

  return new SqliteStore(database, options)
}

/** Reports damage when the store opens, not when a write has already built on it. */
function check(database: Database.Database): void {
  const { quick_check: result } = database.prepare('PRAGMA quick_check(1)').get() as {
    quick_check: string
  }
  if (result !== 'ok')
    throw new Database.SqliteError(result.replaceAll(/\s+/g, ' '), 'SQLITE_CORRUPT', 11)
}

function migrate(database: Database.Database, file: string): void {
  // Without a change, take no lock and write nothing: a gateway then starts beside a writer, and on
  // a full disk.
  if (schemaVersion(database, file) === migrations.length) return
  // Two processes may open a new file at once; the second waits and then finds nothing to do.
  inTransaction(database, () => {
    for (const step of migrations.slice(schemaVersion(database, file))) database.exec(step)
    database.exec(`PRAGMA user_version = ${migrations.length}`)
  })
}

/** @throws GatewayError when the version is newer than this gateway knows */
function schemaVersion(database: Database.Database, file: string): number {
  const { user_version: version } = database.prepare('PRAGMA user_version').get() as {
    user_version: number
  }
  if (version <= migrations.length) return version
  throw new GatewayError('store_unavailable', {
    detail:
      `The store ${file} was written by a newer version of the gateway (schema ${version}, ` +
      `known ${migrations.length}). Start that version, or restore a copy from before.`,
  })
}

/** Does all of the work or none. `DEFERRED` work, which only reads, sees one state of the file. */
function inTransaction(
  database: Database.Database,
  work: () => void,
  mode: 'IMMEDIATE' | 'DEFERRED' = 'IMMEDIATE',
): void {
  database.exec(`BEGIN ${mode}`)
  finish(database, work)
}

/** Waits for this process's turn to write. */
async function inTurn(database: Database.Database, work: () => void): Promise<void> {
  const deadline = performance.now() + busyMs
  while (!began(database, performance.now() < deadline)) {
    // SQLite's own wait blocks this thread in ever longer steps: beside a process that writes
    // without a pause, 5 s were too little.
    await sleep(1 + Math.random() * 4)
  }
  finish(database, work)
}

/**
 * Begins to write if no other process does, and returns false if another does and this may wait.
 * @throws SqliteError `SQLITE_BUSY` when another process writes and this may not wait
 */
function began(database: Database.Database, mayWait: boolean): boolean {
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE')
    return true
  } catch (error) {
    if (mayWait && (error as { code?: string }).code === 'SQLITE_BUSY') return false
    throw error
  } finally {
    database.exec(`PRAGMA busy_timeout = ${busyMs}`)
  }
}

function finish(database: Database.Database, work: () => void): void {
  try {
    work()
    database.exec('COMMIT')
  } catch (error) {
    // SQLite itself rolls back when the disk is full; report the first error.
    if (database.inTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** File operations that all collections share. Errors are GatewayErrors. */
interface File {
  readonly database: Database.Database
  /** Runs one transaction, which gets a change number of its own. */
  write(work: (change: number) => void): Promise<void>
  read<T>(work: () => T): T
}

function fileOf(database: Database.Database, path: string): File {
  return {
    database,
    read: (work) => {
      try {
        return work()
      } catch (error) {
        throw toStoreError(error, path)
      }
    },
    write: async (work) => {
      try {
        await inTurn(database, () => {
          const { change } = database
            .prepare('UPDATE counter SET change = change + 1 RETURNING change')
            .get() as { change: number }
          work(change)
        })
      } catch (error) {
        throw toStoreError(error, path)
      }
    },
  }
}

function toStoreError(error: unknown, path: string): GatewayError {
  if (error instanceof GatewayError) return error
  if ((error as { code?: string }).code === 'SQLITE_CONSTRAINT_UNIQUE')
    return new GatewayError('name_taken', {
      detail: 'Another tool has this MCP tool name (toolDefinition.tool.name).',
      cause: error,
    })
  if (isFull(error, path))
    return new GatewayError('storage_full', {
      detail: 'The disk of the data folder is full. Nothing was changed.',
      cause: error,
    })
  // Damage does not heal, so send no `retry-after`.
  const told = isDamage(error)
    ? { detail: 'The store is damaged.' }
    : { headers: { 'retry-after': '1' } }
  return new GatewayError('store_unavailable', { ...told, cause: error })
}

/** The place of a collection in the file. */
interface Place<R extends Owned<unknown>, Held> {
  readonly table: string
  /** Kinds in the table. The first stands for an unknown record. */
  readonly kinds: readonly [R['kind'], ...R['kind'][]]
  /** A query for the parts of `Held`: what an owner (id, issuer) holds besides the named record. */
  readonly held: string
  readonly heldOf: (row: Record<string, number>) => Held
}

class SqliteCollection<R extends Owned<unknown>, Held> implements Collection<R, Held> {
  readonly #file: File
  readonly #place: Place<R, Held>
  readonly #table: string
  readonly #get: Database.Statement
  readonly #watchers = new Set<Watcher<R>>()
  /** The kinds of all records by name, to find deletions. Undefined until somebody watches. */
  #known: Map<string, R['kind']> | undefined

  constructor(file: File, place: Place<R, Held>) {
    this.#file = file
    this.#place = place
    this.#table = place.table
    this.#get = file.database.prepare(`SELECT body FROM ${place.table} WHERE name = ?`)
  }

  async create(resource: R, admit?: Admit<Held>): Promise<void> {
    const body = JSON.stringify(resource)
    await this.#write({ kind: resource.kind, name: resource.name, resource }, (change) => {
      this.#admit(resource, body, admit)
      const inserted = this.#prepare(
        `INSERT INTO ${this.#table} (name, kind, uid, version, body, change) VALUES (?, ?, ` +
          '?, ?, ?, ?) ON CONFLICT (name) DO NOTHING',
      ).run(resource.name, resource.kind, resource.uid, resource.version, body, change)
      if (inserted.changes === 0)
        throw new GatewayError('name_taken', { detail: `The name '${resource.name}' is taken.` })
    })
  }

  async get(name: string): Promise<R | undefined> {
    return this.#file.read(() => {
      const row = this.#get.get(name) as { body: string } | undefined
      return row === undefined ? undefined : (JSON.parse(row.body) as R)
    })
  }

  async list(query: ListQuery<R>): Promise<readonly R[]> {
    return this.#file.read(() => {
      const { after = '', kind = null, limit = -1, bytes } = query
      const found = (columns: string, most: number): unknown[] =>
        this.#prepare(
          `SELECT ${columns} FROM ${this.#table} WHERE name > ? AND (? IS NULL OR kind = ?) ` +
            'ORDER BY name LIMIT ?',
        ).all(after, kind, kind, most)

      let most = limit
      if (bytes !== undefined) {
        // Read the sizes first, so that the driver reads only the texts that are wanted.
        const sizes = found('octet_length(body) AS size', limit) as { size: number }[]
        most = countWithin(bytes, sizes)
      }

      return (found('body', most) as { body: string }[]).map(({ body }) => JSON.parse(body) as R)
    })
  }

  async replace(resource: R, expectedVersion: number, admit?: Admit<Held>): Promise<void> {
    const body = JSON.stringify(resource)
    await this.#write({ kind: resource.kind, name: resource.name, resource }, (change) => {
      this.#admit(resource, body, admit)
      const updated = this.#prepare(
        `UPDATE ${this.#table} SET version = ?, body = ?, ` +
          'change = ? WHERE name = ? AND uid = ? AND version = ?',
      ).run(resource.version, body, change, resource.name, resource.uid, expectedVersion)
      if (updated.changes === 0) throw this.#missed(resource.name, resource.uid)
    })
  }

  async delete(name: string, uid: string, expectedVersion: number): Promise<void> {
    const kind = (await this.get(name))?.kind ?? this.#place.kinds[0]
    await this.#write({ kind, name }, (change) => {
      const deleted = this.#prepare(
        `DELETE FROM ${this.#table} WHERE name = ? AND uid = ? AND version = ?`,
      ).run(name, uid, expectedVersion)
      if (deleted.changes === 0) throw this.#missed(name, uid)
      this.#prepare('INSERT INTO deletion (change, name, kind) VALUES (?, ?, ?)').run(
        change,
        name,
        kind,
      )
      this.#prepare('DELETE FROM deletion WHERE change < ?').run(change - keptDeletions)
    })
  }

  async *watch(signal: AbortSignal): AsyncIterable<Change<R>> {
    this.#known ??= this.#file.read(() => this.#names())
    const watcher = new Watcher<R>()
    this.#watchers.add(watcher)
    try {
      yield* watcher.changes(signal)
    } finally {
      this.#watchers.delete(watcher)
    }
  }

  /** Reports records that any process has stored or deleted after `change`, up to `last`. */
  tellAfter(change: number, last: number): void {
    const present = this.#prepare(`SELECT name FROM ${this.#table} WHERE change > ?`).all(
      change,
    ) as { name: string }[]

    // Deletions that are no longer kept are found by their names.
    const gone = last - change > keptDeletions ? this.#missing() : this.#deletedAfter(change)
    for (const { name, kind } of gone) this.#tell({ name, kind })
    // Read records one by one, because they may be large.
    for (const { name } of present) {
      const { body } = this.#get.get(name) as { body: string }
      const resource = JSON.parse(body) as R
      this.#tell({ name: resource.name, kind: resource.kind, resource })
    }
  }

  #deletedAfter(change: number): readonly Change<R>[] {
    return this.#prepare(
      'SELECT name, kind FROM deletion WHERE change > ? AND kind IN (SELECT value FROM ' +
        `json_each(?)) AND name NOT IN (SELECT name FROM ${this.#table}) ORDER BY change`,
    ).all(change, JSON.stringify(this.#place.kinds)) as Change<R>[]
  }

  /** Records that were known, and are not in the file. */
  #missing(): readonly Change<R>[] {
    const present = this.#names()
    return [...(this.#known ?? [])].flatMap(([name, kind]) =>
      present.has(name) ? [] : [{ name, kind }],
    )
  }

  #names(): Map<string, R['kind']> {
    const rows = this.#prepare(`SELECT name, kind FROM ${this.#table}`).all() as Change<R>[]
    return new Map(rows.map(({ name, kind }) => [name, kind]))
  }

  /** Watchers learn of a change once it is stored. */
  async #write(change: Change<R>, work: (number: number) => void): Promise<void> {
    await this.#file.write(work)
    this.#tell(change)
  }

  #tell(change: Change<R>): void {
    const { name, kind, resource } = change
    if (resource === undefined) this.#known?.delete(name)
    else this.#known?.set(name, kind)
    for (const watcher of this.#watchers) watcher.notify(change)
  }

  /** Calls `admit` with the owner's other holdings and the record's size. */
  #admit(resource: R, body: string, admit: Admit<Held> | undefined): void {
    if (admit === undefined) return
    const { name, owner } = resource
    const row = this.#prepare(this.#place.held).get(owner.id, owner.issuer, name) as Record<
      string,
      number
    >
    const { ownerBytes = 0, totalBytes = 0, bytesBefore = 0 } = row
    const bytes = Buffer.byteLength(body)
    admit(this.#place.heldOf(row), { bytes, bytesBefore, ownerBytes, totalBytes })
  }

  #missed(name: string, uid: string): GatewayError {
    const row = this.#prepare(`SELECT 1 FROM ${this.#table} WHERE name = ? AND uid = ?`).get(
      name,
      uid,
    )
    return row === undefined
      ? new GatewayError('not_found')
      : new GatewayError('precondition_failed')
  }

  #prepare(sql: string): Database.Statement {
    return this.#file.database.prepare(sql)
  }
}

/** The number of records, from the first one on, until they have `bytes` together. */
function countWithin(bytes: number, sizes: readonly { readonly size: number }[]): number {
  let count = 0
  let room = bytes
  for (const { size } of sizes) {
    count += 1
    room -= size
    if (room <= 0) break
  }
  return count
}

const resources: Place<Resource, Holdings> = {
  table: 'resource',
  kinds: ['adapter', 'tool'],
  held: `SELECT coalesce(holding.adapters, 0) - coalesce(own.kind = 'adapter', 0) AS adapters,
           coalesce(holding.tools, 0) - coalesce(own.kind = 'tool', 0) AS tools,
           coalesce(holding.replicas, 0) - coalesce(own.replicas, 0) AS replicas,
           coalesce(holding.bytes, 0) - coalesce(own.bytes, 0) AS ownerBytes,
           (SELECT coalesce(sum(bytes), 0) FROM holding) - coalesce(present.bytes, 0) AS totalBytes,
           coalesce(present.bytes, 0) AS bytesBefore
         FROM (SELECT json_array(?1, ?2) AS owner) AS asked
           LEFT JOIN holding ON holding.owner = asked.owner
           LEFT JOIN resource AS present ON present.name = ?3
           LEFT JOIN resource AS own ON own.name = ?3 AND own.owner = asked.owner`,
  heldOf: ({ adapters = 0, tools = 0, replicas = 0 }) => ({ adapters, tools, replicas }),
}

/** For collections whose quota is only a count. */
const counted = (table: string): Pick<Place<never, number>, 'table' | 'held' | 'heldOf'> => ({
  table,
  held: `SELECT count(*) AS count, coalesce(sum(bytes), 0) AS ownerBytes,
           (SELECT coalesce(sum(bytes), 0) FROM ${table})
             - coalesce((SELECT bytes FROM ${table} WHERE name = ?3), 0) AS totalBytes,
           coalesce((SELECT bytes FROM ${table} WHERE name = ?3), 0) AS bytesBefore
         FROM ${table} WHERE json_valid(body) AND json_extract(body, '$.owner.id') = ?1
           AND json_extract(body, '$.owner.issuer') = ?2 AND name <> ?3`,
  heldOf: ({ count = 0 }) => count,
})
const apiKeys: Place<ApiKey, number> = { kinds: ['api-key'], ...counted('api_key') }

const secrets: Place<Secret, number> = { kinds: ['secret'], ...counted('secret') }

const servers: Place<VirtualServer, number> = { kinds: ['server'], ...counted('server') }

const lists: Place<KeptLists, number> = { kinds: ['lists'], ...counted('lists') }

const sessions: Place<BoundSessions, number> = { kinds: ['sessions'], ...counted('sessions') }

class SqliteStore extends SqliteCollection<Resource, Holdings> implements Store {
  readonly apiKeys: SqliteCollection<ApiKey, number>
  readonly secrets: SqliteCollection<Secret, number>
  readonly servers: SqliteCollection<VirtualServer, number>
  readonly lists: SqliteCollection<KeptLists, number>
  readonly sessions: SqliteCollection<BoundSessions, number>
  readonly #file: File
  readonly #database: Database.Database
  readonly #poll: NodeJS.Timeout
  readonly #dataVersion: Database.Statement
  #seenVersion: number
  #seenChange: number
  #closed = false

  constructor(database: Database.Database, { file: path, pollMs = 500 }: SqliteOptions) {
    const file = fileOf(database, path)
    super(file, resources)
    this.#file = file
    this.apiKeys = new SqliteCollection(file, apiKeys)
    this.secrets = new SqliteCollection(file, secrets)
    this.servers = new SqliteCollection(file, servers)
    this.lists = new SqliteCollection(file, lists)
    this.sessions = new SqliteCollection(file, sessions)
    this.#database = database
    this.#dataVersion = database.prepare('PRAGMA data_version')
    this.#seenVersion = this.#readDataVersion()
    this.#seenChange = this.#lastChange()
    this.#poll = setInterval(() => this.#lookForForeignChanges(), pollMs).unref()
  }

  async ping(): Promise<void> {
    this.#file.read(() => this.#lastChange())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#poll)
    try {
      // libsql keeps the file open until it collects its statements, which prevents SQLite's own
      // last checkpoint.
      this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } catch {
      // Another process reads, or the disk is full: the rest stays in the log beside the file.
    }
    this.#database.close()
  }

  #readDataVersion(): number {
    return (this.#dataVersion.get() as { data_version: number }).data_version
  }

  #lastChange(): number {
    return (this.#database.prepare('SELECT change FROM counter').get() as { change: number }).change
  }

  /**
   * `PRAGMA data_version` changes only when another connection has written (SQLite documentation,
   * pragma.html).
   */
  #lookForForeignChanges(): void {
    if (this.#closed) return
    try {
      // One transaction: another process's change between two of these reads would be missed.
      inTransaction(
        this.#database,
        () => {
          const version = this.#readDataVersion()
          const last = this.#lastChange()
          if (version !== this.#seenVersion) {
            const { apiKeys, lists, secrets, servers, sessions } = this
            for (const collection of [this, apiKeys, secrets, servers, lists, sessions])
              collection.tellAfter(this.#seenChange, last)
            this.#seenVersion = version
          }

          this.#seenChange = last
        },
        'DEFERRED',
      )
    } catch {
      // The file is busy or its disk fails: the next check finds the same changes.
    }
  }
}

/**
 * Tells whether a full disk caused an error. If SQLite only reports that I/O failed, ask the disk.
 */
function isFull(error: unknown, file: string): boolean {
  const { code = '', message = '' } = error as { code?: string; message?: string }
  if (
    code.startsWith('SQLITE_FULL') ||
    code === 'ENOSPC' ||
    /disk is full|no space left/i.test(message)
  )
    return true
  if (!code.startsWith('SQLITE_IOERR') && !code.startsWith('SQLITE_CANTOPEN')) return false
  try {
    const { bavail, bsize } = statfsSync(dirname(file))
    return bavail * bsize < leastRoom
  } catch {
    return false
  }
}

/**
 * The files beside the database begin with this many bytes (wal-index, sqlite.org/walformat.html
 * section 2).
 */
const leastRoom = 64 * 1024

function isDamage(error: unknown): boolean {
  return (
    error instanceof SyntaxError ||
    /^SQLITE_(CORRUPT|NOTADB)/.test((error as { code?: string }).code ?? '')
  )
}
