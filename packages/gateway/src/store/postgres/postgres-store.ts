import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BoundSessions } from '../../core/virtual-servers/bound-sessions.ts'
import type { Holdings } from '../../core/access.ts'
import type { ApiKey } from '../../core/api-key.ts'
import { GatewayError } from '../../core/errors.ts'
import type { Owned, Resource } from '../../core/resource.ts'
import type { Secret } from '../../core/secret.ts'
import type { KeptLists, VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import { defined } from '../../lib/defined.ts'
import type { Admit, Change, Collection, ListQuery, Store } from '../store.ts'
import { Watcher } from '../watcher.ts'
import {
  ChangeFeed,
  keptChanges,
  type ChangeFeedOptions,
  type StoredChange,
} from './change-feed.ts'
import { Connections, type PostgresOptions, type Run } from './connections.ts'
import { explained, isOutage, toStoreError } from './errors.ts'
import { migrate } from './schema.ts'
import { monotonicNow } from '../../lib/clock.ts'

export interface PostgresStoreOptions extends PostgresOptions {
  /** Milliseconds to wait at the start for a server that is away. */
  readonly startTimeoutMs: number
  /** Ends that wait. */
  readonly signal?: AbortSignal
  readonly pollMs?: number
  /** Receives why the server is away; undefined once it is back. */
  readonly report?: (problem: Error | undefined) => void
}

/**
 * Opens a store in a schema of a PostgreSQL database, which several gateways may share.
 * @throws GatewayError `store_unavailable` with a message for the operator
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<Store> {
  const { schema, pollMs = 500, report = () => undefined } = options
  let connections: Connections | undefined
  try {
    connections = await Connections.open(options)
    await prepare(connections, options, report)
    return await PostgresStore.open({ connections, schema, pollMs, report })
  } catch (error) {
    await connections?.[Symbol.asyncDispose]()
    throw explained(error, options.url)
  }
}

const startRetryMs = 500

/** Waits for the server and migrates the schema. Throws at once if waiting cannot help. */
async function prepare(
  connections: Connections,
  { schema, startTimeoutMs, signal }: PostgresStoreOptions,
  report: (problem: Error | undefined) => void,
): Promise<void> {
  const end = monotonicNow() + startTimeoutMs
  for (let waiting = false; ; waiting = true) {
    // Migrations may take long.
    const client = connections.newClient({ query_timeout: 0 })
    try {
      await client.connect()
      await migrate(
        async (sql, values = []) =>
          (await client.query<Record<string, unknown>>(sql, [...values])).rows,
        schema,
      )
      if (waiting) report(undefined)

      return
    } catch (error) {
      if (!isOutage(error) || monotonicNow() >= end) throw error
      if (!waiting) report(error as Error)
    } finally {
      client.end().catch(() => undefined)
    }

    await sleep(startRetryMs, undefined, signal === undefined ? {} : { signal })
  }
}

/** A collection's name in the database, and how an owner's figures become `Held`. */
interface Place<Held> {
  readonly collection: string
  readonly heldOf: (figures: readonly Figures[]) => Held
}

/** The holdings of an owner of one kind. */
interface Figures {
  readonly kind: string
  readonly count: number
  readonly replicas: number
  readonly bytes: number
}

const resources: Place<Holdings> = {
  collection: 'resource',
  heldOf: (figures) => {
    const countOf = (kind: string): number => figures.find((each) => each.kind === kind)?.count ?? 0
    return {
      adapters: countOf('adapter'),
      tools: countOf('tool'),
      replicas: figures.reduce((sum, { replicas }) => sum + replicas, 0),
    }
  },
}

const countAll = (figures: readonly Figures[]): number =>
  figures.reduce((sum, { count }) => sum + count, 0)
const apiKeys: Place<number> = { collection: 'api_key', heldOf: countAll }
const secrets: Place<number> = { collection: 'secret', heldOf: countAll }
const servers: Place<number> = { collection: 'server', heldOf: countAll }
const lists: Place<number> = { collection: 'lists', heldOf: countAll }
const sessions: Place<number> = { collection: 'sessions', heldOf: countAll }

/** Database operations that all collections share. Errors are GatewayErrors. */
interface Database {
  readonly schema: string
  readonly read: Run
  /**
   * Runs one transaction with a change number of its own. Resolves when local watchers know of it.
   */
  write(work: (run: Run, seq: string) => Promise<void>): Promise<void>
}

class PostgresCollection<R extends Owned<unknown>, Held> implements Collection<R, Held> {
  readonly collection: string
  readonly #database: Database
  readonly #place: Place<Held>
  readonly #table: string
  readonly #watchers = new Set<Watcher<R>>()

  constructor(database: Database, place: Place<Held>) {
    this.#database = database
    this.#place = place
    this.collection = place.collection
    this.#table = `"${database.schema}".record`
  }

  async create(resource: R, admit?: Admit<Held>): Promise<void> {
    await this.#database.write(async (run, seq) => {
      await this.#admit(run, resource, admit)
      const created = await this.#change(run, seq, resource.name, {
        sql: `INSERT INTO ${this.#table}
                (collection, name, kind, uid, version, owner, replicas, tool_name, body)
              VALUES ($2, $3, $4, $5, $6, $7, $8, $9, $10)
              ON CONFLICT (collection, name) DO NOTHING`,
        values: [resource.kind, resource.uid, resource.version, ...columnsOf(resource)],
      })
      if (!created)
        throw new GatewayError('name_taken', { detail: `The name '${resource.name}' is taken.` })
    })
  }

  async get(name: string): Promise<R | undefined> {
    const [row] = await this.#database.read(
      `SELECT body FROM ${this.#table} WHERE collection = $1 AND name = $2`,
      [this.collection, name],
    )
    return row === undefined ? undefined : parse<R>(row['body'])
  }

  async list({ kind, after = '', limit, bytes }: ListQuery<R>): Promise<readonly R[]> {
    const rows = await this.#database.read(
      `SELECT body FROM (
         SELECT name, body, sum(bytes) OVER (ORDER BY name) - bytes AS before FROM (
           SELECT name, body, bytes FROM ${this.#table}
           WHERE collection = $1 AND name > $2 AND ($3::text IS NULL OR kind = $3)
           ORDER BY name LIMIT $4
         ) piece
       ) summed WHERE $5::bigint IS NULL OR before < $5 ORDER BY name`,
      [this.collection, after, kind ?? null, limit ?? null, bytes ?? null],
    )
    return rows.map(({ body }) => parse<R>(body))
  }

  async replace(resource: R, expectedVersion: number, admit?: Admit<Held>): Promise<void> {
    await this.#database.write(async (run, seq) => {
      await this.#admit(run, resource, admit)
      const replaced = await this.#change(run, seq, resource.name, {
        sql: `UPDATE ${this.#table}
              SET version = $6, owner = $7, replicas = $8, tool_name = $9, body = $10
              WHERE collection = $2 AND name = $3 AND uid = $4 AND version = $5`,
        values: [resource.uid, expectedVersion, resource.version, ...columnsOf(resource)],
      })
      if (!replaced) throw await this.#missed(run, resource.name, resource.uid)
    })
  }

  async delete(name: string, uid: string, expectedVersion: number): Promise<void> {
    await this.#database.write(async (run, seq) => {
      const deleted = await this.#change(run, seq, name, {
        sql:
          `DELETE FROM ${this.#table} WHERE collection = $2 AND name = $3 AND uid = $4 AND ` +
          'version = $5',
        values: [uid, expectedVersion],
      })
      if (!deleted) throw await this.#missed(run, name, uid)
    })
  }

  async *watch(signal: AbortSignal): AsyncIterable<Change<R>> {
    const watcher = new Watcher<R>()
    this.#watchers.add(watcher)
    try {
      yield* watcher.changes(signal)
    } finally {
      this.#watchers.delete(watcher)
    }
  }

  /** Tells watchers the present record. If it is damaged, they keep what they have. */
  tell({ name, kind, body }: StoredChange): void {
    let change: Change<R>
    try {
      const resource = body === undefined ? undefined : (JSON.parse(body) as R)
      change = { name, kind: kind as R['kind'], ...defined({ resource }) }
    } catch {
      return
    }
    for (const watcher of this.#watchers) watcher.notify(change)
  }

  /**
   * Runs a change and logs it to the feed in one statement. `$1` to `$3` are number, collection and
   * name.
   */
  async #change(
    run: Run,
    seq: string,
    name: string,
    { sql, values }: { sql: string; values: readonly unknown[] },
  ): Promise<boolean> {
    const { schema } = this.#database
    const rows = await run(
      `WITH done AS (${sql} RETURNING kind),
            logged AS (INSERT INTO "${schema}".change (seq, mark, collection, name, kind)
                       SELECT head.seq, head.mark, $2, $3, done.kind FROM done, "${schema}".head),
            forgotten AS (DELETE FROM "${schema}".change WHERE seq < $1::bigint - ${keptChanges})
       SELECT pg_notify('${schema}', '') FROM done`,
      [seq, this.collection, name, ...values],
    )
    return rows.length > 0
  }

  /** Calls `admit` with the owner's other holdings and the record's size. */
  async #admit(run: Run, resource: R, admit: Admit<Held> | undefined): Promise<void> {
    if (admit === undefined) return
    const { name, owner } = resource
    const figures = (await run(
      `SELECT kind, count(*)::integer AS count, sum(replicas)::integer AS replicas,
              sum(bytes)::float8 AS bytes
       FROM ${this.#table} WHERE owner = $1 AND collection = $2 AND name <> $3 GROUP BY kind`,
      [digestOf(owner), this.collection, name],
    )) as unknown as Figures[]

    const [total] = (await run(
      `SELECT coalesce(sum(bytes), 0)::float8 AS all_bytes,
              (SELECT bytes FROM ${this.#table} WHERE collection = $1 AND name = $2) AS present
       FROM ${this.#table} WHERE collection = $1`,
      [this.collection, name],
    )) as unknown as { readonly all_bytes: number; readonly present: number | null }[]

    const bytesBefore = total?.present ?? 0
    admit(this.#place.heldOf(figures), {
      bytes: Buffer.byteLength(JSON.stringify(resource)),
      bytesBefore,
      ownerBytes: figures.reduce((sum, { bytes }) => sum + bytes, 0),
      totalBytes: (total?.all_bytes ?? 0) - bytesBefore,
    })
  }

  async #missed(run: Run, name: string, uid: string): Promise<GatewayError> {
    const rows = await run(
      `SELECT FROM ${this.#table} WHERE collection = $1 AND name = $2 AND uid = $3`,
      [this.collection, name, uid],
    )
    return new GatewayError(rows.length === 0 ? 'not_found' : 'precondition_failed')
  }
}

/**
 * The columns `owner`, `replicas`, `tool_name` and `body`. Values that the database compares or
 * counts have columns of their own.
 */
function columnsOf(resource: Owned<unknown>): unknown[] {
  const { replicaCount = 0, toolDefinition } = resource.spec as Partial<Resource['spec']> & {
    readonly toolDefinition?: { readonly tool?: { readonly name?: string } }
  }
  const toolName = resource.kind === 'tool' ? toolDefinition?.tool?.name : undefined
  // Tool names are JSON, because database texts cannot hold every character.
  return [
    digestOf(resource.owner),
    replicaCount,
    toolName === undefined ? null : JSON.stringify(toolName),
    JSON.stringify(resource),
  ]
}

/** Digests have one length even for long ids: index entries are limited. */
function digestOf({ id, issuer }: Owned<unknown>['owner']): string {
  return createHash('sha256')
    .update(JSON.stringify([id, issuer]))
    .digest('hex')
}

function parse<R>(body: unknown): R {
  try {
    return JSON.parse(String(body)) as R
  } catch (error) {
    throw toStoreError(error)
  }
}

class PostgresStore extends PostgresCollection<Resource, Holdings> implements Store {
  readonly apiKeys: PostgresCollection<ApiKey, number>
  readonly secrets: PostgresCollection<Secret, number>
  readonly servers: PostgresCollection<VirtualServer, number>
  readonly lists: PostgresCollection<KeptLists, number>
  readonly sessions: PostgresCollection<BoundSessions, number>
  readonly #connections: Connections
  #feed: ChangeFeed | undefined

  private constructor({ connections, schema }: Pick<ChangeFeedOptions, 'connections' | 'schema'>) {
    const database: Database = {
      schema,
      read: connections.read,
      write: async (work) => {
        await connections.write(work)
        await this.#feed?.caughtUp()
      },
    }
    super(database, resources)
    this.apiKeys = new PostgresCollection(database, apiKeys)
    this.secrets = new PostgresCollection(database, secrets)
    this.servers = new PostgresCollection(database, servers)
    this.lists = new PostgresCollection(database, lists)
    this.sessions = new PostgresCollection(database, sessions)
    this.#connections = connections
  }

  static async open(options: Omit<ChangeFeedOptions, 'tell'>): Promise<PostgresStore> {
    const store = new PostgresStore(options)
    const { apiKeys, lists, secrets, servers, sessions } = store
    const collections = [store, apiKeys, secrets, servers, lists, sessions]
    const tell = (change: StoredChange): void =>
      collections.find(({ collection }) => collection === change.collection)?.tell(change)
    store.#feed = await ChangeFeed.open({ ...options, tell })
    return store
  }

  async ping(): Promise<void> {
    if (this.#feed?.connected !== true)
      throw toStoreError(new Error('There is no connection to the database.'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#feed?.[Symbol.asyncDispose]()
    await this.#connections[Symbol.asyncDispose]()
  }
}
