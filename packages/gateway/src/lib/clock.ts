/**
 * Milliseconds for ages, pauses, back-off, limits and lifetimes in memory. Unlike `Date.now` it
 * never jumps when somebody sets the clock. On Linux it stands still while the machine is
 * suspended, so such an age is never too high.
 */
export function monotonicNow(): number {
  return performance.now()
}
