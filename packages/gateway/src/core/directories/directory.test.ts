import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { ReplicaDirectory } from './directory.ts'

const entry = { uid: 'u', desiredReplicas: 1, replicas: [] }

test('a wait for a change leaves nothing with the signal, whichever comes first', async () => {
  const directory = new ReplicaDirectory()
  const waiting = new AbortController()
  for (let turn = 0; turn < 3; turn += 1) {
    const changed = directory.changed('one', waiting.signal)
    expect(getEventListeners(waiting.signal, 'abort')).toHaveLength(1)
    directory.set('one', entry)
    await changed
  }
  expect(getEventListeners(waiting.signal, 'abort')).toEqual([])

  const aborted = directory.changed('one', waiting.signal)
  waiting.abort()
  await aborted
  expect(getEventListeners(waiting.signal, 'abort')).toEqual([])
  await directory.changed('one', waiting.signal)
})

test('a change wakes only those who wait for its workload', async () => {
  const directory = new ReplicaDirectory()
  const { signal } = new AbortController()
  const woken: string[] = []
  const waits = ['one', 'two'].map((name) =>
    directory.changed(name, signal).then(() => woken.push(name)),
  )
  directory.set('two', entry)
  await waits[1]
  expect(woken).toEqual(['two'])
  directory.delete('one')
  await waits[0]
  expect(woken).toEqual(['two', 'one'])
})
