/** The last lines of one instance of a replica: bounded in number and bytes, with their times. */
export class LogBuffer {
  readonly #maxLines: number
  readonly #lines: { readonly at: number; readonly text: string }[] = []
  readonly #waiters = new Set<() => void>()
  #bytes = 0
  /** Lines that were dropped from the front, so that a reader knows its place. */
  #dropped = 0
  #partial = ''
  #closed = false

  constructor(maxLines: number) {
    this.#maxLines = maxLines
  }

  /** Takes output as it comes, in any pieces. */
  write(text: string, now: number): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) this.#push(line.endsWith('\r') ? line.slice(0, -1) : line, now)
    if (this.#partial.length > longestLine) {
      this.#push(this.#partial, now)
      this.#partial = ''
    }
    this.#wake()
  }

  /** No more will come. */
  close(now: number): void {
    if (this.#partial !== '') this.#push(this.#partial, now)
    this.#partial = ''
    this.#closed = true
    this.#wake()
  }

  /** The last `count` lines. */
  last(count: number): string[] {
    return count === 0 ? [] : this.#lines.slice(-count).map(({ text }) => text)
  }

  async *read(
    query: { readonly tail: number; readonly since?: Date; readonly follow: boolean },
    signal: AbortSignal,
  ): AsyncIterable<string> {
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
      await this.#change(signal)
    }
  }

  #push(text: string, at: number): void {
    const line = text.length > longestLine ? `${text.slice(0, longestLine)}…` : text
    this.#lines.push({ at, text: line })
    this.#bytes += line.length
    while (this.#lines.length > this.#maxLines || this.#bytes > maxBytes) {
      this.#bytes -= this.#lines.shift()?.text.length ?? 0
      this.#dropped += 1
    }
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      this.#waiters.add(done)
      signal.addEventListener('abort', done)
      if (signal.aborted) done()
    })
  }

  #wake(): void {
    for (const wake of this.#waiters) wake()
  }
}

const longestLine = 16_384
const maxBytes = 4 * 1024 * 1024
