import { randomUUID } from 'node:crypto'
import { PostgresServer } from '@mcp-gateway/testkit'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  openPostgresStore,
  type PostgresStoreOptions,
} from '../../src/store/postgres/postgres-store.ts'
import { sampleApiKey, sampleResource } from '../contracts/samples.ts'
import { describeStore } from '../contracts/store-contract.ts'
import type { Store } from '../../src/store/store.ts'
import { StoreFollower } from '../fixtures/store-follower.ts'

const given = process.env['POSTGRES_URL']
const missing = given === undefined ? PostgresServer.missing : undefined

/** Notifications alone tell of changes here. The poll would come far too late. */
const noPolling = 600_000

let server: PostgresServer | undefined
let url = ''
let schema = ''
const newSchema = (): string => (schema = `s${randomUUID().replaceAll('-', '')}`)

beforeAll(async () => {
  if (given !== undefined) url = given
  else if (missing === undefined) {
    server = await PostgresServer.start()
    url = server.url()
  }
})
afterAll(() => server?.[Symbol.asyncDispose]())

const open = (options: Partial<PostgresStoreOptions> = {}): Promise<Store> =>
  openPostgresStore({
    url,
    schema,
    poolSize: 3,
    timeoutMs: 5000,
    startTimeoutMs: 0,
    pollMs: noPolling,
    ...options,
  })

/** Another client of the database. */
async function connect(): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client(url)
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

describe.skipIf(missing !== undefined)(
  `PostgreSQL${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    describeStore('postgres', {
      reset: async () => void newSchema(),
      open: () => open(),
      runs: 8,
      lose: async (name) => {
        await using admin = await connect()
        await admin.query(
          `DELETE FROM "${schema}".record WHERE name = '${name}'; DELETE FROM "${schema}".change`,
        )
      },
    })

    describe('changes in PostgreSQL', () => {
      beforeEach(() => void newSchema())

      test('a watcher hears of a change that began first and commits late', async () => {
        await using store = await open()
        await using writer = await connect()
        await using follower = new StoreFollower(store)
        await writer.query('BEGIN')
        const { rows } = await writer.query<{ seq: string }>(
          `UPDATE "${schema}".head SET seq = seq + 1, mark = gen_random_uuid() RETURNING seq`,
        )
        const late = sampleResource('late')
        const columns = [late.name, late.uid, JSON.stringify(late)]
        await writer.query(
          `INSERT INTO "${schema}".record (collection, name, kind, uid, version, owner,` +
            ` replicas, body) VALUES ('resource', $1, 'adapter', $2, 1, '', 1, $3)`,
          columns,
        )
        await writer.query(
          `INSERT INTO "${schema}".change SELECT seq, mark, 'resource', 'late',` +
            ` 'adapter' FROM "${schema}".head`,
        )
        let stored = false
        const after = store.create(sampleResource('after')).then(() => (stored = true))
        // It waits for its number, so that no number becomes visible before a smaller one.
        await expect
          .poll(
            async () => (await writer.query('SELECT FROM pg_locks WHERE NOT granted')).rowCount,
            { interval: 5 },
          )
          .toBeGreaterThan(0)
        expect([rows[0]?.seq, stored, follower.view.size]).toEqual(['1', false, 0])

        await writer.query('COMMIT')
        await after
        expect(follower.names).toEqual(['late', 'after'])
      })

      test('a watcher here hears of a write before the write returns', async () => {
        await using store = await open()
        await using follower = new StoreFollower(store)
        for (let version = 1; version <= 20; version += 1) {
          const resource = sampleResource('one', { uid: 'same', version })
          await (version === 1 ? store.create(resource) : store.replace(resource, version - 1))
          expect(follower.view.get('one')).toBe(version)
        }
      })

      test('a restored database with another history of the same length is compared', async () => {
        await using store = await open({ pollMs: 20 })
        await using admin = await connect()
        await store.create(sampleResource('kept'))
        await store.create(sampleResource('lost'))
        await using follower = new StoreFollower(store)
        const other = sampleResource('other', { version: 7 })
        // The state before the second change, and another second change.
        await admin.query('BEGIN')
        await admin.query(
          `WITH marked AS (
             UPDATE "${schema}".head SET mark = gen_random_uuid() RETURNING seq, mark
           ), gone AS (DELETE FROM "${schema}".record WHERE name = 'lost')
           UPDATE "${schema}".change SET mark = marked.mark, name = 'other'
           FROM marked WHERE change.seq = marked.seq`,
        )
        await admin.query(
          `INSERT INTO "${schema}".record (collection, name, kind, uid, version, owner,` +
            ` replicas, body) VALUES ('resource', 'other', 'adapter', $1, 7, '', 1, $2)`,
          [other.uid, JSON.stringify(other)],
        )
        await admin.query('COMMIT')
        await expect.poll(() => Object.fromEntries(follower.view)).toEqual({ kept: 1, other: 7 })
        expect((await store.list({})).map(({ name }) => name)).toEqual(['kept', 'other'])
      })

      test('a watcher that was away too long hears of all that exists or is gone', async () => {
        await using store = await open()
        await using admin = await connect()
        for (const name of ['stays', 'changes', 'goes'])
          await store.create(sampleResource(name, { uid: name }))
        await using follower = new StoreFollower(store)
        await admin.query(`CREATE TABLE "${schema}".saved_record AS TABLE "${schema}".record`)
        const columns = 'collection, name, kind, uid, version, owner, replicas, tool_name, body'
        const { rows } = await admin.query(`SELECT seq, mark FROM "${schema}".head`)
        const [head] = rows as [{ seq: string; mark: string }]
        await store.create(sampleResource('lost'))
        await store.delete('goes', 'goes', 1)
        expect(follower.view).toEqual(new Map([['lost', 1]]))

        // The old state, then another history that is longer than the lost one.
        await admin.query(`BEGIN;
          DELETE FROM "${schema}".record;
          INSERT INTO "${schema}".record (${columns})
            SELECT ${columns} FROM "${schema}".saved_record;
          DELETE FROM "${schema}".change WHERE seq > ${head.seq};
          UPDATE "${schema}".head SET seq = ${head.seq}, mark = '${head.mark}';
          COMMIT`)
        await using elsewhere = await open()
        await elsewhere.replace(sampleResource('changes', { uid: 'changes', version: 2 }), 1)
        await elsewhere.create(sampleResource('new'))
        await elsewhere.create(sampleResource('newer'))
        const present = { stays: 1, changes: 2, goes: 1, new: 1, newer: 1 }
        await expect.poll(() => Object.fromEntries(follower.view)).toEqual(present)

        await admin.query(
          `DELETE FROM "${schema}".record WHERE name = 'stays'; DELETE FROM "${schema}".change`,
        )
        await elsewhere.create(sampleResource('newest'))
        const { stays: _, ...rest } = present
        await expect.poll(() => Object.fromEntries(follower.view)).toEqual({ ...rest, newest: 1 })
      })

      test('a damaged record hides no other from watchers, and can be replaced', async () => {
        await using store = await open()
        await using admin = await connect()
        await using follower = new StoreFollower(store)
        await store.create(sampleResource('whole', { uid: 'u' }))
        await admin.query(`UPDATE "${schema}".record SET body = '{"half'`)
        await expect(store.get('whole')).rejects.toMatchObject({
          code: 'store_unavailable',
          message: 'The store is damaged.',
        })
        await store.create(sampleResource('other'))
        expect(follower.names).toEqual(['whole', 'other'])
        await store.replace(sampleResource('whole', { uid: 'u', version: 2 }), 1)
        expect(follower.view.get('whole')).toBe(2)
      })

      test('the store remembers ten thousand changes, and no more', async () => {
        await using store = await open()
        await using admin = await connect()
        await admin.query(`BEGIN;
          UPDATE "${schema}".head SET seq = 20000;
          INSERT INTO "${schema}".change
            SELECT n, gen_random_uuid(), 'secret', 'n' || n, 'secret'
            FROM generate_series(1, 20000) n;
          COMMIT`)
        await store.create(sampleResource('one'))
        const { rows } = await admin.query(
          `SELECT min(seq)::integer AS first, max(seq)::integer AS last FROM "${schema}".change`,
        )
        expect(rows).toEqual([{ first: 10_001, last: 20_001 }])
      })
    })

    describe('the schema in PostgreSQL', () => {
      beforeEach(() => void newSchema())

      test('one of many gateways that start at once creates the schema', async () => {
        const stores = await Promise.all(Array.from({ length: 8 }, () => open({ poolSize: 1 })))
        await Promise.all(
          stores.map((store, index) => store.apiKeys.create(sampleApiKey(`k${index}`))),
        )
        expect(await stores[0]?.apiKeys.list({})).toHaveLength(8)
        await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()))
      })

      test('the schema of a newer gateway is refused, and stays as it is', async () => {
        await (await open())[Symbol.asyncDispose]()
        await using admin = await connect()
        await admin.query(`UPDATE "${schema}".head SET version = 99`)
        await expect(open()).rejects.toMatchObject({
          code: 'store_unavailable',
          message: expect.stringMatching(
            /written by a newer version of the gateway \(schema version 99, known \d+\)/,
          ) as string,
        })
        expect((await admin.query(`SELECT version FROM "${schema}".head`)).rows).toEqual([
          { version: 99 },
        ])
      })
    })
  },
)
