import { clientNetwork } from '../lib/net/address-policy.ts'
import { Parts } from '../lib/async/parts.ts'
import { RateLimit } from '../lib/rate-limit.ts'
import type { Journal } from './journal.ts'
import { encodeMembers, shortEvent, type AuditEvent } from './record.ts'

/** Receives one decision or change. */
export type Audited = (event: AuditEvent) => void

export interface AuditOptions {
  readonly journals: readonly Journal[]
  /**
   * Milliseconds for which refusals of one kind and caller are counted before one record reports
   * them.
   */
  readonly gatherMs: number
  /** Monotonic clock, in milliseconds. */
  readonly now: () => number
}

/** Limit on kinds of refusals that are counted separately. */
const mostGathered = 10_000

/** Refusals of one known caller that get a record each. */
const ofCaller = { burst: 200, perSecond: 1, keys: 10_000 }

/**
 * Limits bytes of all refusals. A day's flood stays below a fifth of what the file sink keeps by
 * default, so it cannot displace records of changes.
 */
const ofAll = { burst: 4 * 1024 * 1024, perSecond: 2048, keys: 2 }

/** Bytes that the chain adds to a record. */
const chainBytes = 200
const epoch = new Date(0)

/** Stands for callers who are counted together. */
const various = 'various'

interface Gathered {
  /** The latest refusal. */
  event: AuditEvent
  /** Refusals that no record has reported yet. */
  untold: number
  readonly timer: NodeJS.Timeout
}

/**
 * The audit log: one record per decision and change, written to all sinks. No request waits for it.
 */
export class Audit implements AsyncDisposable {
  readonly #journals: readonly Journal[]
  readonly #gatherMs: number
  readonly #now: () => number
  /** Refusals, by caller, action and code. */
  readonly #gathered = new Map<string, Gathered>()
  /** Refusals beyond the limits, by code only. */
  readonly #rest = new Map<string, Gathered>()
  readonly #ofCaller = new RateLimit(ofCaller)
  readonly #ofAll = new RateLimit(ofAll)

  constructor({ journals, gatherMs, now }: AuditOptions) {
    this.#journals = journals
    this.#gatherMs = gatherMs
    this.#now = now
  }

  record(given: AuditEvent): void {
    if (!isRepeatable(given)) return this.#add(given)
    // Strangers choose the length of methods and names.
    const event = shortEvent(given)
    const { principal, action, code } = event
    const known = principal !== undefined && principal.id !== ''
    const caller = known ? [principal.issuer, principal.id] : clientNetwork(event.client)
    const key = JSON.stringify([caller, action, code])

    const gathered = this.#gathered.get(key)
    if (gathered !== undefined) {
      gathered.event = event
      gathered.untold += 1
      return
    }
    if (this.#gathered.size >= mostGathered) return this.#count(event, 1)

    const single = known ? this.#ofCaller.take(JSON.stringify(caller), this.#now()) === 0 : true
    const told = single && this.#hasRoom(event)
    if (told) this.#add(event)

    // A known caller's refusals get a record each, up to a limit.
    if (told && known) return

    const timer = setTimeout(() => this.#tell(key), this.#gatherMs).unref()
    this.#gathered.set(key, { event, untold: told ? 0 : 1, timer })
  }

  /** Writes the gathered refusals as one record, with the details of the last request. */
  #tell(key: string): void {
    const gathered = this.#gathered.get(key)
    this.#gathered.delete(key)
    if (gathered === undefined) return
    clearTimeout(gathered.timer)
    const { event, untold } = gathered
    if (untold === 0) return
    if (this.#hasRoom(event)) this.#add({ ...event, repeated: untold })
    else this.#count(event, untold)
  }

  /** Counts refusals of various callers together, so that none is lost silently. */
  #count(event: AuditEvent, refusals: number): void {
    const code = event.code ?? event.outcome
    const { outcome, requestId } = event
    const last = { action: various, outcome, code: event.code, requestId, client: various }
    const counted = this.#rest.get(code)
    if (counted !== undefined) {
      counted.event = last
      counted.untold += refusals
      return
    }
    const timer = setTimeout(() => this.#tellRest(code), this.#gatherMs).unref()
    this.#rest.set(code, { event: last, untold: refusals, timer })
  }

  #tellRest(code: string): void {
    const counted = this.#rest.get(code)
    this.#rest.delete(code)
    if (counted === undefined) return
    clearTimeout(counted.timer)
    this.#add({ ...counted.event, repeated: counted.untold })
  }

  #hasRoom(event: AuditEvent): boolean {
    const bytes = Buffer.byteLength(encodeMembers(epoch, event)) + chainBytes
    return this.#ofAll.take('', this.#now(), bytes) === 0
  }

  #add(event: AuditEvent): void {
    for (const journal of this.#journals) journal.add(event)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const key of this.#gathered.keys()) this.#tell(key)
    for (const code of this.#rest.keys()) this.#tellRest(code)
    const parts = new Parts()
    for (const journal of this.#journals) {
      journal.add({ type: 'stop' })
      parts.use(journal)
    }
    await parts[Symbol.asyncDispose]()
  }
}

/**
 * True for events that callers can repeat at will and that change nothing: refusals, failures,
 * reads of logs.
 */
function isRepeatable({ outcome, action }: AuditEvent): boolean {
  if (outcome === 'denied') return true
  if (action.startsWith('mcp.')) return false
  return outcome === 'failed' || /\.logs(\.open)?$/.test(action)
}
