/**
 * Cuts output that comes in any pieces into lines of bounded length. Each stream needs its own
 * cutter, so that lines do not mix.
 */
export class LineCutter {
  readonly #line: (text: string) => void
  #partial = ''
  /** The present line was too long: its beginning has been given, and its rest is dropped. */
  #skipping = false

  constructor(line: (text: string) => void) {
    this.#line = line
  }

  write(text: string): void {
    let from = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', from)) {
      const rest = text.slice(from, end > from && text[end - 1] === '\r' ? end - 1 : end)
      from = end + 1
      if (!this.#skipping) this.#give(this.#partial + rest)
      this.#partial = ''
      this.#skipping = false
    }
    if (this.#skipping) return
    this.#partial += text.slice(from)
    if (this.#partial.length <= longestLine) return
    this.#give(this.#partial)
    this.#partial = ''
    this.#skipping = true
  }

  /** Gives the last line, even without a line end. */
  end(): void {
    if (this.#partial !== '') this.#give(this.#partial)
    this.#partial = ''
  }

  #give(text: string): void {
    this.#line(text.length > longestLine ? `${text.slice(0, longestLine)}…` : text)
  }
}

const longestLine = 16_384
