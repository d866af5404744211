/** Bytes. Each piece that is kept costs some 200 bytes, so shorter ones are copied together. */
const smallBytes = 1024
const blockBytes = 4096

/** Collects bytes that come in pieces of any size, in memory of about their own size. */
export class Pieces {
  #kept: Uint8Array[] = []
  #block: Buffer | undefined
  #used = 0
  #length = 0

  /** Bytes in all pieces. */
  get length(): number {
    return this.#length
  }

  push(piece: Uint8Array): void {
    const isFirst = this.#length === 0
    this.#length += piece.length
    if (isFirst || piece.length >= smallBytes) {
      this.#keepBlock()
      if (piece.length > 0) this.#kept.push(piece)
      return
    }
    if (this.#used + piece.length > blockBytes) this.#keepBlock()
    this.#block ??= Buffer.allocUnsafeSlow(blockBytes)
    this.#block.set(piece, this.#used)
    this.#used += piece.length
  }

  /** Returns all bytes in one piece, and begins again. */
  take(): Buffer {
    this.#keepBlock()
    const [only] = this.#kept
    const whole =
      this.#kept.length === 1 && only !== undefined
        ? Buffer.from(only.buffer, only.byteOffset, only.length)
        : Buffer.concat(this.#kept, this.#length)
    this.clear()
    return whole
  }

  clear(): void {
    this.#kept = []
    this.#block = undefined
    this.#used = 0
    this.#length = 0
  }

  #keepBlock(): void {
    if (this.#block === undefined || this.#used === 0) return
    this.#kept.push(Buffer.from(this.#block.subarray(0, this.#used)))
    this.#used = 0
  }
}

/** Pieces of a text that are joined at once. A piece that waits may keep its chunk in memory. */
const mostWaiting = 128

/** Collects a text that comes in pieces of any size, in memory of about its own size. */
export class TextPieces {
  #joined: string[] = []
  #waiting: string[] = []

  push(piece: string): void {
    if (piece === '') return
    if (this.#waiting.push(piece) < mostWaiting) return
    this.#joined.push(this.#waiting.join(''))
    this.#waiting = []
  }

  /** Returns the whole text, and begins again. */
  take(): string {
    if (this.#waiting.length === 0 && this.#joined.length === 0) return ''
    const whole = this.#joined.join('') + this.#waiting.join('')
    this.#joined = []
    this.#waiting = []
    return whole
  }
}
