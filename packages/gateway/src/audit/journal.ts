import { setTimeout as sleep } from 'node:timers/promises'
import { chainLine, type ChainHead } from './chain.ts'
import { encodeMembers, type AuditEvent, type AuditMark } from './record.ts'
import { backoffMs, type Backoff } from '../lib/async/backoff.ts'
import { monotonicNow } from '../lib/clock.ts'

/** Where lines of the log go. */
export interface AuditSink extends AsyncDisposable {
  /** For messages: `file /var/lib/…/audit.log`. */
  readonly name: string
  /** Where the chain goes on that was written before. */
  readonly head: ChainHead
  /** What is to be said of it in the record of the start: what was found of a former process. */
  readonly found: Readonly<Record<string, string | number>>
  /** Writes whole lines. Resolves when they are written; rejects when none of them is, and may then be called with the same again. */
  write(lines: readonly string[]): Promise<void>
}

export interface JournalOptions {
  readonly sink: AuditSink
  /** Records that wait at most while the sink is slow or down. */
  readonly capacity: number
  readonly now: () => Date
  /** Milliseconds that never jump. */
  readonly monotonicNow?: () => number
  /** The sink fails, or works again. Told once for each change. */
  readonly troubled: (sink: string, error: unknown) => void
  readonly recovered: (sink: string, lost: number) => void
  /** Records are being lost; told at once, and then once a minute as long as it goes on. */
  readonly losing: (sink: string, lost: number) => void
  readonly retry: Backoff
  /** How long the end waits for what is not written yet. */
  readonly flushMs: number
}

interface Waiting {
  readonly seq: number
  readonly members: string
}

/** UTF-16 units of a batch, so that a sink need not take much before it can say that it has. */
const mostAtOnce = 24 * 1024
const lossToldMs = 60_000
/** Strangers choose how long names are, within bounds. */
const mostLength = 32 * 1024 * 1024

/**
 * The way of records to one sink: numbered at once, chained and written in batches by and by. Nobody waits for it. When it cannot keep up,
 * records are lost by number: the counter rises, and a record of the gap is written as soon as the sink works again.
 */
export class Journal implements AsyncDisposable {
  readonly #options: JournalOptions
  #queue: Waiting[] = []
  /** UTF-16 units of what waits. */
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

  /** Records that were lost, since the process began. */
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
    // What is added in the same turn goes with the first batch.
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

  /** Writes what waits, within bounds. What is not written then is counted as lost. */
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
