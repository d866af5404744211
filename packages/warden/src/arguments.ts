/** The argument string cannot be split, or has a part that no program can receive. */
export class ArgumentError extends Error {
  override readonly name = 'ArgumentError'
}

/** Bytes: MAX_ARG_STRLEN of Linux, without the terminator. */
const longestArgument = 128 * 1024 - 1

/**
 * Splits as a POSIX shell (XCU section 2.2); expands nothing. Single quotes keep all. A backslash
 * escapes `$`, `` ` ``, `"` and itself in double quotes, any character outside of quotes.
 * @throws ArgumentError
 */
export function splitArguments(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] as string
    if (character === "'" || character === '"') {
      const end = closing(text, at, character)
      word = (word ?? '') + unquote(text.slice(at + 1, end), character)
      at = end
    } else if (character === '\\') {
      at += 1
      if (at >= text.length) throw new ArgumentError('ends with a backslash that escapes nothing')
      word = (word ?? '') + (text[at] as string)
    } else if (/[ \t\r\n]/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else word = (word ?? '') + character
  }

  if (word !== undefined) words.push(word)
  return words
}

function closing(text: string, start: number, quote: string): number {
  for (let at = start + 1; at < text.length; at += 1) {
    if (quote === '"' && text[at] === '\\') at += 1
    else if (text[at] === quote) return at
  }
  throw new ArgumentError(`has a quote ${quote} at position ${start + 1} that is never closed`)
}

function unquote(text: string, quote: string): string {
  return quote === "'" ? text : text.replaceAll(/\\(["\\$`])/g, '$1')
}

/**
 * Checks only the limits of the system. Messages never repeat an argument.
 * @throws ArgumentError
 */
export function checkArguments(command: string, args: readonly string[]): void {
  if (command === '') throw new ArgumentError('the command is empty')
  for (const [index, word] of [command, ...args].entries()) {
    const what = index === 0 ? 'the command' : `argument ${index}`
    const bytes = Buffer.byteLength(word)
    if (bytes > longestArgument)
      throw new ArgumentError(`${what} has ${bytes} bytes; at most ${longestArgument} are allowed`)
    if (word.includes('\0')) throw new ArgumentError(`${what} holds the character NUL`)
  }
}
