const timeouts = new WeakMap<AbortSignal, AbortSignal>()

/**
 * Aborts after some milliseconds, or earlier with the signal. Node.js 20 collects a timeout that
 * only `AbortSignal.any` refers to (nodejs/node#57736), so the map keeps it alive.
 */
export function timeoutOr(signal: AbortSignal, ms: number): AbortSignal {
  const timeout = AbortSignal.timeout(ms)
  const either = AbortSignal.any([signal, timeout])
  timeouts.set(either, timeout)
  return either
}
