import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { timeoutOr } from './timeout-signal.ts'

const { signal: never } = new AbortController()

test('a timeout comes though garbage is collected meanwhile', async () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  let aborted = 0
  const waitFor = (): void => timeoutOr(never, 100).addEventListener('abort', () => (aborted += 1))
  for (let count = 0; count < 10; count += 1) waitFor()
  await nextTurn()
  collectGarbage()
  await expect.poll(() => aborted).toBe(10)
})

test('a wait that is told to stop does not last until the timeout', () => {
  const stop = new AbortController()
  const signal = timeoutOr(stop.signal, 60_000)
  expect(signal.aborted).toBe(false)
  stop.abort('enough')
  expect(signal.reason).toBe('enough')
})
