import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicNow } from '../clock.ts'
import { backoffMs, type Backoff } from './backoff.ts'

export interface Supervision {
  /** Ends the work and the waits for it. */
  readonly signal: AbortSignal
  readonly retry: Backoff
  readonly failed: (error: unknown) => void
}

/**
 * Does work that must not stop at an error: reports the error, waits, and does the work again until
 * it ends by itself or the signal aborts. Never rejects.
 */
export async function supervise(
  work: () => Promise<void>,
  { signal, retry, failed }: Supervision,
): Promise<void> {
  for (let failures = 1; !signal.aborted; failures += 1) {
    const begunAt = monotonicNow()
    try {
      return await work()
    } catch (error) {
      if (signal.aborted) return
      failed(error)
      // Work that went well for long fails for the first time.
      if (monotonicNow() - begunAt > retry.maxMs) failures = 1
      await sleep(backoffMs(retry, failures), undefined, { signal }).catch(() => undefined)
    }
  }
}
