import { expect, test } from 'vitest'
import { supervise } from './supervise.ts'

const retry = { firstMs: 1, maxMs: 1000 }

test('supervised work is done again after each error, until it ends by itself', async () => {
  const told: unknown[] = []
  let attempts = 0
  const work = async (): Promise<void> => {
    attempts += 1
    if (attempts < 4) throw new Error(`attempt ${attempts}`)
  }
  const { signal } = new AbortController()
  await supervise(work, { signal, retry, failed: (error) => told.push(String(error)) })
  expect(attempts).toBe(4)
  expect(told).toEqual(['Error: attempt 1', 'Error: attempt 2', 'Error: attempt 3'])
})

test('supervised work that is to end is neither begun nor waited for', async () => {
  const stop = new AbortController()
  let attempts = 0
  const work = async (): Promise<void> => {
    attempts += 1
    throw new Error('broken')
  }
  const long = { firstMs: 3_600_000, maxMs: 3_600_000 }
  const failed = (): void => void setImmediate(() => stop.abort())
  await supervise(work, { signal: stop.signal, retry: long, failed })
  await supervise(work, { signal: stop.signal, retry: long, failed })
  expect(attempts).toBe(1)
})
