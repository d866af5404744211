/** Versions of the protocol that open with `initialize`, oldest first. */
export const legacyVersions = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'] as const

/** What a client or a server gets that names no version, or one that is not known. */
export const latestLegacyVersion = '2025-11-25' satisfies (typeof legacyVersions)[number]

/** The stateless version, in which each request stands for itself. */
export const modernVersion = '2026-07-28'

/** From this version on, an event stream begins with an event that has an id and no data; older clients fail on it (2025-11-25, transports). */
export function wantsPrimingEvent(version: string | undefined): boolean {
  return version !== undefined && version >= '2025-11-25'
}
