export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
}

/** Milliseconds to wait after so many failures in a row, at least one: doubling, and bounded. */
export function backoffMs({ firstMs, maxMs }: Backoff, failures: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30))
}

/**
 * As `backoffMs`, between half and all of it at random, so that those who failed together do not
 * come back together.
 */
export function spreadBackoffMs(
  backoff: Backoff,
  failures: number,
  random: () => number = Math.random,
): number {
  return backoffMs(backoff, failures) * (0.5 + random() / 2)
}
