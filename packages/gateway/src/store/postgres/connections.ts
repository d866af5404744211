import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { defined } from '../../lib/defined.ts'
import { parsePostgresUrl } from '../../lib/postgres-url.ts'
import { isBroken, toStoreError, unavailable } from './errors.ts'

export interface PostgresOptions {
  readonly url: string
  /**
   * The file is read for each new connection, so that the password can change while the gateway
   * runs.
   */
  readonly passwordFile?: string | undefined
  /** The database schema that holds the store's tables. */
  readonly schema: string
  /** Connections for reading. One for writing and one for notifications come on top. */
  readonly poolSize: number
  /** Milliseconds for a connection to open, and for a statement to finish. */
  readonly timeoutMs: number
}

/**
 * The number of a change, and a mark that tells it from the same number in another history (a
 * restored backup).
 */
export interface Mark {
  readonly seq: string
  readonly mark: string
}

export type Run = (sql: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>

/**
 * The connections of one gateway. They rely on no session state of the server, so a pooler may
 * stand in between (PgBouncer, `pool_mode = transaction`).
 */
export class Connections implements AsyncDisposable {
  readonly #config: pg.ClientConfig
  readonly #schema: string
  readonly #timeoutMs: number
  readonly #readers: pg.Pool
  /**
   * One connection: writes run one after the other anyway, and waiting writes take no connection
   * from readers.
   */
  readonly #writer: pg.Pool

  private constructor(config: pg.ClientConfig, { schema, poolSize, timeoutMs }: PostgresOptions) {
    this.#config = config
    this.#schema = schema
    this.#timeoutMs = timeoutMs
    this.#readers = newPool(config, poolSize)
    this.#writer = newPool(config, 1)
  }

  static async open(options: PostgresOptions): Promise<Connections> {
    return new Connections(await clientConfig(options), options)
  }

  /** Opens a connection outside of the pools. */
  newClient(settings: pg.ClientConfig = {}): pg.Client {
    const client = new pg.Client({ ...this.#config, ...settings })
    ignoreErrors(client)
    return client
  }

  /** Runs a statement that changes nothing. */
  readonly read: Run = async (sql, values) => {
    return whileBroken(
      this.#readers,
      async () =>
        (await this.#readers.query<Record<string, unknown>>(sql, [...(values ?? [])])).rows,
    )
  }

  /**
   * Runs work in a transaction with a change number. Writers hold `head` until they end, so writes
   * of all processes are serial: numbers become visible in order, and reads of the work stay valid.
   * @throws any error of the work, which is undone
   */
  async write(work: (run: Run, seq: string) => Promise<void>): Promise<void> {
    // The server rolls back the transaction of a broken connection.
    await whileBroken(this.#writer, () => this.#write(work))
  }

  async #write(work: (run: Run, seq: string) => Promise<void>): Promise<void> {
    const client = await this.#writer.connect()
    let committing: Mark | undefined
    let healthy = false

    try {
      const head = await this.#begin(client)
      const run: Run = async (sql, values = []) =>
        (await client.query<Record<string, unknown>>(sql, [...values])).rows
      let refusal: unknown

      try {
        await work(run, head.seq)
      } catch (error) {
        refusal = error
        throw error
      } finally {
        if (refusal !== undefined) healthy = await rolledBack(client)
      }

      committing = head
      await client.query('COMMIT')
      healthy = true
    } catch (error) {
      if (committing === undefined || !(await this.#isCommitted(committing, error))) throw error
    } finally {
      client.release(!healthy)
    }
  }

  /**
   * Limits apply to the transaction, because poolers share sessions. An idle transaction must not
   * block all others.
   */
  async #begin(client: pg.PoolClient): Promise<Mark> {
    const results = (await client.query<Mark & pg.QueryResultRow>(
      `BEGIN;
       SET LOCAL statement_timeout = ${this.#timeoutMs};
       SET LOCAL idle_in_transaction_session_timeout = ${this.#timeoutMs};
       UPDATE "${this.#schema}".head SET seq = seq + 1, mark = gen_random_uuid()
       RETURNING seq, mark`,
    )) as unknown as pg.QueryResult<Mark & pg.QueryResultRow>[]
    const head = results.at(-1)?.rows[0]
    if (head === undefined) throw new Error('The table head is empty.')
    return head
  }

  /**
   * Finds out the result of a COMMIT without an answer. Once this holds `head`, the transaction has
   * ended.
   */
  async #isCommitted({ seq, mark }: Mark, cause: unknown): Promise<boolean> {
    const client = this.newClient()
    try {
      await client.connect()
      await client.query(
        `BEGIN; SET LOCAL statement_timeout = ${this.#timeoutMs}; ` +
          `SELECT FROM "${this.#schema}".head FOR UPDATE`,
      )

      const { rowCount } = await client.query(
        `SELECT FROM "${this.#schema}".change WHERE seq = $1 AND mark = $2`,
        [seq, mark],
      )

      return rowCount === 1
    } catch {
      throw unavailable(
        'The connection to the database broke while the change was stored: ' +
          'it may be stored or not. Look before you repeat it.',
        cause,
      )
    } finally {
      client.end().catch(() => undefined)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#readers.end(), this.#writer.end()])
  }
}

/**
 * Tries again when a connection breaks. All connections of a pool may be broken, as after a restart
 * of the server; the next one is new.
 */
async function whileBroken<T>(pool: pg.Pool, work: () => Promise<T>): Promise<T> {
  for (let left = pool.options.max; ; left -= 1) {
    try {
      return await work()
    } catch (error) {
      if (left === 0 || !isBroken(error)) throw toStoreError(error)
    }
  }
}

async function rolledBack(client: pg.PoolClient): Promise<boolean> {
  try {
    await client.query('ROLLBACK')
    return true
  } catch {
    return false
  }
}

function newPool(config: pg.ClientConfig, max: number): pg.Pool {
  const pool = new pg.Pool({ ...config, max, idleTimeoutMillis: 30_000 })
  ignoreErrors(pool)
  pool.on('connect', ignoreErrors)
  return pool
}

/**
 * The next use reports a connection that broke while idle. Without a listener, the event would end
 * the process.
 */
function ignoreErrors(emitter: { on(event: 'error', listener: () => void): unknown }): void {
  emitter.on('error', () => undefined)
}

async function clientConfig({
  url,
  passwordFile,
  timeoutMs,
}: PostgresOptions): Promise<pg.ClientConfig> {
  const {
    host,
    port,
    user,
    database,
    password,
    applicationName,
    sslMode,
    rootCertificate,
    certificate,
    key,
  } = parsePostgresUrl(url)

  const read = async (path: string | undefined): Promise<string | undefined> =>
    path === undefined ? undefined : await readFile(path, 'utf8')
  const [ca, cert, privateKey] = await Promise.all([rootCertificate, certificate, key].map(read))
  const files = defined({ ca, cert, key: privateKey })
  const unchecked = sslMode === 'require' && ca === undefined
  const anyName = sslMode === 'verify-ca' || sslMode === 'require'
  const tls = defined({
    ...files,
    rejectUnauthorized: unchecked ? false : undefined,
    checkServerIdentity: anyName ? () => undefined : undefined,
  })

  return {
    host,
    port,
    user,
    database,
    ...defined({
      password:
        passwordFile === undefined
          ? password
          : async () => (await readFile(passwordFile, 'utf8')).trim(),
    }),
    application_name: applicationName ?? 'mcp-gateway',
    ssl: sslMode === undefined || sslMode === 'disable' ? false : tls,
    connectionTimeoutMillis: timeoutMs,
    // Slightly longer than the server's own limit, so that the server ends the statement first.
    query_timeout: timeoutMs + 1000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  }
}
