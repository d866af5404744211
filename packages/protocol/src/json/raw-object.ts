import { skipSpace, skipString, skipValue } from './json-text.ts'

/**
 * An object whose members stay raw JSON text: members that a translation does not touch keep their
 * big integers, key order and escapes. The text must hold valid JSON (RFC 8259).
 */
export type RawObject = Map<string, string>

/**
 * A name stands twice in one object. Readers disagree on which member counts, so a caller could get
 * past a rule.
 */
export class DuplicateMember extends SyntaxError {
  override readonly name = 'DuplicateMember'
}

/**
 * Reads the members of an object, one level deep; undefined if the text is not an object. If a name
 * stands twice, the last member counts, as in `JSON.parse`.
 */
export function readObject(raw: string | undefined): RawObject | undefined {
  return members(raw, false)
}

/**
 * As `readObject`, for text that is judged here and that others may read in the same bytes.
 * @throws DuplicateMember
 */
export function readUnambiguous(raw: string | undefined): RawObject | undefined {
  return members(raw, true)
}

function members(raw: string | undefined, strict: boolean): RawObject | undefined {
  if (raw === undefined) return undefined
  let at = skipSpace(raw, 0)
  if (raw[at] !== '{') return undefined
  const found: RawObject = new Map()
  at = skipSpace(raw, at + 1)
  while (raw[at] === '"') {
    const nameEnd = skipString(raw, at)
    const name = raw.slice(at + 1, nameEnd - 1)
    const start = skipSpace(raw, skipSpace(raw, nameEnd) + 1)
    const end = skipValue(raw, start)
    const key = name.includes('\\') ? (JSON.parse(`"${name}"`) as string) : name
    if (strict && found.has(key))
      throw new DuplicateMember(`The member '${key.slice(0, 100)}' stands twice.`)
    found.set(key, raw.slice(start, end))
    at = skipSpace(raw, end)
    if (raw[at] === ',') at = skipSpace(raw, at + 1)
  }
  return found
}

/** Reads the members of a message that may not be valid JSON. @throws SyntaxError */
export function readMessage(text: string): RawObject | undefined {
  JSON.parse(text)
  return readObject(text)
}

/** Reads the elements of an array; undefined if the text is not an array. */
export function readArray(raw: string | undefined): string[] | undefined {
  if (raw === undefined) return undefined
  let at = skipSpace(raw, 0)
  if (raw[at] !== '[') return undefined
  const elements: string[] = []
  at = skipSpace(raw, at + 1)
  while (at < raw.length && raw[at] !== ']') {
    const end = skipValue(raw, at)
    elements.push(raw.slice(at, end))
    at = skipSpace(raw, end)
    if (raw[at] !== ',') break
    at = skipSpace(raw, at + 1)
  }
  return elements
}

/** Reads the text of a string; undefined if the value is not a string. */
export function readString(raw: string | undefined): string | undefined {
  return raw?.startsWith('"') === true ? (JSON.parse(raw) as string) : undefined
}

export function writeObject(members: Iterable<readonly [string, string]>): string {
  let text = ''
  for (const [name, raw] of members)
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${raw}`
  return `{${text}}`
}
