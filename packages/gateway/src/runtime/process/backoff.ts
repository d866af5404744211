export interface BackoffSettings {
  readonly firstSeconds: number
  readonly maxSeconds: number
  /** A run of this length clears the record. */
  readonly resetAfterSeconds: number
}

/**
 * Milliseconds to wait before start number `failures + 1`: doubling, bounded, between half and all of the step so that
 * replicas which fell together do not rise together.
 */
export function backoffMs(
  settings: BackoffSettings,
  failures: number,
  random: () => number,
): number {
  const step = Math.min(
    settings.maxSeconds,
    settings.firstSeconds * 2 ** Math.min(failures - 1, 30),
  )
  return Math.round(step * 1000 * (0.5 + random() / 2))
}
