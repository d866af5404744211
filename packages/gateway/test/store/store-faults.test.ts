import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'libsql'
import { afterAll, describe, expect, test } from 'vitest'
import type { Resource } from '../../src/core/resource.ts'
import { openStore } from '../../src/store/open.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { sampleResource } from '../contracts/samples.ts'
import type { Store } from '../../src/store/store.ts'
import { smallDisk } from '../fixtures/small-disk.ts'
import {
  applyTo,
  expected,
  found,
  StoreWriter,
  type Write,
} from '../fixtures/store-writer-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-faults-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const newFolder = (): string => mkdtempSync(join(folder, 'f-'))

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: unknown }) => error.code,
  )

const sized = (name: string, size: number): Resource => {
  const resource = sampleResource(name)
  return { ...resource, spec: { ...resource.spec, description: 'x'.repeat(size) } }
}

/** Creates resources until the store refuses one. Gives the acknowledged ones and the refusal. */
async function fill(
  store: Store,
  prefix: string,
  size: number,
): Promise<{ kept: Resource[]; refusal: unknown }> {
  const kept: Resource[] = []
  for (let index = 0; index < 10_000; index += 1) {
    const resource = sized(`${prefix}${String(index).padStart(5, '0')}`, size)
    const refusal = await codeOf(store.create(resource))
    if (refusal !== 'done') return { kept, refusal }
    kept.push(resource)
  }
  throw new Error('The disk did not fill.')
}

/**
 * Another process writes for a while and ends in order. Gives the content of the store, in the form
 * of `found`.
 */
async function written(file: string): Promise<string[]> {
  const writer = new StoreWriter({ file, prefix: 'w-', most: 30, largest: 1000 })
  await writer.ended
  expect([writer.failures, writer.complaint]).toEqual([[], ''])
  const model = new Map<string, Write>()
  applyTo(model, writer.acknowledged)
  return [...model.values()].map(expected).toSorted()
}

/** Takes all of the free room on a disk. */
function occupy(path: string): string {
  const file = join(path, 'filler')
  try {
    writeFileSync(file, Buffer.alloc(64 * 1024 * 1024))
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  }
  return file
}

describe('a disk that is full', () => {
  test('a full disk refuses writes, serves reads, and recovers with room', async (context) => {
    const disk = smallDisk(context, 2048)
    const file = join(disk, 'gateway.db')
    const filler = join(disk, 'filler')
    writeFileSync(filler, Buffer.alloc(1024 * 1024))
    await using store = openSqliteStore({ file })
    const { kept, refusal } = await fill(store, 'a', 20_000)
    expect(refusal).toBe('storage_full')
    expect(kept.length).toBeGreaterThan(5)
    for (let turn = 0; turn < 20; turn += 1)
      expect(await codeOf(store.create(sized(`refused-${turn}`, 100_000)))).toBe('storage_full')

    const [first] = kept as [Resource]
    expect(
      await codeOf(store.replace({ ...sized(first.name, 200_000), uid: first.uid, version: 2 }, 1)),
    ).toBe('storage_full')

    await store.ping()
    expect(await store.list({})).toEqual(kept)
    expect(await store.get(first.name)).toEqual(first)

    rmSync(filler)
    await store.create(sized('refused-1', 100_000))
    const replaced = { ...sized(first.name, 200_000), uid: first.uid, version: 2 }
    await store.replace(replaced, 1)
    const last = kept.at(-1) as Resource
    await store.delete(last.name, last.uid, 1)
    await store[Symbol.asyncDispose]()

    await using again = openSqliteStore({ file })
    const names = [...kept.slice(0, -1).map(({ name }) => name), 'refused-1']
    expect((await again.list({})).map(({ name }) => name)).toEqual(names)
    expect(await again.get(first.name)).toEqual(replaced)
  })

  test('a caller learns by a code (507) that nothing was changed, and why', async (context) => {
    const disk = smallDisk(context, 512)
    await using store = openSqliteStore({ file: join(disk, 'gateway.db') })
    await fill(store, 'a', 20_000)
    await expect(store.create(sized('one-more', 100_000))).rejects.toMatchObject({
      code: 'storage_full',
      status: 507,
      retry: true,
      message: 'The disk of the data folder is full. Nothing was changed.',
    })
  })

  test('a watcher does not hear of a refused write', async (context) => {
    const disk = smallDisk(context, 512)
    await using store = openSqliteStore({ file: join(disk, 'gateway.db'), pollMs: 5 })
    const stop = new AbortController()
    const told: string[] = []
    const watching = (async () => {
      for await (const { name } of store.watch(stop.signal)) told.push(name)
    })()
    const { kept } = await fill(store, 'a', 20_000)
    await expect.poll(() => [...new Set(told)].toSorted()).toEqual(kept.map(({ name }) => name))
    stop.abort()
    await watching
  })

  test('a process killed on a full disk loses no acknowledged write', async (context) => {
    const disk = smallDisk(context, 1024)
    const file = join(disk, 'gateway.db')
    let model = new Map<string, Write>()
    let refusals = 0
    for (let round = 0; round < 5; round += 1) {
      const writer = new StoreWriter({ file, prefix: 'w-', largest: 150_000 })
      await expect
        .poll(() => writer.failures.length, { interval: 1, timeout: 30_000 })
        .toBeGreaterThan(3)
      await writer.kill()
      expect(new Set(writer.failures)).toEqual(new Set(['storage_full']))
      refusals += writer.failures.length
      applyTo(model, writer.acknowledged)
      const withPending = new Map(model)
      if (writer.pending !== undefined) applyTo(withPending, [writer.pending])
      await using store = openSqliteStore({ file })
      const present = (await store.list({})).map(found).toSorted()
      const states = [model, withPending].map((state) =>
        [...state.values()].map(expected).toSorted(),
      )
      expect(states).toContainEqual(present)
      if (JSON.stringify(present) !== JSON.stringify(states[0])) model = withPending
    }
    expect(refusals).toBeGreaterThan(15)
  }, 60_000)

  test('a store without a free byte opens only once there is room', async (context) => {
    const disk = smallDisk(context, 1024)
    const file = join(disk, 'gateway.db')
    const model = await written(file)
    const filler = occupy(disk)
    const before = readFileSync(file)
    let refusal: unknown
    try {
      await using store = openSqliteStore({ file })
      expect((await store.list({})).map(found)).toEqual(model)
      refusal = await codeOf(store.create(sized('more', 100_000)))
    } catch (error) {
      refusal = (error as { code: unknown }).code
    }
    expect(refusal).toBe('storage_full')
    expect(readFileSync(file).equals(before)).toBe(true)
    rmSync(filler)
    await using store = openSqliteStore({ file })
    expect((await store.list({})).map(found)).toEqual(model)
    await store.create(sized('more', 100_000))
  })

  test('a new store on a full disk is refused, and whole once there is room', async (context) => {
    const disk = smallDisk(context, 256)
    const filler = occupy(disk)
    await expect(openStore({ dataDir: join(disk, 'data') })).rejects.toMatchObject({
      code: 'storage_full',
    })
    rmSync(filler)
    await using store = await openStore({ dataDir: join(disk, 'data') })
    await store.create(sampleResource('one'))
  })
})

describe('a disk that can only be read', () => {
  test('a store on a read-only disk refuses to open, with the reason', async (context) => {
    const disk = smallDisk(context, 1024)
    const file = join(disk, 'gateway.db')
    const model = await written(file)
    execFileSync('/bin/mount', ['-o', 'remount,ro', disk])
    await expect(openStore({ dataDir: disk })).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(/gateway\.db cannot be opened: .*read-?only/i) as string,
    })
    await expect(openStore({ dataDir: join(disk, 'new') })).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(/new cannot be made: /) as string,
    })
    execFileSync('/bin/mount', ['-o', 'remount,rw', disk])
    await using store = openSqliteStore({ file })
    expect((await store.list({})).map(found)).toEqual(model)
  })

  test('a data folder that cannot be created is refused with the reason', async () => {
    const path = join(newFolder(), 'file')
    writeFileSync(path, '')
    await expect(openStore({ dataDir: join(path, 'data') })).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringMatching(/data cannot be made: .*ENOTDIR/) as string,
    })
  })
})

describe('a file that is damaged', () => {
  /** A store with a hundred resources, closed. */
  async function made(): Promise<{ file: string; all: readonly Resource[] }> {
    const file = join(newFolder(), 'gateway.db')
    await using store = openSqliteStore({ file })
    for (let index = 0; index < 100; index += 1)
      await store.create(sized(`r-${String(index).padStart(3, '0')}`, 3000))
    return { file, all: await store.list({}) }
  }

  test('damage at any page gives right data or store_unavailable, never wrong data', async () => {
    const { file, all } = await made()
    const pages = statSync(file).size / 4096
    const known = new Map(all.map((resource) => [resource.name, resource]))
    let refused = 0
    for (let page = 0; page < pages; page += Math.ceil(pages / 40)) {
      const damaged = join(newFolder(), 'gateway.db')
      const bytes = readFileSync(file)
      bytes.fill(0xa5, page * 4096, (page + 1) * 4096)
      writeFileSync(damaged, bytes)
      try {
        await using store = openSqliteStore({ file: damaged })
        for (const [name, resource] of known) {
          const outcome = await store.get(name).catch((error: { code: unknown }) => error.code)
          if (outcome === 'store_unavailable') refused += 1
          else expect(outcome).toEqual(resource)
        }
      } catch (error) {
        expect(error).toMatchObject({ code: 'store_unavailable' })
        refused += 1
      }
    }
    expect(refused).toBeGreaterThan(0)
  })

  test('the error about a damaged file says so, and what to do', async () => {
    const { file } = await made()
    const bytes = readFileSync(file)
    bytes.fill(0xa5, 8192)
    writeFileSync(file, bytes)
    expect(() => openSqliteStore({ file })).toThrow(
      expect.objectContaining({
        code: 'store_unavailable',
        message: expect.stringMatching(/gateway\.db is damaged.*[Rr]estore a copy/) as string,
      }),
    )
  })

  test('damaged text of one resource blocks that one, and no other', async () => {
    const { file, all } = await made()
    await using store = openSqliteStore({ file })
    const database = new Database(file)
    database.prepare('UPDATE resource SET body = substr(body, 1, 100) WHERE name = ?').run('r-007')
    database.close()
    expect(await codeOf(store.get('r-007'))).toBe('store_unavailable')
    expect(await codeOf(store.list({}))).toBe('store_unavailable')
    expect(await store.get('r-008')).toEqual(all[8])
  })

  test('a file that was cut short is refused', async () => {
    const { file } = await made()
    truncateSync(file, 4096 * 5)
    expect(() => openSqliteStore({ file })).toThrow(
      expect.objectContaining({ code: 'store_unavailable' }),
    )
  })

  test('a damaged write-ahead log leaves the store in a whole earlier state', async () => {
    const file = join(newFolder(), 'gateway.db')
    const states: string[][] = [[]]
    const copy = join(newFolder(), 'gateway.db')
    {
      await using store = openSqliteStore({ file })
      for (let index = 0; index < 30; index += 1) {
        await store.create(sized(`r-${index}`, 3000))
        states.push((await store.list({})).map(({ name }) => name))
      }
      for (const end of ['', '-wal']) copyFileSync(file + end, copy + end)
    }
    const log = readFileSync(`${copy}-wal`)
    for (const part of [0.3, 0.6, 0.9]) {
      const torn = join(newFolder(), 'gateway.db')
      copyFileSync(copy, torn)
      const bytes = Buffer.from(log)
      bytes.fill(0, Math.floor(log.length * part))
      writeFileSync(`${torn}-wal`, bytes)
      await using store = openSqliteStore({ file: torn })
      expect(states).toContainEqual((await store.list({})).map(({ name }) => name))
    }
    expect(existsSync(copy)).toBe(true)
  })
})

describe('a store that was closed', () => {
  test('a closed store is one file, which can be copied', async () => {
    const file = join(newFolder(), 'gateway.db')
    const kept = sized('kept', 50_000)
    {
      await using store = openSqliteStore({ file })
      await store.create(kept)
    }
    const copy = join(newFolder(), 'copy.db')
    copyFileSync(file, copy)
    await using store = openSqliteStore({ file: copy })
    expect(await store.list({})).toEqual([kept])
  })
})

describe('a file of a newer gateway', () => {
  test('the file of a newer gateway is refused with advice, and stays as it was', async () => {
    const file = join(newFolder(), 'gateway.db')
    {
      await using store = openSqliteStore({ file })
      await store.create(sampleResource('kept'))
    }
    const newer = new Database(file)
    newer.exec(
      'ALTER TABLE resource ADD COLUMN later TEXT; CREATE TABLE more (x); PRAGMA ' +
        'user_version = 1000',
    )
    newer.close()
    const before = readFileSync(file)
    expect(() => openSqliteStore({ file })).toThrow(
      expect.objectContaining({
        code: 'store_unavailable',
        message: expect.stringMatching(
          /newer version of .* \(schema 1000, known \d+\)\. Start that version, or restore a copy/,
        ) as string,
      }),
    )
    expect(readFileSync(file).equals(before)).toBe(true)
    const again = new Database(file)
    expect(again.prepare('SELECT name FROM resource').all()).toEqual([{ name: 'kept' }])
    again.close()
  })
})

describe('a store that another process holds', () => {
  test('a store locked for too long refuses writes, serves reads, and recovers', async () => {
    const file = join(newFolder(), 'gateway.db')
    await using store = openSqliteStore({ file })
    await store.create(sampleResource('kept'))
    const other = new Database(file)
    other.exec('BEGIN IMMEDIATE')
    await expect(store.create(sampleResource('held'))).rejects.toMatchObject({
      code: 'store_unavailable',
      headers: { 'retry-after': '1' },
    })
    expect((await store.list({})).map(({ name }) => name)).toEqual(['kept'])
    other.exec('ROLLBACK')
    other.close()
    await store.create(sampleResource('held'))
  }, 20_000)

  test('a locked store opens at once, answers reads, and writes in its turn', async () => {
    const file = join(newFolder(), 'gateway.db')
    await openSqliteStore({ file })[Symbol.asyncDispose]()
    const other = new Database(file)
    other.exec('BEGIN IMMEDIATE')
    await using store = openSqliteStore({ file })
    const writing = store.create(sampleResource('waits'))
    expect(await store.list({})).toEqual([])
    expect(await Promise.race([writing, sleep(100, 'waits')])).toBe('waits')
    other.exec('COMMIT')
    other.close()
    await writing
    expect((await store.list({})).map(({ name }) => name)).toEqual(['waits'])
  })
})
