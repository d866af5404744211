import { expect, test } from 'vitest'
import { follow } from './follow.ts'
import { sampleResource } from '../../test/contracts/samples.ts'
import type { Change, ListQuery } from './store.ts'
import { Watcher } from './watcher.ts'

test('a follower hears of a change that comes while it lists', async () => {
  const watchers = new Set<Watcher>()
  const kept = sampleResource('kept')
  const late = sampleResource('late')
  const store = {
    list: async ({ after = '' }: ListQuery) => {
      if (after !== '') return []

      // Another process writes after this list has been read.
      for (const watcher of watchers)
        watcher.notify({ kind: 'adapter', name: 'late', resource: late })
      return [kept]
    },
    async *watch(signal: AbortSignal): AsyncIterable<Change> {
      const watcher = new Watcher()
      watchers.add(watcher)
      yield* watcher.changes(signal)
    },
  }
  const names: string[] = []

  await using _following = await follow(store, {}, ({ name }) => void names.push(name))
  await expect.poll(() => names).toEqual(['kept', 'late'])
})

test('a follower whose list fails stops watching', async () => {
  let watched: AbortSignal | undefined
  const store = {
    list: () => Promise.reject(new Error('The store is away.')),
    async *watch(signal: AbortSignal): AsyncIterable<Change> {
      watched = signal
      yield* new Watcher().changes(signal)
    },
  }

  await expect(follow(store, {}, () => undefined)).rejects.toThrow('The store is away.')
  expect(watched?.aborted).toBe(true)
})

test('a follower goes on after its watch has failed, and finds what was deleted meanwhile', async () => {
  const watchers = new Set<Watcher>()
  const resources = new Map([
    ['kept', sampleResource('kept')],
    ['gone', sampleResource('gone')],
  ])
  let broken = false
  const store = {
    list: async ({ after = '' }: ListQuery) => (after === '' ? [...resources.values()] : []),
    async *watch(signal: AbortSignal): AsyncIterable<Change> {
      const watcher = new Watcher()
      watchers.add(watcher)
      try {
        for await (const change of watcher.changes(signal)) {
          if (broken) throw new Error('The store is away.')
          yield change
        }
      } finally {
        watchers.delete(watcher)
      }
    },
  }
  const names = new Set<string>()
  const failures: unknown[] = []
  await using _following = await follow(
    store,
    {},
    ({ name, resource }) => void (resource === undefined ? names.delete(name) : names.add(name)),
    (error) => failures.push(error),
  )
  const tell = (name: string): void => {
    const resource = resources.get(name)
    for (const watcher of watchers)
      watcher.notify({ kind: 'adapter', name, ...(resource === undefined ? {} : { resource }) })
  }

  broken = true
  resources.delete('gone')
  tell('gone')
  await expect.poll(() => failures).toEqual([new Error('The store is away.')])
  broken = false
  await expect.poll(() => [...names]).toEqual(['kept'])

  resources.set('late', sampleResource('late'))
  tell('late')
  await expect.poll(() => [...names]).toEqual(['kept', 'late'])
  expect(watchers.size).toBe(1)
})
