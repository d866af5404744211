/** Texts that are shorter cannot hold enough to matter. */
const short = 64 * 1024

/** Objects, arrays and members of objects in a server's message. One takes about a microsecond. */
export const mostParts = 200_000

/**
 * Whether reading a JSON text as a value would take long: a few megabytes of brackets hold a
 * process for seconds and take a hundred times their size. Numbers and strings are cheap.
 */
export function isCostly(text: string, most = mostParts): boolean {
  if (text.length < short) return false

  let parts = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if (code === brace || code === bracket || code === colon) parts += 1
    if (parts > most) return true
  }
  return false
}

const quote = 0x22
const colon = 0x3a
const bracket = 0x5b
const backslash = 0x5c
const brace = 0x7b

/** The place of the quote that ends a string, or the end of the text. */
function endOfString(text: string, start: number): number {
  for (let end = start; ;) {
    end = text.indexOf('"', end + 1)
    if (end === -1) return text.length

    let before = end - 1
    while (text.charCodeAt(before) === backslash) before -= 1
    if ((end - before) % 2 === 1) return end
  }
}
