/** UTF-16 units of one piece: with what the log adds, it fits into one line of the gateway's log. */
const longestPiece = 8192
/** Ends a piece that another one follows, and begins that one. */
export const goesOn = '…'

/**
 * Cuts what a server writes for its log into lines. A long line comes in pieces that begin and end
 * with a mark, so that nothing is lost and a line without end takes no memory.
 */
export class LogLines {
  readonly #line: (text: string) => void
  readonly #decoder = new TextDecoder()
  #rest = ''
  /** A piece of the line was given before. */
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

  /** No more will come. */
  end(): void {
    this.#add(this.#decoder.decode())
    this.#give('')
  }

  #add(text: string): void {
    this.#rest += text
    while (this.#rest.length > longestPiece) {
      // A character outside of the basic plane is two units, which stay together.
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
