import { readObject, readString } from '@mcp-gateway/protocol'
import MiniSearch from 'minisearch'
import type { ShownItem } from '../catalogue/shown-item.ts'

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
/** Words of a query that count. Each one is compared with all words of the index. */
const mostWords = 30

/**
 * Bounds in characters of text: of one index, and of each tool in it, at most and at least. An index
 * of hostile text takes some 60 bytes for each character, and a second for a million.
 */
export const indexLimits = { whole: 1_000_000, tool: 2000, shortest: 20 }
/** Longer lists are indexed in turns, so that the process serves others meanwhile. */
const oneTurn = { tools: 100, characters: 50_000 }
const toolsOfTurn = 25

/** Ranks the tools of one view by the words of a query (BM25, by minisearch). */
export class ToolSearch {
  readonly #tools: readonly ShownItem[]
  /** Characters of the indexed text. */
  readonly length: number
  /** Resolves when the tools can be found. Undefined if they can be found already. */
  readonly ready: Promise<void> | undefined
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

  constructor(all: readonly ShownItem[]) {
    const tools = all.filter(({ json }) => isForModels(json))
    const entries = withinLimits(tools)
    this.#tools = tools
    this.length = entries.reduce((sum, entry) => sum + lengthOf(entry), 0)
    if (entries.length <= oneTurn.tools && this.length <= oneTurn.characters)
      this.#index.addAll(entries)
    else this.ready = this.#index.addAllAsync(entries, { chunkSize: toolsOfTurn })
  }

  find(query: string, limit: number): readonly FoundTool[] {
    const words = [...new Set(wordsOf(query.slice(0, longestQuery)))].slice(0, mostWords)
    const results = this.#index.search(words.join(' '))
    return results.slice(0, limit).map(({ id, score }) => ({
      tool: this.#tools[id as number] as ShownItem,
      score,
    }))
  }
}

/** The texts of the tools that an index takes, cut so that no member takes the room of others. */
function withinLimits(tools: readonly ShownItem[]): readonly Entry[] {
  const entries = tools.map((tool, id) => entryOf(tool, id))
  const rooms = roomsOf(tools, entries)
  return entries.flatMap((entry, id) => {
    const room = rooms.get(tools[id]?.alias ?? '')
    if (room === undefined || room.left <= 0) return []
    const cut = cutTo(entry, Math.min(room.each, room.left))
    room.left -= lengthOf(cut)
    return cut
  })
}

interface MemberRoom {
  left: number
  /** For each tool. */
  readonly each: number
}

/** Members that need little leave the rest of their part to the others. */
function roomsOf(
  tools: readonly ShownItem[],
  entries: readonly Entry[],
): ReadonlyMap<string, MemberRoom> {
  const needs = new Map<string, { tools: number; length: number }>()
  for (const [index, { alias }] of tools.entries()) {
    const need = needs.get(alias) ?? { tools: 0, length: 0 }
    need.tools += 1
    need.length += lengthOf(entries[index] as Entry)
    needs.set(alias, need)
  }

  const rooms = new Map<string, MemberRoom>()
  let left = indexLimits.whole
  let others = needs.size
  for (const [alias, need] of [...needs].toSorted(([, a], [, b]) => a.length - b.length)) {
    const room = Math.min(need.length, Math.floor(left / others))
    const each = room === need.length ? indexLimits.tool : Math.floor(room / need.tools)
    rooms.set(alias, { left: room, each: Math.max(each, indexLimits.shortest) })
    left -= room
    others -= 1
  }
  return rooms
}

function lengthOf({ name, title, description, parameters }: Entry): number {
  return name.length + title.length + description.length + parameters.length
}

function cutTo({ id, ...texts }: Entry, most: number): Entry {
  let left = most
  const cut = (text: string): string => {
    const kept = text.slice(0, left)
    left -= kept.length
    return kept
  }
  return {
    id,
    name: cut(texts.name),
    title: cut(texts.title),
    description: cut(texts.description),
    parameters: cut(texts.parameters),
  }
}

function entryOf({ shown, json }: ShownItem, id: number): Entry {
  const tool = readObject(json)
  const schema = readObject(tool?.get('inputSchema'))
  const parameters = [...(readObject(schema?.get('properties')) ?? [])].slice(0, 50)
  const entry = {
    id,
    name: shown,
    title: readString(tool?.get('title')) ?? '',
    description: readString(tool?.get('description')) ?? '',
    parameters: parameters
      .map(([name, raw]) => `${name} ${readString(readObject(raw)?.get('description')) ?? ''}`)
      .join(' '),
  }
  return cutTo(entry, indexLimits.tool)
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
