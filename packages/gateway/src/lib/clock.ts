/**
 * Milliseconds for ages, pauses, back-off, limits and lifetimes in memory. Unlike `Date.now`, never
 * jumps when the clock is set. On Linux, stops during suspend, so an age is never too high.
 */
export function monotonicNow(): number {
  return performance.now()
}
