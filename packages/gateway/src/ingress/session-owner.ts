import type { Session } from './session-sealer.ts'

/**
 * Begins the name of a gateway process where a session names its replica. No replica is named so.
 */
const ownerMark = '@'

/** The name by which a sealed id names a gateway process as its owner. */
export function ownedBy(process: string): string {
  return ownerMark + process
}

/** The gateway process that a sealed id names as its owner, or undefined if a replica owns it. */
export function ownerOf({ replica }: Session): string | undefined {
  return replica.startsWith(ownerMark) ? replica.slice(1) : undefined
}
