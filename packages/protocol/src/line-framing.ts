/** Receives the lines of a stream. The framer drops the rest of a line that is too long. */
export interface LineHandlers {
  readonly line: (line: Uint8Array) => void
  /** Receives the first bytes of a line that is too long, at most 4096. */
  readonly tooLong: (head: Uint8Array) => void
}

const headBytes = 4096

/**
 * Cuts a byte stream into lines (MCP stdio framing: one message a line). Drops line terminators and
 * empty lines.
 */
export class LineFramer {
  readonly #maxBytes: number
  readonly #handlers: LineHandlers
  #parts: Uint8Array[] = []
  #length = 0
  #dropping = false

  constructor(maxBytes: number, handlers: LineHandlers) {
    this.#maxBytes = maxBytes
    this.#handlers = handlers
  }

  /** Bytes of the incomplete line. */
  get held(): number {
    return this.#dropping ? 0 : this.#length
  }

  push(chunk: Uint8Array): void {
    let from = 0
    for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, from)) {
      this.#take(chunk.subarray(from, at))
      this.#end()
      from = at + 1
    }
    if (from < chunk.length) this.#take(chunk.subarray(from))
  }

  /** Ends the stream. Bytes without a terminator are the last line. */
  end(): void {
    this.#end()
  }

  #take(part: Uint8Array): void {
    if (this.#dropping) return
    this.#length += part.length
    if (this.#length > this.#maxBytes) {
      this.#dropping = true
      const head = concat([...this.#parts, part].map((each) => each.subarray(0, headBytes)))
      this.#parts = []
      this.#handlers.tooLong(head.subarray(0, headBytes))
    } else if (part.length > 0) this.#parts.push(part)
  }

  #end(): void {
    const [first, ...more] = this.#parts
    this.#parts = []
    this.#length = 0
    if (this.#dropping) {
      this.#dropping = false
      return
    }
    if (first === undefined) return
    let line = more.length === 0 ? first : concat([first, ...more])
    if (line[line.length - 1] === 0x0d) line = line.subarray(0, -1)
    if (line.length > 0) this.#handlers.line(line)
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    result.set(part, at)
    at += part.length
  }
  return result
}
