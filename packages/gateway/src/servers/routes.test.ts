import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../store/open.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import { RouteTable } from './routes.ts'

test('the route table follows the store, and no look-up reads it (C27)', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mcpgw-routes-'))
  try {
    await using store = await openStore({ dataDir })
    const calls: string[] = []
    const counted = new Proxy(store, {
      get(target, key): unknown {
        const member: unknown = Reflect.get(target, key, target)
        if (typeof member !== 'function') return member
        return (...args: unknown[]): unknown => {
          calls.push(String(key))
          return Reflect.apply(member, target, args)
        }
      },
    })
    const before = sampleResource('before')
    await store.create(before)
    await using routes = await RouteTable.open(counted)
    expect(new Set(calls)).toEqual(new Set(['list', 'watch']))

    calls.length = 0
    expect(routes.get('before')?.uid).toBe(before.uid)

    const after = sampleResource('after')
    await store.create(after)
    await expect.poll(() => routes.get('after')?.uid).toBe(after.uid)

    // Tools are reached elsewhere, and there may be many.
    await store.create({ ...sampleResource('tool'), kind: 'tool' })
    await store.create(sampleResource('last'))
    await expect.poll(() => routes.get('last')).toBeDefined()
    expect(routes.get('tool')).toBeUndefined()

    await store.delete('before', before.uid, before.version)
    await expect.poll(() => routes.get('before')).toBeUndefined()

    for (let count = 0; count < 1000; count += 1) routes.get('after')
    expect(calls).toEqual([])
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})
