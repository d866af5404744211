export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
}

/** Milliseconds to wait after one or more failures in a row: doubles each time, up to a bound. */
export function backoffMs({ firstMs, maxMs }: Backoff, failures: number): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30))
}

/**
 * Between half and all of `backoffMs`, at random, so that parties that failed together do not
 * return together.
 */
export function spreadBackoffMs(
  backoff: Backoff,
  failures: number,
  random: () => number = Math.random,
): number {
  return backoffMs(backoff, failures) * (0.5 + random() / 2)
}
