/**
 * Like `Promise.all`, but fails only once all work has ended, so that the caller can close what the
 * work opened.
 */
export async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work))
    if (outcome.status === 'rejected') throw outcome.reason
}
