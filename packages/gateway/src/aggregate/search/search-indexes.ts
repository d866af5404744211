import type { ViewList } from '../catalogue/catalogue.ts'
import { ToolSearch } from './tool-search.ts'

/** Estimated bytes of all indexes together. */
const mostBytes = 128 * 1024 * 1024
/** Estimated bytes that an index takes for each character of its texts. */
const bytesOfCharacter = 30

/** The indexes of the lists that callers searched last. */
export class SearchIndexes {
  readonly #most: number
  /** The least recently used first. */
  readonly #indexes = new Map<ViewList, { readonly search: ToolSearch; readonly size: number }>()
  #size = 0

  constructor(most = mostBytes) {
    this.#most = most
  }

  /** Estimated bytes of all indexes. */
  get size(): number {
    return this.#size
  }

  of(list: ViewList): ToolSearch {
    const index = this.#indexes.get(list) ?? this.#make(list)
    this.#indexes.delete(list)
    this.#indexes.set(list, index)
    for (const [oldest, { size }] of this.#indexes) {
      if (this.#size <= this.#most || oldest === list) break
      this.#indexes.delete(oldest)
      this.#size -= size
    }
    return index.search
  }

  #make({ items }: ViewList): { readonly search: ToolSearch; readonly size: number } {
    const search = new ToolSearch(items)
    // An index keeps the definitions in memory, too.
    const definitions = items.reduce((sum, { json }) => sum + json.length, 0)
    const size = definitions + search.length * bytesOfCharacter
    this.#size += size
    return { search, size }
  }
}
