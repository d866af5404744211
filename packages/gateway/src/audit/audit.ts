import { clientNetwork } from '../lib/address-policy.ts'
import { Parts } from '../lib/parts.ts'
import type { Journal } from './journal.ts'
import type { AuditEvent } from './record.ts'

/** Takes one decision or change. */
export type Audited = (event: AuditEvent) => void

export interface AuditOptions {
  readonly journals: readonly Journal[]
  /** So long refusals of one kind from one address are counted, before they are told together. */
  readonly gatherMs: number
}

/** Kinds of refusals that are counted at once; whatever is beyond is told one by one. */
const mostGathered = 10_000

/** The audit log: one record for each decision and change, in all sinks. Nobody waits for it. */
export class Audit implements AsyncDisposable {
  readonly #journals: readonly Journal[]
  readonly #gatherMs: number
  /** Callers that are not known and refused again and again, by what is alike in it. */
  readonly #gathered = new Map<
    string,
    { event: AuditEvent; repeated: number; readonly timer: NodeJS.Timeout }
  >()

  constructor({ journals, gatherMs }: AuditOptions) {
    this.#journals = journals
    this.#gatherMs = gatherMs
  }

  record(event: AuditEvent): void {
    // Who is known answers for each of its acts; strangers could fill the log and push out what matters.
    if (event.outcome !== 'denied' || (event.principal !== undefined && event.principal.id !== ''))
      return this.#add(event)
    const key = JSON.stringify([clientNetwork(event.client), event.action, event.code])
    const known = this.#gathered.get(key)
    if (known !== undefined) {
      known.event = event
      known.repeated += 1
      return
    }
    this.#add(event)
    if (this.#gathered.size >= mostGathered) return
    const timer = setTimeout(() => this.#tell(key), this.#gatherMs).unref()
    this.#gathered.set(key, { event, repeated: 0, timer })
  }

  /** What was gathered, as one record with the last of its requests. */
  #tell(key: string): void {
    const gathered = this.#gathered.get(key)
    this.#gathered.delete(key)
    if (gathered === undefined) return
    clearTimeout(gathered.timer)
    if (gathered.repeated > 0) this.#add({ ...gathered.event, repeated: gathered.repeated })
  }

  #add(event: AuditEvent): void {
    for (const journal of this.#journals) journal.add(event)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const key of this.#gathered.keys()) this.#tell(key)
    const parts = new Parts()
    for (const journal of this.#journals) {
      journal.add({ type: 'stop' })
      parts.use(journal)
    }
    await parts[Symbol.asyncDispose]()
  }
}
