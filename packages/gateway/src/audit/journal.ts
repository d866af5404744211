import { setTimeout as sleep } from 'node:timers/promises'
import { chainLine, type ChainHead } from './chain.ts'
import { encodeMembers, type AuditEvent, type AuditMark } from './record.ts'
import { backoffMs, type Backoff } from '../lib/async/backoff.ts'
import { monotonicNow } from '../lib/clock.ts'

/** A destination of the log. */
export interface AuditSink extends AsyncDisposable {
  /** Name for messages: `file /var/lib/…/audit.log`. */
  readonly name: string
  /** End of the chain already written, where this process continues. */
  readonly head: ChainHead
  /** Findings about the file of an earlier process, for the start record. */
  readonly found: Readonly<Record<string, string | number>>
  /**
   * Writes whole lines. Resolves once they are written. Rejects if none is written, and then
   * accepts the same lines again.
   */
  write(lines: readonly string[]): Promise<void>
}

export interface JournalOptions {
  readonly sink: AuditSink
  /** Limit on the records that wait while the sink is slow or down. */
  readonly capacity: number
  readonly now: () => Date
  /** Monotonic clock, in milliseconds. */
  readonly monotonicNow?: () => number
  /** Reports that the sink fails. Called once for each change. */
  readonly troubled: (sink: string, error: unknown) => void
  readonly recovered: (sink: string, lost: number) => void
  /** Reports lost records: at once, and then once a minute while losses continue. */
  readonly losing: (sink: string, lost: number) => void
  readonly retry: Backoff
  /** Milliseconds that disposal waits for unwritten records. */
  readonly flushMs: number
}

interface Waiting {
  readonly seq: number
  readonly members: string
}

/** UTF-16 units of a batch. Small batches let a sink confirm records early. */
const mostAtOnce = 24 * 1024
const lossToldMs = 60_000
/** UTF-16 units that may wait. Strangers choose the length of names, within limits. */
const mostLength = 32 * 1024 * 1024

/**
 * Queue of one sink: numbers records at once, chains and writes them later in batches. No request
 * waits. A slow sink loses records by number; a gap record follows when it works again.
 */
export class Journal implements AsyncDisposable {
  readonly #options: JournalOptions
  #queue: Waiting[] = []
  /** UTF-16 units of the waiting records. */
  #length = 0
  #head: ChainHead
  #seq: number
  #gap: { readonly from: number; to: number } | undefined
  #lost = 0
  #lossToldAt = Number.NEGATIVE_INFINITY
  #writing: Promise<void> | undefined
  #failing = false
  readonly #stop = new AbortController()

  constructor(options: JournalOptions) {
    this.#options = options
    this.#head = options.sink.head
    this.#seq = this.#head.seq
  }

  /** Records lost since the process began. */
  get lost(): number {
    return this.#lost
  }

  add(record: AuditEvent | AuditMark): void {
    if (this.#queue.length >= this.#options.capacity || this.#length > mostLength) {
      this.#lost += 1
      this.#seq += 1
      if (this.#gap === undefined) this.#gap = { from: this.#seq, to: this.#seq }
      else this.#gap.to = this.#seq
      return this.#tellLoss()
    }
    this.#closeGap()
    this.#enqueue(record)
  }

  #tellLoss(): void {
    const now = (this.#options.monotonicNow ?? monotonicNow)()
    if (now - this.#lossToldAt < lossToldMs) return
    this.#lossToldAt = now
    this.#options.losing(this.#options.sink.name, this.#lost)
  }

  #enqueue(record: AuditEvent | AuditMark): void {
    this.#seq += 1
    const members = encodeMembers(this.#options.now(), record)
    this.#length += members.length
    this.#queue.push({ seq: this.#seq, members })
    this.#writing ??= this.#writeAll()
  }

  #closeGap(): void {
    if (this.#gap === undefined) return
    const { from, to } = this.#gap
    this.#gap = undefined
    this.#enqueue({ type: 'gap', lost: to - from + 1, from, to })
  }

  async #writeAll(): Promise<void> {
    // Records added in the same turn join the first batch.
    await Promise.resolve()
    for (let failures = 0; this.#queue.length > 0 && !this.#stop.signal.aborted;) {
      const batch = this.#batch()
      let head = this.#head
      const lines = batch.map(({ seq, members }) => {
        const chained = chainLine(head, seq, members)
        head = chained.head
        return chained.line
      })

      try {
        await this.#options.sink.write(lines)
      } catch (error) {
        await this.#pause(error, (failures += 1))
        continue
      }

      failures = 0
      this.#head = head
      this.#queue = this.#queue.slice(batch.length)
      for (const { members } of batch) this.#length -= members.length
      if (this.#queue.length === 0) this.#closeGap()

      if (this.#failing) {
        this.#failing = false
        this.#options.recovered(this.#options.sink.name, this.#lost)
      }
    }

    this.#writing = undefined
  }

  #batch(): readonly Waiting[] {
    let length = 0
    const end = this.#queue.findIndex(({ members }) => (length += members.length) > mostAtOnce)
    return this.#queue.slice(0, end === -1 ? this.#queue.length : Math.max(1, end))
  }

  async #pause(error: unknown, failures: number): Promise<void> {
    const { sink, troubled, retry } = this.#options
    if (!this.#failing) troubled(sink.name, error)
    this.#failing = true
    const ms = backoffMs(retry, failures)
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined)
  }

  /** Writes the waiting records within a time limit. The rest counts as lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { sink, flushMs, troubled } = this.#options
    const over = new AbortController()
    await Promise.race([
      this.#writing,
      sleep(flushMs, undefined, { signal: over.signal }).catch(() => undefined),
    ])
    over.abort()
    this.#stop.abort()
    if (this.#queue.length > 0) {
      this.#lost += this.#queue.length
      troubled(
        sink.name,
        new Error(`${this.#queue.length} records were not written when the gateway ended.`),
      )
    }
    await sink[Symbol.asyncDispose]()
  }
}
