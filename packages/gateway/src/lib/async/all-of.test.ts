import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { allOf } from './all-of.ts'

test('the first failure is thrown once everything else has ended too', async () => {
  const told: string[] = []
  let finish: (() => void) | undefined
  const slow = new Promise<void>((resolve) => (finish = resolve)).then(() => told.push('opened'))
  const outcome = allOf([slow, Promise.reject(new Error('forbidden'))]).catch((error: Error) =>
    told.push(error.message),
  )
  await nextTurn()
  finish?.()
  await outcome
  expect(told).toEqual(['opened', 'forbidden'])
})
