import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { afterAll, describe, expect, test } from 'vitest'
import { copyStore } from '../../src/store/copy.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { sampleApiKey, sampleResource, sampleSecret } from '../contracts/samples.ts'
import { describeStore } from '../contracts/store-contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-store-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let file = ''
let count = 0
const newFile = (): string => join(folder, `${(count += 1)}.db`)

describeStore('sqlite', {
  reset: async () => void (file = newFile()),
  open: async () => openSqliteStore({ file, pollMs: 20 }),
  lose: async (name) => {
    const database = new Database(file)
    // Only tables of records have uids.
    const tables = database
      .prepare(
        `SELECT m.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c
          WHERE m.type = 'table' AND c.name = 'uid'`,
      )
      .all() as { name: string }[]
    database.exec(`BEGIN IMMEDIATE; UPDATE counter SET change = change + 20000;
      ${tables.map((table) => `DELETE FROM ${table.name} WHERE name = '${name}';`).join('\n')}
      DELETE FROM deletion; COMMIT`)
    database.close()
  },
})

describe('the SQLite file', () => {
  test('the file is readable by its owner alone', async () => {
    const path = newFile()
    await using store = openSqliteStore({ file: path })
    await store.ping()
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('the file of a newer gateway is refused with a message that says so', async () => {
    const path = newFile()
    await openSqliteStore({ file: path })[Symbol.asyncDispose]()
    const database = new Database(path)
    database.exec('PRAGMA user_version = 99')
    database.close()
    expect(() => openSqliteStore({ file: path })).toThrow(/newer version of the gateway/)
  })

  test('the file of a gateway before API keys keeps its data, and takes keys', async () => {
    const path = newFile()
    const adapter = sampleResource('kept')
    const database = new Database(path)
    database.exec(`
      CREATE TABLE resource (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, uid TEXT NOT NULL, version INTEGER NOT NULL,
        body TEXT NOT NULL, change INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX resource_change ON resource (change);
      CREATE TABLE deletion (
        change INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL
      ) STRICT;
      CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 1), change INTEGER NOT NULL) STRICT;
      INSERT INTO counter VALUES (1, 7);
      CREATE UNIQUE INDEX resource_tool
        ON resource (json_extract(body, '$.spec.toolDefinition.tool.name')) WHERE kind = 'tool';
      PRAGMA user_version = 2;`)
    const row =
      'INSERT INTO resource (name, kind, uid, version, body, change) VALUES (?, ?, ?, ?, ?, ?)'
    database.prepare(row).run('kept', 'adapter', adapter.uid, 1, JSON.stringify(adapter), 7)
    database.close()
    await using store = openSqliteStore({ file: path })
    expect(await store.list({})).toEqual([adapter])

    await store.apiKeys.create(sampleApiKey('kept'))
    const held: unknown[] = []
    await store.create(sampleResource('next'), (has, { ownerBytes }) => held.push(has, ownerBytes))
    expect(held).toEqual([
      { adapters: 1, tools: 0, replicas: adapter.spec.replicaCount },
      Buffer.byteLength(JSON.stringify(adapter)),
    ])

    await store.replace({ ...adapter, version: 2 }, 1)
    expect(await store.get('kept')).toEqual({ ...adapter, version: 2 })
  })

  test('a file that is no database is refused, and stays as it was', () => {
    const path = newFile()
    writeFileSync(path, 'not a database, but something that somebody may want back'.repeat(20))
    expect(() => openSqliteStore({ file: path })).toThrow(
      expect.objectContaining({ code: 'store_unavailable' }),
    )
    expect(statSync(path).size).toBe(57 * 20)
  })

  test('a file that cannot grow answers storage_full, and recovers with room', async () => {
    const path = newFile()
    await using store = openSqliteStore({ file: path })
    const kept = sampleResource('kept')
    await store.create(kept)
    const limits = fillDisk(path)
    const big = sampleResource('big', {
      spec: { ...kept.spec, description: 'x'.repeat(2_000_000) },
    })
    await expect(limits.store.create(big)).rejects.toMatchObject({ code: 'storage_full' })
    expect(await limits.store.get('kept')).toEqual(kept)
    await limits.store[Symbol.asyncDispose]()
    await store.create(big)
    expect(await store.get('big')).toEqual(big)
  })
})

/** A store on the same file that may take no more pages. SQLite reports this like a full disk. */
function fillDisk(path: string): { store: ReturnType<typeof openSqliteStore> } {
  return { store: openSqliteStore({ file: path, maxPages: 16 }) }
}

describe('a copy of a store', () => {
  test('a copy has all of the original, can be repeated, and names its obstacles', async () => {
    await using from = openSqliteStore({ file: newFile() })
    await using to = openSqliteStore({ file: newFile() })
    const kept = sampleResource('kept')
    await from.create(kept)
    await from.create(sampleResource('taken'))
    await from.secrets.create(sampleSecret('token'))
    await from.apiKeys.create(sampleApiKey('key'))
    const others = sampleResource('taken', { owner: { id: 'bob', issuer: 'other' } })
    await to.create(others)

    const conflicts = ['adapter taken']
    expect(await copyStore(from, to)).toEqual({ copied: 3, present: 0, conflicts })
    expect(await copyStore(from, to)).toEqual({ copied: 0, present: 3, conflicts })
    expect(await to.get('kept')).toEqual(kept)
    expect(await to.get('taken')).toEqual(others)
    expect(await to.secrets.get('token')).toEqual(await from.secrets.get('token'))
    expect(await to.apiKeys.get('key')).toEqual(await from.apiKeys.get('key'))
  })
})
