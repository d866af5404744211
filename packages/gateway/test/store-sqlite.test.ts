import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { afterAll, describe, expect, test } from 'vitest'
import { openSqliteStore } from '../src/store/sqlite.ts'
import { describeStore, sampleResource } from '../src/store/store-contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-store-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let file = ''
let count = 0
const newFile = (): string => join(folder, `${(count += 1)}.db`)

describeStore('sqlite', {
  reset: async () => void (file = newFile()),
  open: async () => openSqliteStore({ file, pollMs: 20 }),
})

describe('the SQLite file', () => {
  test('is readable by its owner alone', async () => {
    const path = newFile()
    await using store = openSqliteStore({ file: path })
    await store.ping()
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('of a newer gateway is refused with a message that says so', async () => {
    const path = newFile()
    await openSqliteStore({ file: path })[Symbol.asyncDispose]()
    const database = new Database(path)
    database.exec('PRAGMA user_version = 99')
    database.close()
    expect(() => openSqliteStore({ file: path })).toThrow(/newer version of the gateway/)
  })

  test('that is no database is refused, and left as it was', () => {
    const path = newFile()
    writeFileSync(path, 'not a database, but something that somebody may want back'.repeat(20))
    expect(() => openSqliteStore({ file: path })).toThrow(expect.objectContaining({ code: 'store_unavailable' }))
    expect(statSync(path).size).toBe(57 * 20)
  })

  test('that can not grow answers storage_full, keeps what it has, and goes on once there is room', async () => {
    const path = newFile()
    await using store = openSqliteStore({ file: path })
    const kept = sampleResource('kept')
    await store.create(kept)
    const limits = fillDisk(path)
    const big = sampleResource('big', { spec: { ...kept.spec, description: 'x'.repeat(2_000_000) } })
    await expect(limits.store.create(big)).rejects.toMatchObject({ code: 'storage_full' })
    expect(await limits.store.get('kept')).toEqual(kept)
    await limits.store[Symbol.asyncDispose]()
    await store.create(big)
    expect(await store.get('big')).toEqual(big)
  })
})

/** A store on the same file that may take no more pages, which SQLite reports as it reports a full disk. */
function fillDisk(path: string): { store: ReturnType<typeof openSqliteStore> } {
  return { store: openSqliteStore({ file: path, maxPages: 16 }) }
}
