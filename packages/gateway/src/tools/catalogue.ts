import type { Principal } from '../core/principal.ts'
import type { ListedTool, OfferedTool, Seen, SourceChange, ToolSource } from './source.ts'

export interface CataloguePage {
  readonly tools: readonly ListedTool[]
  /** The name after which the next page begins, if there is one. */
  readonly next: string | undefined
}

/**
 * All tools of all sources as one list per caller. If two sources offer the same name, the earlier
 * source wins.
 */
export class Catalogue {
  readonly #sources: readonly ToolSource[]

  constructor(sources: readonly ToolSource[]) {
    this.#sources = sources
  }

  page(principal: Principal, after: string, limit: number): CataloguePage {
    const heads = this.#sources.map((source) => {
      const tools = source.list(principal, after)[Symbol.iterator]()
      return { tools, next: tools.next() }
    })
    const tools: ListedTool[] = []

    for (;;) {
      let least: string | undefined
      for (const { next } of heads)
        if (next.done !== true && (least === undefined || next.value.name < least))
          least = next.value.name

      if (least === undefined) return { tools, next: undefined }
      const last = tools.at(-1)
      if (tools.length === limit && last !== undefined) return { tools, next: last.name }

      let taken = false
      for (const head of heads) {
        if (head.next.done === true || head.next.value.name !== least) continue
        if (!taken) tools.push(head.next.value)
        taken = true
        head.next = head.tools.next()
      }
    }
  }

  find(principal: Principal, name: string, seen?: Seen): OfferedTool | undefined {
    for (const source of this.#sources) {
      const tool = source.find(principal, name, seen)
      if (tool !== undefined) return tool
    }
    return undefined
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    const ends = this.#sources.map((source) => source.onChange(listener))
    return () => {
      for (const end of ends) end()
    }
  }
}
