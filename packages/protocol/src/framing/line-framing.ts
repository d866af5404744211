import { Pieces } from '../pieces.ts'

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
  readonly #line = new Pieces()
  #dropping = false

  constructor(maxBytes: number, handlers: LineHandlers) {
    this.#maxBytes = maxBytes
    this.#handlers = handlers
  }

  /** Bytes of the incomplete line. */
  get held(): number {
    return this.#line.length
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
    this.#line.push(part)
    if (this.#line.length <= this.#maxBytes) return
    this.#dropping = true
    this.#handlers.tooLong(Uint8Array.from(this.#line.take().subarray(0, headBytes)))
  }

  #end(): void {
    if (this.#dropping) {
      this.#dropping = false
      return
    }
    if (this.#line.length === 0) return
    let line: Uint8Array = this.#line.take()
    if (line[line.length - 1] === 0x0d) line = line.subarray(0, -1)
    if (line.length > 0) this.#handlers.line(line)
  }
}
