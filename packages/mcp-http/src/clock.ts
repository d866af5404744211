/**
 * Milliseconds for ages, pauses and idle times: unlike `Date.now` it never jumps when somebody sets
 * the clock. On Linux it stands still while the machine is suspended.
 */
export function monotonicNow(): number {
  return performance.now()
}
