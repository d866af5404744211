/**
 * UTF-16 units of one piece. With the log's own fields it fits into one line of the gateway's log.
 */
const longestPiece = 8192
/** Marks the end of a piece that another piece follows, and the beginning of that piece. */
export const goesOn = '…'

/**
 * Cuts a server's log output into lines. A long line comes in marked pieces, so that nothing is
 * lost and a line without end takes no memory.
 */
export class LogLines {
  readonly #line: (text: string) => void
  readonly #decoder = new TextDecoder()
  #rest = ''
  /** True if an earlier piece of this line was given. */
  #goesOn = false

  constructor(line: (text: string) => void) {
    this.#line = line
  }

  push(chunk: Uint8Array): void {
    const [first = '', ...others] = this.#decoder.decode(chunk, { stream: true }).split('\n')
    this.#add(first)
    for (const text of others) {
      this.#give('')
      this.#add(text)
    }
  }

  /** Gives the rest after the last chunk. */
  end(): void {
    this.#add(this.#decoder.decode())
    this.#give('')
  }

  #add(text: string): void {
    this.#rest += text
    while (this.#rest.length > longestPiece) {
      // A character outside of the basic plane has two units, which must stay together.
      const cut = isHighHalf(this.#rest.charCodeAt(longestPiece - 1))
        ? longestPiece - 1
        : longestPiece
      const left = this.#rest.slice(cut)
      this.#rest = this.#rest.slice(0, cut)
      this.#give(goesOn)
      this.#rest = left
      this.#goesOn = true
    }
  }

  #give(end: string): void {
    const text = end === '' ? this.#rest.replace(/\r$/, '') : this.#rest
    const begin = this.#goesOn ? goesOn : ''
    this.#rest = ''
    this.#goesOn = false
    if (text !== '' || begin !== '') this.#line(begin + text + end)
  }
}

function isHighHalf(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}
