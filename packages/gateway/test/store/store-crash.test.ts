import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import {
  applyTo,
  expected,
  found,
  StoreWriter,
  type Write,
} from '../fixtures/store-writer-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'mcpgw-crash-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a store whose process is killed', () => {
  test('a killed store keeps every acknowledged write whole, 25 times over', async () => {
    const file = join(folder, 'killed.db')
    const model = new Map<string, Write>()
    let total = 0
    for (let round = 0; round < 25; round += 1) {
      const writer = new StoreWriter({ file, prefix: 'w-' })
      await expect
        .poll(() => writer.acknowledged.length, { interval: 1, timeout: 30_000 })
        .toBeGreaterThan(4)

      await sleep(Math.random() * 60)
      await writer.kill()
      total += writer.acknowledged.length
      applyTo(model, writer.acknowledged)
      const withPending = new Map(model)
      if (writer.pending !== undefined) applyTo(withPending, [writer.pending])

      await using store = openSqliteStore({ file })
      const present = (await store.list({})).map(found)
      const allowed = [model, withPending].map((state) =>
        [...state.values()].map(expected).toSorted(),
      )
      expect(allowed, `round ${round}`).toContainEqual(present.toSorted())

      if (
        writer.pending !== undefined &&
        JSON.stringify(present.toSorted()) !== JSON.stringify(allowed[0])
      )
        applyTo(model, [writer.pending])
      for (const { name, version } of model.values())
        expect((await store.get(name))?.version).toBe(version)
    }
    expect(total).toBeGreaterThan(100)
  }, 180_000)

  test('a store of two processes loses nothing when one is killed again and again', async () => {
    const file = join(folder, 'shared.db')
    const steady = new StoreWriter({ file, prefix: 'a-' })
    const model = new Map<string, Write>()
    await expect.poll(() => steady.acknowledged.length).toBeGreaterThan(0)

    for (let round = 0; round < 8; round += 1) {
      const victim = new StoreWriter({ file, prefix: 'b-' })
      await expect
        .poll(() => victim.acknowledged.length, { interval: 1, timeout: 30_000 })
        .toBeGreaterThan(0)

      await sleep(Math.random() * 40)
      await victim.kill()
      applyTo(model, victim.acknowledged)
      const before = steady.acknowledged.length
      await expect.poll(() => steady.acknowledged.length).toBeGreaterThan(before)

      // The unanswered write may be there or not. The next round starts from the present state.
      if (victim.pending !== undefined) {
        await using store = openSqliteStore({ file })
        const { pending } = victim
        const now = await store.get(pending.name)
        const happened =
          pending.op === 'delete'
            ? now === undefined
            : now?.uid === pending.uid && now.version === pending.version
        if (happened) applyTo(model, [pending])
      }
    }
    await steady.kill()
    expect(steady.failures).toEqual([])

    await using store = openSqliteStore({ file })
    applyTo(model, steady.acknowledged)
    if (steady.pending !== undefined) {
      const { name } = steady.pending
      const alternative = new Map(model)
      applyTo(alternative, [steady.pending])
      const now = await store.get(name)
      expect(
        [model, alternative]
          .map((state) => state.get(name))
          .map((write) => (write === undefined ? undefined : expected(write))),
      ).toContain(now === undefined ? undefined : found(now))
      model.delete(name)
      const rest = (await store.list({})).filter((resource) => resource.name !== name)
      expect(rest.map(found).toSorted()).toEqual([...model.values()].map(expected).toSorted())
    } else
      expect((await store.list({})).map(found).toSorted()).toEqual(
        [...model.values()].map(expected).toSorted(),
      )
  }, 180_000)
})

describe('a store that others write to', () => {
  test('a watcher gets the last change of every name while three processes write', async () => {
    // A file system in memory, where there is one, makes changes as fast as possible.
    const file = join(
      mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'mcpgw-watch-')),
      'watched.db',
    )
    try {
      await using store = openSqliteStore({ file, pollMs: 1 })
      const stop = new AbortController()
      const view = new Map<string, string>()
      const watching = (async () => {
        for await (const { name, resource } of store.watch(stop.signal)) {
          if (resource === undefined) view.delete(name)
          else view.set(name, found(resource))
        }
      })()
      const writers = ['a-', 'b-', 'c-'].map(
        (prefix) => new StoreWriter({ file, prefix, most: 3000, largest: 10 }),
      )
      await Promise.all(writers.map(({ ended }) => ended))
      for (const { failures, complaint, acknowledged } of writers)
        expect([failures, complaint, acknowledged.length]).toEqual([[], '', 3000])

      const present = (await store.list({})).map(found)
      await expect.poll(() => [...view.values()].toSorted()).toEqual(present.toSorted())

      stop.abort()
      await watching
    } finally {
      rmSync(join(file, '..'), { recursive: true, force: true })
    }
  }, 180_000)
})
