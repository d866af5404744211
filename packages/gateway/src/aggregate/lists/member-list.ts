import { readArray, readObject, readString, type RawObject } from '@mcp-gateway/protocol'
import { shapeItem } from './item-shape.ts'
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
  /** The items, and parts of items, that were left out, for the member's status. */
  readonly mistakes: readonly string[]
}

/** Bounds of one member. `length`: characters that it may send for all its lists together. */
export const listLimits = {
  pages: 100,
  items: 10_000,
  length: 8 * 1024 * 1024,
  bytesOfItem: 256 * 1024,
  keyLength: 2048,
  nameLength: 256,
} as const

const mostMistakes = 5

/** The characters that a member may still send. Its lists share them. */
export interface Room {
  left: number
}

export function newRoom(): Room {
  return { left: listLimits.length }
}

/**
 * Collects a member's list page by page, within the limits. Takes nothing on trust: items without a
 * legible key, and keys that come twice, are left out.
 */
export class ListCollector {
  readonly #kind: ListKind
  readonly #items = new Map<string, MemberItem>()
  readonly #cursors = new Set<string>()
  readonly #mistakes: string[] = []
  readonly #room: Room
  #left = 0
  #pages = 0

  constructor(kind: ListKind, room = newRoom()) {
    this.#kind = kind
    this.#room = room
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
      this.#room.left -= json.length
      if (this.#items.size >= listLimits.items || this.#room.left < 0) return this.#stop()
      this.#add(json)
    }

    // A page may hold more than its items, and is read whole.
    for (const [name, raw] of result) if (name !== member) this.#room.left -= raw.length
    const next = this.#next(result.get('nextCursor'))
    return next !== undefined && this.#room.left <= 0 ? this.#stop() : next
  }

  #stop(): undefined {
    const most = `${listLimits.items} items or ${listLimits.length / 1024 / 1024} MiB`
    this.#complain(`The server lists more than ${most}. The rest is left out.`)
  }

  /** The list as far as it was read. */
  end(): MemberList {
    const more = this.#left - this.#mistakes.length
    const rest = more > 0 ? [`${more} more mistakes are not shown.`] : []
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
    const shaped = shapeItem(this.#kind, key, json)
    if ('mistake' in shaped) return this.#complain(shaped.mistake)
    this.#items.set(key, { key, json: unshared(shaped.json) })
    for (const each of shaped.leftOut)
      this.#complain(`The part ${each} breaks the protocol, and is left out.`)
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

/** A copy, because a part of a string keeps the whole page in memory. */
export function unshared(text: string): string {
  return Buffer.from(text).toString()
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
