/**
 * Makes a test of whole texts: `*` stands for any characters (none, too), `?` for one, everything else for itself. Its time is bounded by
 * the product of both lengths, whatever the pattern, which regular expressions do not promise.
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  const wanted = Array.from(pattern.replaceAll(/\*+/g, '*'))
  if (!wanted.includes('*') && !wanted.includes('?')) return (text) => text === pattern
  return (text) => fits(wanted, Array.from(text))
}

/** Takes the shortest for each star, and goes back to the last one when what follows does not fit: earlier ones need no second try. */
function fits(pattern: readonly string[], text: readonly string[]): boolean {
  let at = 0
  let star = -1
  let resume = 0
  for (let index = 0; index < text.length;) {
    if (pattern[at] === '*') {
      star = at
      at += 1
      resume = index
    } else if (pattern[at] === '?' || (at < pattern.length && pattern[at] === text[index])) {
      at += 1
      index += 1
    } else if (star !== -1) {
      resume += 1
      at = star + 1
      index = resume
    } else return false
  }
  return at === pattern.length || (at === pattern.length - 1 && pattern[at] === '*')
}
