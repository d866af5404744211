import { readObject, readString } from '@mcp-gateway/protocol'
import MiniSearch from 'minisearch'
import type { ViewList } from './catalogue.ts'
import type { ShownItem } from './shown-item.ts'

/** A tool that a search has found. */
export interface FoundTool {
  readonly tool: ShownItem
  /** The higher, the better; comparable within one search only. */
  readonly score: number
}

interface Entry {
  readonly id: number
  readonly name: string
  readonly title: string
  readonly description: string
  readonly parameters: string
}

const weights = { name: 3, title: 2, description: 1, parameters: 0.5 }
/** Words that stand in most questions, and tell no tool from another. */
const fillers: ReadonlySet<string> = new Set(
  'a an and are at be by can do for from how i in into is it its me my of on or our please the this that to use want what when which with you your'.split(
    ' ',
  ),
)
const longestQuery = 1000

/** Ranks the tools of one view by the words of a query (BM25, by minisearch). */
export class ToolSearch {
  readonly #tools: readonly ShownItem[]
  readonly #index = new MiniSearch<Entry>({
    fields: Object.keys(weights),
    tokenize: wordsOf,
    processTerm: stem,
    searchOptions: {
      boost: weights,
      combineWith: 'OR',
      prefix: (term) => term.length > 2,
      fuzzy: (term) => (term.length > 4 ? 0.2 : false),
      weights: { prefix: 0.4, fuzzy: 0.2 },
    },
  })

  constructor(tools: readonly ShownItem[]) {
    this.#tools = tools.filter(({ json }) => isForModels(json))
    this.#index.addAll(this.#tools.map(entryOf))
  }

  find(query: string, limit: number): readonly FoundTool[] {
    const results = this.#index.search(query.slice(0, longestQuery))
    return results.slice(0, limit).map(({ id, score }) => ({
      tool: this.#tools[id as number] as ShownItem,
      score,
    }))
  }
}

/** Indexes are kept as long as the lists that they index. */
const kept = new WeakMap<ViewList, ToolSearch>()

export function searchOf(list: ViewList): ToolSearch {
  let search = kept.get(list)
  if (search === undefined) kept.set(list, (search = new ToolSearch(list.items)))
  return search
}

function entryOf({ shown, json }: ShownItem, id: number): Entry {
  const tool = readObject(json)
  const schema = readObject(tool?.get('inputSchema'))
  const parameters = [...(readObject(schema?.get('properties')) ?? [])].slice(0, 50)
  return {
    id,
    name: shown,
    title: readString(tool?.get('title')) ?? '',
    description: (readString(tool?.get('description')) ?? '').slice(0, 4000),
    parameters: parameters
      .map(([name, raw]) => `${name} ${readString(readObject(raw)?.get('description')) ?? ''}`)
      .join(' ')
      .slice(0, 4000),
  }
}

/** False for a tool that only the pages of an MCP App call (`_meta.ui.visibility`). */
function isForModels(json: string): boolean {
  const ui = readObject(readObject(readObject(json)?.get('_meta'))?.get('ui'))
  const visibility = ui?.get('visibility')
  return visibility === undefined || visibility.includes('"model"')
}

/** The words of a text; `createPull_request2` has four. */
function wordsOf(text: string): string[] {
  return text
    .replaceAll(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .replaceAll(/(\p{Lu})(\p{Lu}\p{Ll})/gu, '$1 $2')
    .replaceAll(/(\p{L})(\p{N})/gu, '$1 $2')
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
}

/** One form for the forms of a word, as far as a simple rule can tell. */
function stem(word: string): string | null {
  const lower = word.toLowerCase()
  if (fillers.has(lower)) return null
  if (lower.length > 4 && lower.endsWith('ies')) return `${lower.slice(0, -3)}y`
  if (lower.length > 3 && lower.endsWith('s') && !/(ss|us|is)$/.test(lower))
    return lower.slice(0, -1)
  return lower
}
