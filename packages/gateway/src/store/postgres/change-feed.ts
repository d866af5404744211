import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { defined } from '../../lib/defined.ts'
import type { Connections, Run } from './connections.ts'

/** The record under a name after a change; `body` is absent when the record is deleted. */
export interface StoredChange {
  readonly collection: string
  readonly name: string
  readonly kind: string
  readonly body?: string
}

export interface ChangeFeedOptions {
  readonly connections: Connections
  readonly schema: string
  /**
   * Milliseconds between polls for changes whose notification was lost (connection poolers drop
   * them).
   */
  readonly pollMs: number
  readonly tell: (change: StoredChange) => void
  /** Receives why the connection was lost; undefined once it is back. */
  readonly report: (problem: Error | undefined) => void
}

/** Most changes of one reading. */
const pieceSize = 500

/** Most bytes of records in one reading: a few large records must not fill the memory. */
const pieceBytes = 8 * 1024 * 1024

/** Milliseconds between attempts to connect. */
const retryMs = 500

const farewellMs = 1000
const catchUpMs = 1000

/** Number of changes that the table keeps. A gateway that missed more compares everything. */
export const keptChanges = 10_000

interface Row extends Record<string, unknown> {
  readonly head: string
  readonly head_mark: string
  readonly seq: string | null
  readonly mark: string | null
  readonly collection: string
  readonly name: string
  readonly kind: string
  readonly body: string | null
}

/**
 * Reports each change by any process, in number order. Numbers become visible in order (see
 * `Connections.write`), so none comes late; notifications only trigger a read.
 */
export class ChangeFeed implements AsyncDisposable {
  readonly #options: ChangeFeedOptions
  readonly #stop = new AbortController()
  /** Known names and kinds by collection, to report deletions. */
  readonly #known = new Map<string, Map<string, string>>()
  #seen = { seq: '0', mark: '' }
  #connected = false
  #due = false
  #ring: (() => void) | undefined
  #waiting: (() => void)[] = []
  #socket: Socket | undefined
  #working: Promise<void> = Promise.resolve()

  private constructor(options: ChangeFeedOptions) {
    this.#options = options
  }

  /** Opens a feed of the changes from now on. */
  static async open(options: ChangeFeedOptions): Promise<ChangeFeed> {
    const feed = new ChangeFeed(options)
    const run = options.connections.read
    feed.#seen = await feed.#head(run)
    for (const { collection, name, kind } of (await run(
      `SELECT collection, name, kind FROM "${options.schema}".record`,
    )) as Row[])
      feed.#names(collection).set(name, kind)
    await new Promise<void>((resolve) => {
      feed.#working = feed.#follow(resolve)
    })
    return feed
  }

  /** Tells whether the server answered when it was last asked. */
  get connected(): boolean {
    return this.#connected
  }

  /**
   * Resolves when all changes so far are reported; or soon when the server does not answer, which
   * delays the report.
   */
  async caughtUp(): Promise<void> {
    if (!this.#connected) return
    const told = new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      this.#wake()
    })
    await Promise.race([told, sleep(catchUpMs, undefined, { ref: false })])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#wake()
    // Do not wait for a server that does not answer.
    const patience = setTimeout(() => this.#socket?.destroy(), farewellMs)
    await this.#working
    clearTimeout(patience)
  }

  #wake(): void {
    this.#due = true
    this.#ring?.()
  }

  /** @param tried called when the first attempt to connect has succeeded or failed */
  async #follow(tried: () => void): Promise<void> {
    const { report } = this.#options
    let lost = false

    while (!this.#stop.signal.aborted) {
      let problem: Error | undefined
      const socket = (this.#socket = new Socket())

      try {
        await this.#followOver(socket, () => {
          if (lost) report(undefined)
          lost = false
          tried()
        })
      } catch (error) {
        problem = error as Error
      }

      tried()
      this.#connected = false
      // Do not wait for the server's farewell, which never comes when the network is down.
      socket.destroy()
      for (const resolve of this.#waiting.splice(0)) resolve()
      if (this.#stop.signal.aborted) return
      if (!lost && problem !== undefined) report(problem)
      lost = true
      await sleep(retryMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
  }

  /** Follows changes until the connection breaks or the feed is disposed. */
  async #followOver(socket: Socket, ready: () => void): Promise<void> {
    const { connections, schema } = this.#options
    const client = connections.newClient({ stream: () => socket })
    let broken: Error | undefined

    const breaks = (error?: Error): void => {
      broken ??= error ?? new Error('The server has closed the connection.')
      this.#wake()
    }

    client.on('error', breaks)
    client.on('end', breaks)
    client.on('notification', () => this.#wake())
    await client.connect()

    const run: Run = async (sql, values = []) =>
      (await client.query<Record<string, unknown>>(sql, [...values])).rows
    // LISTEN before reading: a change in between is then read twice rather than missed.
    await run(`LISTEN "${schema}"`)
    this.#connected = true

    while (!this.#stop.signal.aborted) {
      this.#due = false
      const served = this.#waiting.splice(0)

      try {
        await this.#look(run)
      } finally {
        for (const resolve of served) resolve()
      }

      ready()
      await this.#rung()
      if (broken !== undefined) throw broken
    }

    await client.end()
  }

  async #rung(): Promise<void> {
    if (this.#due) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#ring = resolve
      timer = setTimeout(resolve, this.#options.pollMs)
    })
    clearTimeout(timer)
    this.#ring = undefined
  }

  async #look(run: Run): Promise<void> {
    const { schema } = this.#options
    for (;;) {
      const { seq, mark } = this.#seen
      // One statement sees one state of the database. The first row repeats the last reported
      // change, and its mark tells whether the history is the same.
      const rows = (await run(
        `SELECT * FROM (
           SELECT head.seq AS head, head.mark AS head_mark, c.*, record.body,
                  coalesce(sum(record.bytes) OVER (ORDER BY c.seq), 0)
                    - coalesce(record.bytes, 0) AS before
           FROM "${schema}".head
           LEFT JOIN (SELECT * FROM "${schema}".change
                      WHERE seq >= $1 ORDER BY seq LIMIT ${pieceSize + 1}) c ON true
           LEFT JOIN "${schema}".record ON record.collection = c.collection AND record.name = c.name
         ) piece WHERE before < ${pieceBytes} ORDER BY seq`,
        [seq],
      )) as Row[]

      const [first, ...changes] = rows
      if (first === undefined) throw new Error('The table head is empty.')
      if (first.seq !== seq || first.mark !== mark) return this.#compareAll(run)

      const last = changes.at(-1)
      if (last === undefined) return

      // All rows of a name hold the present record, so report only the last.
      const latest = new Map(changes.map((row) => [`${row.collection} ${row.name}`, row]))
      for (const row of changes)
        if (latest.get(`${row.collection} ${row.name}`) === row) this.#tell(row)
      this.#seen = { seq: last.seq as string, mark: last.mark as string }
      if (last.seq === first.head) return
    }
  }

  /**
   * Compares everything when the last number is gone: too many changes came since, or the database
   * is another one (a backup, a standby that lagged).
   */
  async #compareAll(run: Run): Promise<void> {
    const { schema } = this.#options
    const head = await this.#head(run)
    const gone = new Map(
      [...this.#known].map(([collection, names]) => [collection, new Map(names)]),
    )

    for (let after = { collection: '', name: '' }; ;) {
      const rows = (await run(
        `SELECT collection, name, kind, body FROM (
           SELECT *, sum(bytes) OVER (ORDER BY collection, name) - bytes AS before FROM (
             SELECT * FROM "${schema}".record WHERE (collection, name) > ($1, $2)
             ORDER BY collection, name LIMIT ${pieceSize}
           ) piece
         ) summed WHERE before < ${pieceBytes} ORDER BY collection, name`,
        [after.collection, after.name],
      )) as Row[]
      for (const row of rows) {
        gone.get(row.collection)?.delete(row.name)
        this.#tell(row)
      }

      const last = rows.at(-1)
      if (last === undefined) break

      after = last
    }

    for (const [collection, names] of gone)
      for (const [name, kind] of names) this.#tell({ collection, name, kind, body: null })
    // Changes during this read have higher numbers, and are reported again.
    this.#seen = head
  }

  async #head(run: Run): Promise<{ seq: string; mark: string }> {
    const [head] = (await run(`SELECT seq, mark FROM "${this.#options.schema}".head`)) as {
      seq: string
      mark: string
    }[]
    if (head === undefined) throw new Error('The table head is empty.')
    return head
  }

  #tell({
    collection,
    name,
    kind,
    body,
  }: Pick<Row, 'collection' | 'name' | 'kind' | 'body'>): void {
    const names = this.#names(collection)
    if (body === null) names.delete(name)
    else names.set(name, kind)
    this.#options.tell(defined({ collection, name, kind, body: body ?? undefined }))
  }

  #names(collection: string): Map<string, string> {
    let names = this.#known.get(collection)
    if (names === undefined) this.#known.set(collection, (names = new Map()))
    return names
  }
}
