const timeouts = new WeakMap<AbortSignal, AbortSignal>()

/**
 * Aborts after a time, in milliseconds, or with a signal if that is sooner. Node.js 20 lets go of a timeout that nothing but `AbortSignal.any`
 * refers to, so that it never comes (nodejs/node#57736): it is kept for as long as what it is to abort.
 */
export function timeoutOr(signal: AbortSignal, ms: number): AbortSignal {
  const timeout = AbortSignal.timeout(ms)
  const either = AbortSignal.any([signal, timeout])
  timeouts.set(either, timeout)
  return either
}
