/** Versions of the protocol that open with `initialize`, oldest first. */
export const legacyVersions = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'] as const

/** The version for a client or server that names no version, or an unknown one. */
export const latestLegacyVersion = '2025-11-25' satisfies (typeof legacyVersions)[number]

/** The stateless version, in which no request depends on another. */
export const modernVersion = '2026-07-28'

/**
 * From 2025-11-25 on, an event stream begins with an event that has an id and no data (2025-11-25,
 * transports). Older clients fail on such an event.
 */
export function wantsPrimingEvent(version: string | undefined): boolean {
  return version !== undefined && version >= '2025-11-25'
}
