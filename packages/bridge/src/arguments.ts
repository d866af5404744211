/** An argument string that can not be split, or has more or longer parts than allowed. */
export class ArgumentError extends Error {
  override readonly name = 'ArgumentError'
}

const longestArgument = 512
const mostArguments = 64

/**
 * Splits by the rules of a POSIX shell (XCU section 2.2): single quotes keep everything, double quotes all but `\\` before one of `$`, `` ` ``, `"`, `\\`,
 * a backslash outside of quotes keeps the next character. Nothing is expanded.
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

/** The limits of the original for the command and each argument. @throws ArgumentError */
export function checkArguments(command: string, args: readonly string[]): void {
  if (args.length > mostArguments)
    throw new ArgumentError(`has ${args.length} arguments; at most ${mostArguments} are allowed`)
  for (const [index, word] of [command, ...args].entries()) {
    const what = index === 0 ? 'the command' : `argument ${index}`
    if (word.length === 0 || word.length > longestArgument)
      throw new ArgumentError(
        `${what} has ${word.length} characters; 1 to ${longestArgument} are allowed`,
      )
    // eslint-disable-next-line no-control-regex -- these are the characters that are looked for
    if (/[\u0000\r\n]/.test(word)) throw new ArgumentError(`${what} holds a line break or NUL`)
  }
}
