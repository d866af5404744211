/** As `Promise.all`, which fails while others are still under way: by the time that this fails, all have come to an end, so that what they opened can be closed. */
export async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work))
    if (outcome.status === 'rejected') throw outcome.reason
}
