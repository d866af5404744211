import { createHash, randomUUID } from 'node:crypto'
import type { BoundSessions } from '../../core/virtual-servers/bound-sessions.ts'
import { GatewayError } from '../../core/errors.ts'
import type { Principal } from '../../core/principal.ts'
import type { Collection } from '../../store/store.ts'

export interface SessionNotesOptions {
  readonly store: Pick<Collection<BoundSessions>, 'get' | 'create' | 'replace'>
  /** Milliseconds after which a session id is refused anyway. */
  readonly maxAgeMs: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** A legacy session, as its sealed id names it. */
export interface NotedSession {
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
}

/** Sessions that are noted one by one for a caller. Of more, the older half counts as bound. */
export const mostNoted = 500
/** Other gateways may write the same record at the same moment. */
const attempts = 10

/**
 * Notes in the store with which legacy sessions no other process may go on. One short record for
 * each caller, so that no caller can fill the store.
 */
export class SessionNotes {
  readonly #options: SessionNotesOptions
  /** The last write for each record: one at a time, because they would undo each other. */
  readonly #writing = new Map<string, Promise<void>>()
  /** The write for each record that has not begun, and takes more sessions. */
  readonly #waiting = new Map<string, { sessions: NotedSession[]; written: Promise<void> }>()

  constructor(options: SessionNotesOptions) {
    this.#options = options
  }

  /** Resolves when every gateway can know that a session is bound to its process. */
  bind(principal: Principal, session: NotedSession): Promise<void> {
    const name = recordOf(principal)
    const waiting = this.#waiting.get(name)
    if (waiting !== undefined) {
      waiting.sessions.push(session)
      return waiting.written
    }

    const sessions = [session]
    const write = (): Promise<void> => {
      this.#waiting.delete(name)
      return this.#bind(name, principal, sessions)
    }
    const before = this.#writing.get(name) ?? Promise.resolve()
    const written = before.then(write, write).finally(() => {
      if (this.#writing.get(name) === written) this.#writing.delete(name)
    })
    this.#waiting.set(name, { sessions, written })
    this.#writing.set(name, written)
    return written
  }

  async isBound(principal: Principal, session: NotedSession): Promise<boolean> {
    const stored = await this.#options.store.get(recordOf(principal))
    return stored !== undefined && isNoted(stored, session)
  }

  async #bind(
    name: string,
    { id, issuer }: Principal,
    sessions: readonly NotedSession[],
  ): Promise<void> {
    const { store } = this.#options
    for (let attempt = 1; ; attempt += 1) {
      const stored = await store.get(name)
      const added = sessions.filter((session) => stored === undefined || !isNoted(stored, session))
      if (added.length === 0) return
      const at = new Date(this.#options.now()).toISOString()
      const record: BoundSessions = {
        kind: 'sessions',
        name,
        uid: stored?.uid ?? randomUUID(),
        version: (stored?.version ?? 0) + 1,
        owner: { id, issuer },
        createdAt: stored?.createdAt ?? at,
        lastUpdatedAt: at,
        spec: this.#noted(stored?.spec, added),
      }
      try {
        if (stored === undefined) await store.create(record)
        else await store.replace(record, stored.version)
        return
      } catch (error) {
        const isRace = error instanceof GatewayError && races.has(error.code)
        if (!isRace || attempt === attempts) throw error
      }
    }
  }

  #noted(
    before: BoundSessions['spec'] | undefined,
    added: readonly NotedSession[],
  ): BoundSessions['spec'] {
    const expired = this.#options.now() - this.#options.maxAgeMs
    const { sessions = [], until = 0 } = before ?? {}
    const known = [...sessions, ...added.map(({ id, issuedAt }) => [id, issuedAt] as const)]
      .filter(([, at]) => at >= expired)
      .toSorted(([, a], [, b]) => a - b)
    if (known.length <= mostNoted) return { sessions: known, until }
    const older = known.splice(0, known.length - mostNoted / 2)
    return { sessions: known, until: older.at(-1)?.[1] ?? until }
  }
}

const races: ReadonlySet<string> = new Set(['name_taken', 'not_found', 'precondition_failed'])

function isNoted({ spec }: BoundSessions, { id, issuedAt }: NotedSession): boolean {
  return issuedAt <= spec.until || spec.sessions.some(([noted]) => noted === id)
}

/** Anonymous callers share a record, because anybody can be many of them. */
function recordOf({ id, issuer }: Principal): string {
  return createHash('sha256')
    .update(JSON.stringify([issuer, id]))
    .digest('base64url')
}
