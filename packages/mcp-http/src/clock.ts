/**
 * Milliseconds for ages, pauses and idle times. Unlike `Date.now`, the value never jumps when the
 * clock is set. On Linux it stands still while the machine is suspended.
 */
export function monotonicNow(): number {
  return performance.now()
}
