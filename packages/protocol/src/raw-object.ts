import { skipSpace, skipString, skipValue } from './json-text.ts'

/**
 * Objects whose members stay raw JSON text, so that what a translation does not touch keeps its big integers, key order and escapes.
 * The text must hold valid JSON (RFC 8259).
 */
export type RawObject = Map<string, string>

/** Names that stand twice in one object: readers disagree on which counts, so a rule could be passed by. */
export class DuplicateMember extends SyntaxError {
  override readonly name = 'DuplicateMember'
}

/** The members of an object, one level deep; undefined when the text is no object. Of members that stand twice, the last, as `JSON.parse` has it. */
export function readObject(raw: string | undefined): RawObject | undefined {
  return members(raw, false)
}

/** As `readObject`, for what is judged here and may be read by others in the same bytes. @throws DuplicateMember */
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

/** The members of a message that may be no JSON at all. @throws SyntaxError */
export function readMessage(text: string): RawObject | undefined {
  JSON.parse(text)
  return readObject(text)
}

/** The elements of an array; undefined when the text is none. */
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

/** The text of a string; undefined when the value is none. */
export function readString(raw: string | undefined): string | undefined {
  return raw?.startsWith('"') === true ? (JSON.parse(raw) as string) : undefined
}

export function writeObject(members: Iterable<readonly [string, string]>): string {
  let text = ''
  for (const [name, raw] of members)
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${raw}`
  return `{${text}}`
}
