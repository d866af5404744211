import type { Owned } from '../resource.ts'

/**
 * The legacy sessions of one caller with which no other process may go on, because only their own
 * process knows their subscriptions and log level, or because the caller has ended them.
 */
export type BoundSessions = Owned<
  {
    /** Ids, and the times at which they were issued, in milliseconds since the epoch. */
    readonly sessions: readonly (readonly [id: string, issuedAt: number])[]
    /** Sessions that were issued until then count as bound, too. */
    readonly until: number
  },
  'sessions'
>
