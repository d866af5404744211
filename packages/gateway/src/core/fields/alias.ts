import { createHash } from 'node:crypto'

/** An alias of a member: short, and without `_`, at which a shown name is split. */
export const aliasPattern = /^[a-z][a-z0-9]{0,15}$/

const longestAlias = 16
const markLength = 6
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** Makes an alias of a member's name, distinct from the aliases in use. */
export function newAlias(memberName: string, used: ReadonlySet<string>): string {
  const letters = memberName.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  const base = (/^[a-z]/.test(letters) ? letters : `m${letters}`).slice(0, longestAlias)
  if (!used.has(base)) return base

  for (let count = 2; ; count += 1) {
    const tail = String(count)
    const alias = base.slice(0, longestAlias - tail.length) + tail
    if (!used.has(alias)) return alias
  }
}

/**
 * An alias that depends on the name alone: the name, or its letters with a mark if the name is no
 * alias.
 */
export function stableAlias(memberName: string): string {
  return aliasPattern.test(memberName) ? memberName : markedAlias(memberName)
}

/** An alias that no member gets whose name is a simple word. */
export function markedAlias(memberName: string): string {
  const letters = newAlias(memberName, new Set()).slice(0, longestAlias - markLength)
  return letters + markOf(memberName)
}

/** Thirty bits of a SHA-256 in lower-case base32 (RFC 4648, section 6). */
export function markOf(original: string): string {
  const bits = createHash('sha256').update(original).digest().readUInt32BE(0)
  let mark = ''
  for (let at = 0; at < markLength; at += 1) mark += alphabet.charAt((bits >>> (27 - at * 5)) & 31)
  return mark
}
