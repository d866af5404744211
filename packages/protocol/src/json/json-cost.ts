import { skipString } from './json-text.ts'

/** Texts with fewer characters cannot hold enough parts to matter. */
const short = 64 * 1024

/**
 * Most objects, arrays and members in a server's message. Each takes about a microsecond to read.
 */
export const mostParts = 200_000

/**
 * Tells whether a JSON text is slow to parse: a few megabytes of brackets hold a process for
 * seconds and take a hundred times their size. Numbers and strings are cheap.
 */
export function isCostly(text: string, most = mostParts): boolean {
  if (text.length < short) return false

  let parts = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === quote) at = skipString(text, at) - 1
    else if (code === brace || code === bracket || code === colon) parts += 1
    if (parts > most) return true
  }
  return false
}

const quote = 0x22
const colon = 0x3a
const bracket = 0x5b
const brace = 0x7b
