import { monotonicNow } from '../../lib/clock.ts'

/** Requests wait for a member that cannot be reached so long after it was noticed. */
const waitMs = 5000
/** A member that nobody has missed for so long may be away for another reason than before. */
const forgetMs = 30_000
/** The pauses between attempts, in milliseconds: at first, and at most. */
const pauses = { first: 50, longest: 500 }

interface Absence {
  readonly since: number
  noticedAt: number
}

/**
 * The members that cannot be reached. Servers outside the runtime restart, too, and clients need
 * not notice. Requests wait in the first seconds only: a member that stays away costs nobody time.
 */
export class Absences {
  readonly #now: () => number
  readonly #byAlias = new Map<string, Absence>()

  /** `now` gives milliseconds that never jump. */
  constructor(now = monotonicNow) {
    this.#now = now
  }

  /**
   * An attempt did not reach a member. Returns the pause before the next one in milliseconds, or
   * undefined if the member stays away.
   */
  pauseMs(alias: string, attempts: number): number | undefined {
    const now = this.#now()
    const known = this.#byAlias.get(alias)
    const isKnown = known !== undefined && now - known.noticedAt < forgetMs
    const absence = isKnown ? known : { since: now, noticedAt: now }
    absence.noticedAt = now
    this.#byAlias.set(alias, absence)
    const pause = Math.min(pauses.longest, pauses.first * 2 ** (attempts - 1))
    return now - absence.since + pause > waitMs ? undefined : pause
  }

  /** A member has answered. */
  end(alias: string): void {
    if (this.#byAlias.size > 0) this.#byAlias.delete(alias)
  }
}
