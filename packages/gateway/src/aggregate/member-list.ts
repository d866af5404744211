import { readArray, readObject, readString, type RawObject } from '@mcp-gateway/protocol'
import { listKinds, type ListKind } from './list-kinds.ts'

/** One tool, prompt, resource or template, as its member lists it. */
export interface MemberItem {
  /** The name, address or template that the member knows. */
  readonly key: string
  /** The definition as raw JSON. */
  readonly json: string
}

/** A member's list of one kind over all pages. */
export interface MemberList {
  readonly items: readonly MemberItem[]
  /** The items that were left out, and why, for the member's status. */
  readonly mistakes: readonly string[]
}

/** Bounds of what one member may list. */
export const listLimits = {
  pages: 100,
  items: 10_000,
  bytes: 8 * 1024 * 1024,
  bytesOfItem: 256 * 1024,
  keyLength: 2048,
  nameLength: 256,
} as const

const mostMistakes = 5

/**
 * Collects a member's list page by page, within the limits. Takes nothing on trust: items without a
 * legible key, and keys that come twice, are left out.
 */
export class ListCollector {
  readonly #kind: ListKind
  readonly #items = new Map<string, MemberItem>()
  readonly #cursors = new Set<string>()
  readonly #mistakes: string[] = []
  #left = 0
  #bytes = 0
  #pages = 0

  constructor(kind: ListKind) {
    this.#kind = kind
  }

  /** Takes a result. Returns the raw cursor of the next page, or undefined at the end. */
  take(result: RawObject): string | undefined {
    this.#pages += 1
    const { member } = listKinds[this.#kind]
    const items = readArray(result.get(member))
    if (items === undefined) {
      this.#complain(`The server's answer has no list of ${member}.`)
      return undefined
    }

    for (const json of items) {
      if (this.#items.size >= listLimits.items || this.#bytes + json.length > listLimits.bytes) {
        const most = `${listLimits.items} items or ${listLimits.bytes / 1024 / 1024} MiB`
        this.#complain(`The server lists more than ${most}. The rest is left out.`)
        return undefined
      }
      this.#add(json)
    }
    return this.#next(result.get('nextCursor'))
  }

  /** The list as far as it was read. */
  end(): MemberList {
    const more = this.#left - this.#mistakes.length
    const rest = more > 0 ? [`${more} more items are left out.`] : []
    return { items: [...this.#items.values()], mistakes: [...this.#mistakes, ...rest] }
  }

  #add(json: string): void {
    const { key: name } = listKinds[this.#kind]
    const key = readString(readObject(json)?.get(name))
    const mistake = keyMistake(this.#kind, key, json)
    if (mistake !== undefined || key === undefined)
      return this.#complain(mistake ?? `An item has no ${name}.`)

    const shown = JSON.stringify(key.slice(0, 100))
    if (this.#items.has(key)) return this.#complain(`${shown} is listed twice. The first counts.`)
    this.#items.set(key, { key, json })
    this.#bytes += json.length
  }

  #next(cursor: string | undefined): string | undefined {
    if (cursor === undefined || cursor === 'null') return undefined
    const problem = this.#cursors.has(cursor)
      ? 'The server gives a cursor again that it has given before.'
      : this.#pages >= listLimits.pages
        ? `The server's list has more than ${listLimits.pages} pages.`
        : undefined
    if (problem === undefined) return this.#cursors.add(cursor) && cursor
    this.#complain(`${problem} The rest is left out.`)
    return undefined
  }

  #complain(mistake: string): void {
    this.#left += 1
    if (this.#mistakes.length < mostMistakes) this.#mistakes.push(mistake)
  }
}

function keyMistake(kind: ListKind, key: string | undefined, json: string): string | undefined {
  const { key: name } = listKinds[kind]
  if (key === undefined || key === '') return `An item has no ${name}.`
  const shown = JSON.stringify(key.slice(0, 100))
  const longest = name === 'name' ? listLimits.nameLength : listLimits.keyLength
  if (key.length > longest) return `The ${name} ${shown} is longer than ${longest} characters.`
  if (/[\p{Cc}\p{Cs}]/u.test(key)) return `The ${name} ${shown} contains control characters.`
  return json.length > listLimits.bytesOfItem
    ? `The definition of ${shown} is larger than ${listLimits.bytesOfItem / 1024} KiB.`
    : undefined
}
