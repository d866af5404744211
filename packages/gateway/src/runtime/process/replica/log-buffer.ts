/** The last lines of one replica instance with their times, bounded in number and size. */
export class LogBuffer {
  readonly #maxLines: number
  readonly #lines: { readonly at: number; readonly text: string }[] = []
  readonly #waiters = new Set<() => void>()
  #size = 0
  /** Number of lines dropped from the front, so that a reader knows its place. */
  #dropped = 0
  #closed = false

  constructor(maxLines: number) {
    this.#maxLines = maxLines
  }

  push(text: string, at: number): void {
    this.#lines.push({ at, text })
    this.#size += text.length
    while (this.#lines.length > this.#maxLines || this.#size > maxSize) {
      this.#size -= this.#lines.shift()?.text.length ?? 0
      this.#dropped += 1
    }
    this.#wake()
  }

  /** Marks the instance as ended. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  last(count: number): string[] {
    return count === 0 ? [] : this.#lines.slice(-count).map(({ text }) => text)
  }

  /** Yields the last lines. With `follow` it also yields new lines until the instance ends. */
  async *read(query: LogRange, signal: AbortSignal): AsyncGenerator<string> {
    const since = query.since?.getTime() ?? 0
    let place = this.#dropped + Math.max(0, this.#lines.length - query.tail)
    for (;;) {
      place = Math.max(place, this.#dropped)
      while (place - this.#dropped < this.#lines.length) {
        const line = this.#lines[place - this.#dropped]
        place += 1
        if (line !== undefined && line.at >= since) yield line.text
        if (signal.aborted) return
        place = Math.max(place, this.#dropped)
      }
      if (!query.follow || this.#closed || signal.aborted) return
      await change(this.#waiters, signal)
    }
  }

  #wake(): void {
    for (const wake of this.#waiters) wake()
  }
}

export interface LogRange {
  readonly tail: number
  readonly since?: Date
  readonly follow: boolean
}

/** The output of a replica over restarts and updates: the present instance and the one before. */
export class ReplicaLogs {
  readonly #maxLines: number
  readonly #waiters = new Set<() => void>()
  #present: LogBuffer | undefined
  #previous: LogBuffer | undefined
  #ended = false

  constructor(maxLines: number) {
    this.#maxLines = maxLines
  }

  /** Starts a new instance. */
  begin(): LogBuffer {
    this.#previous = this.#present
    this.#present = new LogBuffer(this.#maxLines)
    for (const wake of this.#waiters) wake()
    return this.#present
  }

  /** Marks the replica as gone: no instance follows. */
  end(): void {
    this.#ended = true
    for (const wake of this.#waiters) wake()
  }

  /**
   * Reads the present instance, with `follow` also later instances, or with `previous` the earlier
   * one. Undefined when the instance does not exist.
   */
  read(
    query: LogRange & { readonly previous: boolean },
    signal: AbortSignal,
  ): AsyncIterable<string> | undefined {
    if (query.previous) return this.#previous?.read({ ...query, follow: false }, signal)
    return this.#present === undefined ? undefined : this.#follow(this.#present, query, signal)
  }

  async *#follow(first: LogBuffer, query: LogRange, signal: AbortSignal): AsyncGenerator<string> {
    yield* first.read(query, signal)
    if (!query.follow) return
    let seen = first
    for (;;) {
      while (this.#present === seen && !this.#ended && !signal.aborted)
        await change(this.#waiters, signal)
      if (this.#present === undefined || this.#present === seen || signal.aborted) return
      seen = this.#present
      yield* seen.read({ ...query, tail: Number.POSITIVE_INFINITY }, signal)
    }
  }
}

/** Resolves at the next wake-up, or when the signal aborts. */
function change(waiters: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      waiters.delete(done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    waiters.add(done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}

const maxSize = 4 * 1024 * 1024
