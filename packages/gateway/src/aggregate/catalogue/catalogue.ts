import { createHash } from 'node:crypto'
import type { Principal } from '../../core/principal.ts'
import { BoundedCache } from '../../lib/bounded-cache.ts'
import { allListKinds, type ListKind } from '../lists/list-kinds.ts'
import { uiResourceOf, withoutUi, type ShownItem } from './shown-item.ts'
import { memberUri } from '../names/uris.ts'

/** The items of one member, and who may see them. */
export interface CatalogueMember {
  readonly items: Readonly<Record<ListKind, readonly ShownItem[]>>
  /** Equal for callers who see the same items. Undefined for callers who see none. */
  viewKey(principal: Principal): string | undefined
  /** True if a caller of the member may see and use an item. */
  permits(principal: Principal, item: ShownItem): boolean
}

/** Views that are kept. Callers who see the same items share the lists of one. */
const viewsKept = 200
/** Lists of an earlier catalogue that are kept, as far as all their items are still there. */
const listsKept = 20

/** An item, and the member that decides who sees it. */
export interface Offer {
  readonly item: ShownItem
  readonly member: CatalogueMember
}

/**
 * All items of an aggregate at one moment. Reading needs no I/O. A shown key stands for one item,
 * whoever asks: if two items have one key, the item of the earlier member counts.
 */
export class Catalogue {
  readonly #members: readonly CatalogueMember[]
  /** Sorted by the shown key, which no two of a kind share. */
  readonly #offers: Readonly<Record<ListKind, readonly Offer[]>>
  /** The items whose shown key belongs to another item. */
  readonly displaced: readonly Offer[]
  readonly #views = new BoundedCache<string, View>(viewsKept)
  /** Distinct lists of views, the latest first. */
  readonly #lists: ViewList[] = []

  /**
   * @param before the catalogue until now, whose unchanged lists stay with their hashes and indexes
   */
  constructor(members: readonly CatalogueMember[], before?: Catalogue) {
    this.#members = members
    const displaced: Offer[] = []
    const offers = allListKinds.map((kind) => [kind, distinctOffers(members, kind, displaced)])
    this.#offers = Object.fromEntries(offers) as Record<ListKind, readonly Offer[]>
    this.displaced = displaced
    if (before !== undefined) this.#lists.push(...this.#unchanged(before))
  }

  #unchanged(before: Catalogue): readonly ViewList[] {
    const current = new Set(
      allListKinds.flatMap((kind) => this.#offers[kind]).map(({ item }) => item),
    )
    return before.#lists
      .slice(0, listsKept)
      .filter(({ items }) => items.every((item) => current.has(item)))
  }

  /** The part of the catalogue that a caller sees. */
  view(principal: Principal): View {
    const keys = this.#members.map((member) => member.viewKey(principal))
    const key = JSON.stringify(keys)
    let view = this.#views.get(key)
    if (view !== undefined) return view

    const seen = new Set(this.#members.filter((_, index) => keys[index] !== undefined))
    const permitted = (kind: ListKind): ViewList =>
      this.#shared(this.#permitted(kind, seen, principal))
    const resources = permitted('resources')
    const templates = permitted('templates')
    const tools = withReadableUi(permitted('tools').items, (uri) =>
      reads(uri, resources, templates),
    )
    const lists = {
      tools: this.#shared(tools),
      prompts: permitted('prompts'),
      resources,
      templates,
    }
    this.#views.set(key, (view = new View(lists)))
    return view
  }

  /**
   * The item of a shown key, or else of a key that a member itself uses, whoever may see it, and
   * its member.
   */
  find(kind: ListKind, key: string): Offer | undefined {
    const offers = this.#offers[kind]
    return (
      offers.find(({ item }) => item.shown === key) ??
      offers.find(({ item }) => item.original === key)
    )
  }

  #permitted(
    kind: ListKind,
    seen: ReadonlySet<CatalogueMember>,
    principal: Principal,
  ): readonly ShownItem[] {
    const items: ShownItem[] = []
    for (const { item, member } of this.#offers[kind])
      if (seen.has(member) && member.permits(principal, item)) items.push(item)
    return items
  }

  /** The list that an earlier view has, if it has the same items. */
  #shared(items: readonly ShownItem[]): ViewList {
    const same = this.#lists.find(
      (list) =>
        list.items.length === items.length &&
        list.items.every((item, index) => item === items[index]),
    )
    if (same !== undefined) return same
    const list = new ViewList(items)
    this.#lists.unshift(list)
    if (this.#lists.length > viewsKept) this.#lists.pop()
    return list
  }
}

/** The part of an aggregate that one caller sees. */
export class View {
  readonly #lists: Readonly<Record<ListKind, ViewList>>

  constructor(lists: Readonly<Record<ListKind, ViewList>>) {
    this.#lists = lists
  }

  list(kind: ListKind): ViewList {
    return this.#lists[kind]
  }
}

/** One list of a view. Look-ups are by search, because a table for each view takes much memory. */
export class ViewList {
  /** Sorted by the shown key. */
  readonly items: readonly ShownItem[]
  #hash: string | undefined

  constructor(items: readonly ShownItem[]) {
    this.items = items
  }

  /** Two lists with the same items have the same hash. */
  get hash(): string {
    if (this.#hash !== undefined) return this.#hash
    const hash = createHash('sha256')
    for (const { json } of this.items) hash.update(json).update('\n')
    return (this.#hash = hash.digest('base64url'))
  }

  find(shown: string): ShownItem | undefined {
    const before = this.items[this.#placeAfter(shown) - 1]
    return before?.shown === shown ? before : undefined
  }

  /** The items whose members know them by this name or address. */
  named(original: string): readonly ShownItem[] {
    return this.items.filter((item) => item.original === original)
  }

  /** The items after a shown key, and the last key of the page if more items follow. */
  page(after: string, size: number): { items: readonly ShownItem[]; next: string | undefined } {
    const start = this.#placeAfter(after)
    const items = this.items.slice(start, start + size)
    const more = start + size < this.items.length
    return { items, next: more ? items.at(-1)?.shown : undefined }
  }

  /** The place of the first item whose key is greater. */
  #placeAfter(shown: string): number {
    let low = 0
    let high = this.items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.items[middle] as ShownItem).shown <= shown) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The items of a kind, sorted by their shown keys. `displaced` takes those without a key. */
function distinctOffers(
  members: readonly CatalogueMember[],
  kind: ListKind,
  displaced: Offer[],
): readonly Offer[] {
  const offers = members.flatMap((member, place) =>
    member.items[kind].map((item) => ({ item, member, place })),
  )
  offers.sort(
    (a, b) =>
      compare(a.item.shown, b.item.shown) ||
      a.place - b.place ||
      compare(a.item.original, b.item.original),
  )
  return offers.filter((offer, index) => {
    const isFirst = offers[index - 1]?.item.shown !== offer.item.shown
    if (!isFirst) displaced.push(offer)
    return isFirst
  })
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** True if a shown address may be one of the resources, or of a template of the same member. */
function reads(shown: string, resources: ViewList, templates: ViewList): boolean {
  if (resources.find(shown) !== undefined) return true
  const alias = memberUri(shown)?.alias
  return templates.items.some((template) => template.alias === alias)
}

/** Tools without a user interface whose resource the caller may not read. */
function withReadableUi(
  tools: readonly ShownItem[],
  reads: (uri: string) => boolean,
): readonly ShownItem[] {
  return tools.map((tool) => {
    const uri = uiResourceOf(tool.json)
    return uri === undefined || reads(uri) ? tool : { ...tool, json: withoutUi(tool.json) }
  })
}
