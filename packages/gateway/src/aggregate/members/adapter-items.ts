import { sharedItems, type ShownItems } from '../catalogue/shared-items.ts'
import { showItem, type ShownItem, type ShowOptions } from '../catalogue/shown-item.ts'
import { allListKinds } from '../lists/list-kinds.ts'
import type { MemberSnapshot } from '../lists/member-lists.ts'
import { claimedBy, shownName, type Claimed } from '../names/names.ts'
import { compileTemplate } from '../names/uris.ts'
import { compileFilters, type Membership, type ShowsItem } from './membership.ts'

export interface AdapterItemsOptions {
  readonly membership: Membership
  /** True for a web address that two members list. */
  readonly clashes: (uri: string) => boolean
  /** Names of tools that belong to another member. */
  readonly claimed?: Claimed | undefined
}

const noItems: ShownItems = { tools: [], prompts: [], resources: [], templates: [] }

/** The items of an adapter, as a virtual server shows them. */
export class AdapterItems {
  readonly #options: AdapterItemsOptions
  readonly #filters: { readonly shows: ShowsItem; readonly leavesOut: ShowsItem }
  readonly #claimed: Claimed
  #shown: { readonly of: MemberSnapshot; readonly items: ShownItems } | undefined

  constructor(options: AdapterItemsOptions) {
    this.#options = options
    const { alias, spec } = options.membership
    this.#filters = compileFilters(spec)
    const own = claimedBy(alias, spec.overrides)
    this.#claimed = (shown) => own.has(shown) || options.claimed?.(shown) === true
  }

  of(snapshot: MemberSnapshot | undefined): ShownItems {
    if (snapshot === undefined) return noItems
    if (this.#shown?.of !== snapshot) {
      const items = sharedItems(snapshot, this.#formOf(snapshot), () => this.#show(snapshot))
      this.#shown = { of: snapshot, items }
    }
    return this.#shown.items
  }

  /** True for an address that the filters show, or a template that they show. */
  covers(uri: string, snapshot: MemberSnapshot | undefined): boolean {
    const item = { kind: 'resources', original: uri, hints: undefined } as const
    const { leavesOut, shows } = this.#filters
    if (shows(item)) return true
    // A filter that shows a template shows what the template stands for.
    const fits = ({ original }: ShownItem): boolean => compileTemplate(original)(uri)
    return this.of(snapshot).templates.some(fits) && !leavesOut(item)
  }

  /** Equal for members that show a snapshot alike. */
  #formOf({ lists }: MemberSnapshot): string {
    const { claimed, clashes, membership } = this.#options
    const { alias, name, spec } = membership
    const { include, exclude, overrides } = spec
    const addresses = [...lists.resources.items, ...lists.templates.items]
    const clashing = addresses.flatMap(({ key }) => (clashes(key) ? key : []))
    const taken =
      claimed === undefined
        ? []
        : lists.tools.items.filter(({ key }) => claimed(shownName(alias, key)))
    const changed = [clashing, taken.map(({ key }) => key)]
    return JSON.stringify([alias, name, include, exclude, overrides, changed])
  }

  #show({ lists }: MemberSnapshot): ShownItems {
    const { clashes, membership } = this.#options
    const items = { ...noItems }
    for (const kind of allListKinds)
      items[kind] = lists[kind].items
        .map((item) =>
          showItem(kind, membership, item, {
            ...(kind === 'tools' ? this.#toolOptions(item.key) : {}),
            clashes: clashes(item.key),
          }),
        )
        .filter((item) => this.#filters.shows(item))
    return items
  }

  #toolOptions(name: string): ShowOptions {
    const { overrides = {} } = this.#options.membership.spec
    const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined
    return { override, claimed: this.#claimed }
  }
}
