import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, connect as connectSocket, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PgBouncer, PostgresServer } from '@mcp-gateway/testkit'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { GatewayError } from '../../src/core/errors.ts'
import {
  openPostgresStore,
  type PostgresStoreOptions,
} from '../../src/store/postgres/postgres-store.ts'
import { sampleResource } from '../contracts/samples.ts'
import type { Store } from '../../src/store/store.ts'
import { smallDisk } from '../fixtures/small-disk.ts'
import { StoreFollower } from '../fixtures/store-follower.ts'
import {
  applyTo,
  expected,
  found,
  StoreWriter,
  type Write,
} from '../fixtures/store-writer-process.ts'

const { missing } = PostgresServer
const password = 'p/w %1'

let server: PostgresServer
/** Each test has a database of its own. */
let url = ''
let database = ''
let count = 0

const optionsOf = (options: Partial<PostgresStoreOptions> = {}): PostgresStoreOptions => ({
  url,
  schema: 'mcp_gateway',
  poolSize: 3,
  timeoutMs: 5000,
  startTimeoutMs: 0,
  pollMs: 100,
  ...options,
})
const open = (options?: Partial<PostgresStoreOptions>): Promise<Store> =>
  openPostgresStore(optionsOf(options))

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: unknown }) => error.code,
  )

/** Gives the refusal of a start. */
async function refusal(work: Promise<Store>): Promise<string> {
  const error = await work.then(
    async (store) => {
      await store[Symbol.asyncDispose]()
      throw new Error('The store was opened.')
    },
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ code: 'store_unavailable' })
  const { message } = error as GatewayError
  expect(message).not.toContain(password)
  expect(message).not.toContain(encodeURIComponent(password))
  return message
}

const namesOf = async (store: Store): Promise<string[]> =>
  (await store.list({})).map(({ name }) => name)
const terminateAll =
  'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE ' +
  `'mcp-gateway%'`

describe.skipIf(missing !== undefined)(
  `PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    beforeAll(async () => {
      server = await PostgresServer.start({ parameters: { max_connections: 40 } })
    })
    afterAll(() => server[Symbol.asyncDispose]())
    beforeEach(async () => {
      // A failed test may have left the server dead. This lets the other tests run.
      await server.startAgain()
      database = `d${(count += 1)}`
      url = server.createDatabase(database)
    })

    describe('a start', () => {
      test('a start without a server is refused with address and reason in time', async () => {
        const elsewhere = url.replace(String(server.port), '1')
        expect(await refusal(open({ url: elsewhere }))).toMatch(
          new RegExp(
            String.raw`^The database postgres://d\d+:\[secret\]@127\.0\.0\.1:1/d\d+ ` +
              'cannot be used: .*ECONNREFUSED.*Is the server running',
          ),
        )
      })

      test('a start waits for a late server, and says so once', async () => {
        await server.end('SIGINT')
        const reports: (string | undefined)[] = []
        const opening = open({
          startTimeoutMs: 30_000,
          report: (problem) => void reports.push(problem?.message),
        })
        await expect.poll(() => reports.length).toBe(1)
        await server.startAgain()
        await using store = await opening
        await store.create(sampleResource('one'))
        expect(reports).toEqual([expect.stringContaining('ECONNREFUSED'), undefined])
      })

      test('a start that is to end meanwhile does not wait', async () => {
        await server.end('SIGINT')
        const stop = new AbortController()
        const report = (): void => stop.abort()
        await expect(
          open({ startTimeoutMs: 600_000, signal: stop.signal, report }),
        ).rejects.toMatchObject({ code: 'store_unavailable' })
        await server.startAgain()
      })

      test('a start is refused at once, with advice, where waiting mends nothing', async () => {
        const patient = { startTimeoutMs: 600_000 }
        expect(
          await refusal(
            open({ ...patient, url: url.replace(encodeURIComponent(password), 'wrong') }),
          ),
        ).toMatch(/password authentication failed for user "d\d+"\. Look at user and password\./)
        expect(await refusal(open({ ...patient, url: `${url}none` }))).toMatch(
          /database "d\d+none" does not exist\. Make the database/,
        )
        expect(
          await refusal(
            open({ ...patient, passwordFile: '/no/such/file', url: url.replace(/:[^:@]*@/, '@') }),
          ),
        ).toMatch(/\/no\/such\/file/)
        server.sql(`CREATE DATABASE ${database}ascii ENCODING 'SQL_ASCII' TEMPLATE template0`)
        expect(await refusal(open({ ...patient, url: server.url(`${database}ascii`) }))).toMatch(
          /encoding SQL_ASCII/,
        )
      })

      test('a role that may not create the schema is refused, with the remedy', async () => {
        server.sql(`CREATE ROLE ${database}low LOGIN PASSWORD '${password}'`)
        const low = server.url(database, `${database}low`)
        expect(await refusal(open({ url: low }))).toMatch(
          /permission denied for database .*mcp-gateway store migrate/,
        )
        await (await open())[Symbol.asyncDispose]()
        expect(await refusal(open({ url: low }))).toMatch(
          /permission denied for schema mcp_gateway.*grant/,
        )
      })

      test('a role that may read and write rows is enough once the schema exists', async () => {
        await (await open())[Symbol.asyncDispose]()
        server.sql(
          `CREATE ROLE ${database}low LOGIN PASSWORD '${password}';
           GRANT USAGE ON SCHEMA mcp_gateway TO ${database}low;
           GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mcp_gateway
             TO ${database}low`,
          database,
        )
        await using store = await open({ url: server.url(database, `${database}low`) })
        await using other = await open()
        await using follower = new StoreFollower(store)
        const resource = sampleResource('one')
        await store.create(resource)
        await other.create(sampleResource('two'))
        await expect.poll(() => follower.names).toEqual(['one', 'two'])
        await store.delete('one', resource.uid, 1)
      })
    })

    describe('a connection', () => {
      test('a connection uses the password that the file holds now', async () => {
        const folder = mkdtempSync(join(tmpdir(), 'mcpgw-password-'))
        const passwordFile = join(folder, 'password')
        writeFileSync(passwordFile, `${password}\n`)
        await using store = await open({ url: url.replace(/:[^:@]*@/, '@'), passwordFile })
        await store.create(sampleResource('one'))
        server.sql(`ALTER ROLE ${database} PASSWORD 'another'; ${terminateAll}`)
        await expect.poll(() => codeOf(store.get('one'))).toBe('store_unavailable')
        writeFileSync(passwordFile, 'another')
        await expect.poll(() => codeOf(store.get('one'))).toBe('done')
        await store.create(sampleResource('two'))
        rmSync(folder, { recursive: true })
      })

      test('dropped connections lose no acknowledged write and no change', async () => {
        await using store = await open()
        await using other = await open()
        await using follower = new StoreFollower(other)
        let dropping = true
        let done = 0
        const admin = new pg.Client(server.url())
        await admin.connect()
        let dropped = 0
        const drops = (async () => {
          while (dropping) {
            const before = done
            dropped += (await admin.query(terminateAll)).rowCount ?? 0
            // A write must have time between two drops, or a busy machine never gets through.
            do await sleep(10)
            while (dropping && done === before)
          }
          await admin.end()
        })()
        const stopDropping = (): Promise<void> => ((dropping = false), drops)
        // The drops of a test that took too long would break the tests after it.
        onTestFinished(stopDropping)
        const model = new Map<string, number>()
        const versionOf = async (name: string): Promise<number | undefined> => {
          let version: number | undefined
          await expect
            .poll(() => codeOf(store.get(name).then((found) => (version = found?.version))))
            .toBe('done')
          return version
        }
        for (let index = 0; index < 150 || dropped <= 20 || done <= 100; index += 1) {
          const name = `n${index % 10}`
          const version = (model.get(name) ?? 0) + 1
          const resource = sampleResource(name, { uid: name, version })
          // A new connection may drop just then. The store has not run a refused write.
          const refused = await (
            version === 1 ? store.create(resource) : store.replace(resource, version - 1)
          ).catch((error: GatewayError) => error)
          expect([undefined, 'store_unavailable']).toContain(refused?.code)
          if (refused === undefined) done += 1
          // One refusal says that nobody knows: the connection for the look-up dropped too.
          const unknown = refused?.message.includes('may be stored or not') === true
          if (refused === undefined || (unknown && (await versionOf(name)) === version))
            model.set(name, version)
          expect((await store.get(name).catch(() => undefined))?.version ?? model.get(name)).toBe(
            model.get(name),
          )
        }
        await stopDropping()
        await expect
          .poll(() => Object.fromEntries(follower.view))
          .toEqual(Object.fromEntries(model))
      })

      test('an idle connection that the server dropped costs no request', async () => {
        await using store = await open()
        await store.create(sampleResource('one', { uid: 'u' }))
        await Promise.all(Array.from({ length: 6 }, () => store.get('one')))
        server.sql(terminateAll)
        const outcomes = [
          store.get('one'),
          store.list({}),
          store.replace(sampleResource('one', { uid: 'u', version: 2 }), 1),
        ].map(codeOf)
        expect(await Promise.all(outcomes)).toEqual(['done', 'done', 'done'])
      })

      test.each([
        ['after', 'is found to have stored', 'done', ['one', 'two']],
        ['before', 'is found not to have stored, and stores once more', 'done', ['one', 'two']],
      ] as const)(
        'a connection that breaks %s the server has heard COMMIT %s',
        async (when, _what, outcome, names) => {
          await using cutter = await CommitCutter.start(server.port)
          await using store = await open({
            url: url.replace(String(server.port), String(cutter.port)),
          })
          await store.create(sampleResource('one'))
          cutter.cut = when
          expect(await codeOf(store.create(sampleResource('two')))).toBe(outcome)
          expect([cutter.cuts, await namesOf(store)]).toEqual([1, names])
          await store.create(sampleResource('three'))
          const versions = server.sql('SELECT count(*) FROM mcp_gateway.change', database)
          expect(versions).toEqual(['4'])
        },
      )

      test('a break at COMMIT says that the change may be stored', async () => {
        await using cutter = await CommitCutter.start(server.port)
        await using store = await open({
          url: url.replace(String(server.port), String(cutter.port)),
        })
        cutter.cut = 'after'
        cutter.thenRefuse = true
        await expect(store.create(sampleResource('one'))).rejects.toMatchObject({
          code: 'store_unavailable',
          message: expect.stringMatching(/may be stored or not/) as string,
          headers: { 'retry-after': '1' },
        })
        cutter.thenRefuse = false
        expect(await codeOf(store.create(sampleResource('one')))).toBe('name_taken')
      })

      test('a connection that is not to be had is a 503 in time, and heals', async ({
        onTestFinished,
      }) => {
        await using store = await open({ poolSize: 1, timeoutMs: 2000 })
        await store.create(sampleResource('one'))
        const others: pg.Client[] = []
        onTestFinished(async () => void (await Promise.all(others.map((client) => client.end()))))
        const more = async (): Promise<void> => {
          const client = new pg.Client(url)
          client.on('error', () => undefined)
          await client.connect()
          others.push(client)
        }
        const locker = new pg.Client(url)
        await locker.connect()
        await locker.query('BEGIN; LOCK TABLE mcp_gateway.record IN ACCESS EXCLUSIVE MODE')
        const outcomes = await Promise.all(
          Array.from({ length: 8 }, () => codeOf(store.get('one'))),
        )
        expect(new Set(outcomes)).toEqual(new Set(['store_unavailable']))
        await expect(store.create(sampleResource('two'))).rejects.toMatchObject({
          code: 'store_unavailable',
          message: 'The database did not answer in time.',
        })

        await locker.query('ROLLBACK')
        await locker.end()
        await expect.poll(() => codeOf(store.get('one'))).toBe('done')

        const fill = async (): Promise<void> => {
          for (let full = false; !full;) full = (await codeOf(more())) === '53300'
        }
        const ofStore = `WHERE datname = '${database}' AND application_name LIKE 'mcp-gateway%'`
        const storeIsOut = (): boolean =>
          server.sql(`SELECT pid FROM pg_stat_activity ${ofStore}`).length === 0
        // The store may take a free place faster than the others. Its own place becomes free only
        // when its sessions have ended.
        do {
          server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity ${ofStore}`)
          await fill()
        } while (!storeIsOut() || (await fill().then(() => !storeIsOut())))
        expect(await codeOf(store.get('one'))).toBe('store_unavailable')

        await Promise.all(others.splice(0).map((client) => client.end()))
        await expect.poll(() => codeOf(store.get('one'))).toBe('done')

        await store.create(sampleResource('two'))
      })
    })

    describe('a server', () => {
      test('a server killed four times keeps all acknowledged writes and followers', async () => {
        const model = new Map<string, Write>()
        const reports: string[] = []
        await using store = await open({
          report: (problem) => void reports.push(problem === undefined ? 'back' : 'away'),
        })
        const view = new Map<string, string>()
        const stop = new AbortController()
        const following = (async () => {
          for await (const { name, resource } of store.watch(stop.signal)) {
            if (resource === undefined) view.delete(name)
            else view.set(name, found(resource))
          }
        })()
        let acknowledged = 0
        for (let round = 0; round < 4; round += 1) {
          const writers = ['a-', 'b-'].map(
            (prefix) => new StoreWriter({ file: url, prefix, largest: 5000 }),
          )
          await expect
            .poll(() => writers.every((writer) => writer.acknowledged.length > 6), { interval: 1 })
            .toBe(true)

          await sleep(Math.random() * 50)
          await server.end('SIGKILL')
          expect(await codeOf(store.get('a-0'))).toBe('store_unavailable')
          expect(await codeOf(store.create(sampleResource('refused')))).toBe('store_unavailable')
          await expect(store.ping()).rejects.toMatchObject({ code: 'store_unavailable' })

          await Promise.all(writers.map((writer) => writer.kill()))
          await server.startAgain()
          await expect.poll(() => codeOf(store.ping())).toBe('done')

          const present = new Map(
            (await store.list({})).map((resource) => [resource.name, found(resource)]),
          )
          for (const writer of writers) {
            acknowledged += writer.acknowledged.length
            applyTo(model, writer.acknowledged)
            // A write that was not acknowledged may be there or not.
            for (const write of [
              ...writer.refused,
              ...(writer.pending === undefined ? [] : [writer.pending]),
            ])
              if (present.get(write.name) === (write.op === 'delete' ? undefined : expected(write)))
                applyTo(model, [write])
          }
          expect(Object.fromEntries(present)).toEqual(
            Object.fromEntries([...model].map(([name, write]) => [name, expected(write)])),
          )
          await expect.poll(() => Object.fromEntries(view)).toEqual(Object.fromEntries(present))
          await expect
            .poll(() => reports)
            .toEqual(Array.from({ length: round + 1 }, () => ['away', 'back']).flat())
        }
        expect(acknowledged).toBeGreaterThan(50)

        stop.abort()
        await following
      }, 90_000)

      test('a server that stands still means 503 in time, and recovers', async () => {
        await using store = await open({ timeoutMs: 2000 })
        await using follower = new StoreFollower(store)
        await store.create(sampleResource('one'))
        server.signal('SIGSTOP')
        try {
          expect(
            await Promise.all([
              codeOf(store.get('one')),
              codeOf(store.create(sampleResource('two'))),
            ]),
          ).toEqual(['store_unavailable', 'store_unavailable'])
          await expect.poll(() => codeOf(store.ping())).toBe('store_unavailable')
        } finally {
          server.signal('SIGCONT')
        }
        // The store may answer too late for a record that it has stored.
        await expect
          .poll(async () =>
            ['done', 'name_taken'].includes(
              String(await codeOf(store.create(sampleResource('three')))),
            ),
          )
          .toBe(true)
        await expect
          .poll(async () => [follower.names.toSorted(), await namesOf(store)].map(String))
          .toSatisfy(([heard, stored]) => heard === stored)
      })

      test('a read-only server serves reads, and refuses writes with the reason', async () => {
        await using store = await open()
        await using follower = new StoreFollower(store)
        await store.create(sampleResource('one'))
        server.sql(
          `ALTER DATABASE ${database} SET default_transaction_read_only = on; ${terminateAll}`,
        )
        await expect(store.create(sampleResource('two'))).rejects.toMatchObject({
          code: 'store_unavailable',
          message: 'The database can only be read at present. Nothing was changed.',
        })
        expect(await namesOf(store)).toEqual(['one'])
        await (await open())[Symbol.asyncDispose]()
        server.sql(`ALTER DATABASE ${database} RESET default_transaction_read_only`)
        await store.create(sampleResource('two'))
        await expect.poll(() => follower.names).toEqual(['one', 'two'])
      })

      test('a full disk refuses writes, loses nothing, and recovers', async (context) => {
        const disk = smallDisk(context, 8192)
        const { uid, gid } = statSync(server.folder)
        chownSync(disk, uid, gid)
        chmodSync(disk, 0o700)
        const filler = join(disk, 'filler')
        writeFileSync(filler, Buffer.alloc(4 * 1024 * 1024))
        // Tablespaces need an empty folder.
        const folder = join(disk, 'space')
        execFileSync('/bin/mkdir', [folder])
        chownSync(folder, uid, gid)
        server.sql(`CREATE TABLESPACE ${database}t LOCATION '${folder}'`)
        server.sql(
          `GRANT CREATE ON TABLESPACE ${database}t TO ${database}; ALTER DATABASE ` +
            `${database} SET default_tablespace = ${database}t`,
        )
        {
          await using store = await open()
          const kept: string[] = []
          let outcome: unknown = 'done'
          while (outcome === 'done') {
            const name = `n${String(kept.length).padStart(4, '0')}`
            const resource = sampleResource(name)
            // Random bytes do not compress.
            const description = Buffer.from(
              Array.from({ length: 90_000 }, () => Math.random() * 256),
            ).toString('base64')
            outcome = await codeOf(
              store.create({ ...resource, spec: { ...resource.spec, description } }),
            )
            if (outcome === 'done') kept.push(name)
          }
          expect(outcome).toBe('storage_full')
          expect(kept.length).toBeGreaterThan(5)
          expect(await namesOf(store)).toEqual(kept)

          rmSync(filler)
          await store.create(sampleResource('room'))
          expect(await namesOf(store)).toEqual([...kept, 'room'])
        }
        server.sql(`DROP DATABASE ${database} WITH (FORCE)`)
        server.sql(`DROP TABLESPACE ${database}t`)
      })
    })

    describe('TLS', () => {
      let folder = ''
      let secure: PostgresServer
      const file = (name: string): string => join(folder, name)
      const openssl = (args: readonly string[]): void =>
        void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })

      beforeAll(async () => {
        folder = mkdtempSync(join(tmpdir(), 'mcpgw-tls-'))
        chmodSync(folder, 0o755)
        for (const name of ['server', 'other'])
          openssl([
            'req',
            '-x509',
            '-newkey',
            'ec',
            '-pkeyopt',
            'ec_paramgen_curve:P-256',
            '-nodes',
            '-days',
            '2',
            '-subj',
            `/CN=${name}`,
            '-addext',
            'subjectAltName=DNS:localhost',
            '-keyout',
            `${name}.key`,
            '-out',
            `${name}.pem`,
          ])
        const { uid, gid } = statSync(server.folder)
        chownSync(file('server.key'), uid, gid)
        secure = await PostgresServer.start({
          parameters: {
            ssl: 'on',
            ssl_cert_file: file('server.pem'),
            ssl_key_file: file('server.key'),
          },
          access: ['hostnossl all all all reject'],
        })
      })
      afterAll(async () => {
        await secure[Symbol.asyncDispose]()
        rmSync(folder, { recursive: true, force: true })
      })
      const secureUrl = (host: string, parameters: string): string =>
        `${secure.url().replace('127.0.0.1', host)}?${parameters}`

      test.each([
        ['verify-full&sslrootcert=server.pem', 'localhost'],
        ['verify-ca&sslrootcert=server.pem', '127.0.0.1'],
        ['require', '127.0.0.1'],
      ])('the store speaks TLS with sslmode=%s at %s', async (mode, host) => {
        await using store = await open({
          url: secureUrl(host, `sslmode=${mode.replace('=', `=${folder}/`)}`),
        })
        const name = `n${randomUUID()}`
        await store.create(sampleResource(name))
        expect(await namesOf(store)).toContain(name)
        // The server takes no connection without TLS.
        const encrypted = `SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
          WHERE ssl AND application_name LIKE 'mcp-gateway%'`
        expect(Number(secure.sql(encrypted)[0])).toBeGreaterThan(0)
      })

      test.each([
        ['disable', 'localhost', /no encryption/],
        ['verify-full', 'localhost', /self-signed certificate/],
        ['verify-full&sslrootcert=other.pem', 'localhost', /self-signed certificate/],
        [
          'verify-full&sslrootcert=server.pem',
          '127.0.0.1',
          /does not match certificate's altnames/,
        ],
        ['verify-ca&sslrootcert=other.pem', 'localhost', /self-signed certificate/],
        ['require&sslrootcert=other.pem', 'localhost', /self-signed certificate/],
        ['verify-full&sslrootcert=none.pem', 'localhost', /none\.pem/],
      ])('the store refuses sslmode=%s at %s at once', async (mode, host, reason) => {
        const opening = open({
          url: secureUrl(host, `sslmode=${mode.replace('=', `=${folder}/`)}`),
          startTimeoutMs: 600_000,
        })
        expect(await refusal(opening)).toMatch(reason)
      })

      test('the store does not fall back to plain text where the server has no TLS', async () => {
        expect(await refusal(open({ url: `${url}?sslmode=require` }))).toMatch(
          /does not support SSL/,
        )
      })
    })

    const bouncerNote = PgBouncer.missing === undefined ? '' : ` (skipped: ${PgBouncer.missing})`
    describe.skipIf(PgBouncer.missing !== undefined)(
      `behind PgBouncer, which drops notifications${bouncerNote}`,
      () => {
        let bouncer: PgBouncer
        beforeAll(async () => {
          bouncer = await PgBouncer.start(server)
        })
        afterAll(() => bouncer[Symbol.asyncDispose]())

        test('gateways behind it lose no update, and hear of each other', async () => {
          const through = server.url(database, 'postgres', bouncer.port)
          const stores = await Promise.all(
            Array.from({ length: 4 }, () => open({ url: through, pollMs: 500 })),
          )
          const [one, two] = stores as [Store, Store]
          await using follower = new StoreFollower(two)
          const outcomes = await Promise.all(
            stores.map((store) => codeOf(store.create(sampleResource('raced')))),
          )
          expect(outcomes.toSorted((a, b) => String(a).localeCompare(String(b)))).toEqual([
            'done',
            'name_taken',
            'name_taken',
            'name_taken',
          ])

          await Promise.all(
            stores.flatMap((store, index) =>
              Array.from({ length: 5 }, (_, each) =>
                store.create(sampleResource(`n${index}-${each}`)),
              ),
            ),
          )
          await expect.poll(() => follower.view.size).toBe(21)

          const resource = sampleResource('last', { uid: randomUUID() })
          await one.create(resource)
          await expect.poll(() => follower.view.has('last')).toBe(true)

          await one.delete('last', resource.uid, 1)
          await expect.poll(() => follower.view.has('last')).toBe(false)

          await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
        })
      },
    )
  },
)

/**
 * Stands before a server, and breaks a connection when COMMIT passes, before the server hears of it
 * or before its answer.
 */
class CommitCutter implements AsyncDisposable {
  cut: 'before' | 'after' | undefined
  /** If true, it takes no connections after the cut. */
  thenRefuse = false
  cuts = 0
  readonly #listener: Server
  readonly #sockets = new Set<Socket>()

  private constructor(listener: Server) {
    this.#listener = listener
  }

  static async start(target: number): Promise<CommitCutter> {
    const listener = createServer()
    const cutter = new CommitCutter(listener)
    listener.on('connection', (client) => cutter.#pass(client, target))
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    return cutter
  }

  get port(): number {
    return (this.#listener.address() as { port: number }).port
  }

  #pass(client: Socket, target: number): void {
    if (this.thenRefuse && this.cuts > 0) return void client.destroy()
    const upstream = connectSocket(target, '127.0.0.1')
    let cutting = false
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (data) => {
      if (this.cut !== undefined && data.includes('COMMIT')) {
        this.cuts += 1
        cutting = true
        if (this.cut === 'before') client.destroy()
        this.cut = undefined
        if (client.destroyed) return
      }
      upstream.write(data)
    })
    upstream.on('data', (data) => {
      if (cutting) client.destroy()
      else client.write(data)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#listener.close()
    await once(this.#listener, 'close')
  }
}
