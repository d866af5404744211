import {
  metaKey,
  readArray,
  readObject,
  readString,
  resultMessage,
  writeObject,
  type Exchange,
  type RawObject,
} from '@mcp-gateway/protocol'
import type { Asked } from '../calls/asked.ts'
import type { ViewList } from '../catalogue/catalogue.ts'
import { findItem, type Found } from '../calls/lookup.ts'
import type { AggregateCaller } from '../members/member.ts'
import { searchTools } from '../names/names.ts'
import type { AggregateServer } from '../server/server.ts'
import type { ShownItem } from '../catalogue/shown-item.ts'
import type { FoundTool } from './tool-search.ts'
import { SearchIndexes } from './search-indexes.ts'

const [searchName, describeName, readName, callName] = searchTools
const mostFound = { usual: 10, limit: 50 }
const mostDescribed = 20

const named = {
  type: 'object',
  properties: {
    name: { type: 'string', description: 'The name of the tool, as search_tools gives it.' },
    arguments: { type: 'object', description: "The arguments, by the tool's inputSchema." },
  },
  required: ['name'],
}

/**
 * The four tools that stand for all tools of an aggregate. The hints say what clients may approve
 * by themselves: `call_read_tool` reaches only tools that change nothing.
 */
export const searchDefinitions = [
  {
    name: searchName,
    title: 'Search tools',
    description:
      'Finds the tools that fit a task, best first, with names and short descriptions. Search ' +
      'before you say that something cannot be done.',
    inputSchema: {
      type: 'object',
      properties: {
        query: { type: 'string', description: 'What the tool must do, in a few words.' },
        limit: { type: 'integer', minimum: 1, maximum: mostFound.limit },
      },
      required: ['query'],
    },
    annotations: { readOnlyHint: true, openWorldHint: false },
  },
  {
    name: describeName,
    title: 'Describe tools',
    description:
      'Gives the full definitions of tools, with their inputSchema. Describe a tool before you ' +
      'call it for the first time.',
    inputSchema: {
      type: 'object',
      properties: {
        names: { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: mostDescribed },
      },
      required: ['names'],
    },
    annotations: { readOnlyHint: true, openWorldHint: false },
  },
  {
    name: readName,
    title: 'Call a reading tool',
    description: 'Calls a tool that changes nothing (readOnlyHint). Other tools are refused.',
    inputSchema: named,
    annotations: { readOnlyHint: true, openWorldHint: true },
  },
  {
    name: callName,
    title: 'Call a tool',
    description: 'Calls any tool by its name. The tool may change things.',
    inputSchema: named,
    annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: true },
  },
] as const

export interface SearchServerOptions {
  readonly aggregate: AggregateServer
  /** The tools that a caller sees. */
  readonly tools: (caller: AggregateCaller) => ViewList
  /** Names of tools that stand in the list beside the four. */
  readonly pinned: () => readonly string[]
  /** `serverInfo` of the aggregate, as raw JSON. */
  readonly serverInfo: () => string
}

/** Servers share them, because the memory for all of them is bounded. */
const indexes = new SearchIndexes()

/**
 * An aggregate whose tools are found by search, for clients and models that cannot take hundreds of
 * definitions. Resources, prompts and everything else are those of the aggregate.
 */
export class SearchServer {
  readonly #options: SearchServerOptions

  constructor(options: SearchServerOptions) {
    this.#options = options
  }

  request(caller: AggregateCaller, request: Asked['request'], exchange: Exchange): void {
    const asked: Asked = { caller, request, exchange }
    if (request.method === 'tools/list') return this.#list(asked)
    if (request.method !== 'tools/call')
      return this.#options.aggregate.request(caller, request, exchange)

    const given = readObject(request.params.get('arguments')) ?? new Map<string, string>()
    switch (readString(request.params.get('name')) ?? '') {
      case searchName:
        return this.#search(asked, given)
      case describeName:
        return this.#describe(asked, given)
      case readName:
        return this.#call(asked, given, true)
      case callName:
        return this.#call(asked, given, false)
      default:
        return this.#options.aggregate.request(caller, request, exchange)
    }
  }

  gone(exchange: Exchange): void {
    this.#options.aggregate.gone(exchange)
  }

  #list(asked: Asked): void {
    this.#options.aggregate.whenSettled(asked.exchange, () => this.#listNow(asked))
  }

  #listNow({ caller, request, exchange }: Asked): void {
    const { pinned, serverInfo, tools } = this.#options
    const list = tools(caller)
    const shown = pinned().flatMap((name) => list.find(name)?.json ?? [])
    const definitions = searchDefinitions.map((definition) => JSON.stringify(definition))
    exchange.answer(
      200,
      resultMessage(
        request.id,
        `{"tools":[${[...definitions, ...shown].join(',')}],"ttlMs":0,"cacheScope":"private",` +
          `"resultType":"complete","_meta":{${JSON.stringify(metaKey.serverInfo)}:${serverInfo()}}}`,
      ),
    )
  }

  #search(asked: Asked, given: RawObject): void {
    const query = readString(given.get('query'))
    if (query === undefined || query.trim() === '')
      return this.#mistake(asked, 'query must say what the tool must do.')
    const limit = Number(given.get('limit') ?? mostFound.usual)
    if (!Number.isInteger(limit) || limit < 1 || limit > mostFound.limit)
      return this.#mistake(asked, `limit must be a whole number from 1 to ${mostFound.limit}.`)

    const { aggregate } = this.#options
    aggregate.whenSettled(asked.exchange, () => this.#searchNow(asked, query, limit))
  }

  #searchNow(asked: Asked, query: string, limit: number): void {
    const list = this.#options.tools(asked.caller)
    const search = indexes.of(list)
    const tell = (): void => this.#tell(asked, search.find(query, limit), list.items.length)
    if (search.ready === undefined) tell()
    else void search.ready.then(tell)
  }

  #tell(asked: Asked, found: readonly FoundTool[], all: number): void {
    const tools = found.map(({ tool, score }) => ({
      name: tool.shown,
      ...summaryOf(tool),
      score: Math.round(score * 100) / 100,
    }))
    const note =
      found.length === 0
        ? `None of the ${all} tools fits. Try other words.`
        : `${found.length} of ${all} tools.`
    this.#answer(asked, JSON.stringify({ tools, note }))
  }

  #describe(asked: Asked, given: RawObject): void {
    const names = (readArray(given.get('names')) ?? []).flatMap((raw) => readString(raw) ?? [])
    if (names.length === 0 || names.length > mostDescribed)
      return this.#mistake(asked, `names must list 1 to ${mostDescribed} names of tools.`)

    const { aggregate } = this.#options
    const look = (): Found[] => {
      const list = this.#options.tools(asked.caller)
      return names.map((name) => findItem(list, 'tool', name))
    }
    const isWhole = look().every((found) => 'item' in found)
    if (isWhole) return this.#describeNow(asked, look())
    aggregate.whenSettled(asked.exchange, () => this.#describeNow(asked, look()))
  }

  #describeNow(asked: Asked, found: readonly Found[]): void {
    const tools = found.flatMap((each) => ('item' in each ? [each.item.json] : []))
    const unknown = found.flatMap((each) => ('unknown' in each ? [each.unknown] : []))
    const members: [string, string][] = [['tools', `[${tools.join(',')}]`]]
    if (unknown.length > 0) members.push(['errors', JSON.stringify(unknown)])
    this.#answer(asked, writeObject(members))
  }

  /** Sends the call on as if the client had named the tool itself. */
  #call(asked: Asked, given: RawObject, readsOnly: boolean): void {
    const { aggregate, tools } = this.#options
    const name = readString(given.get('name'))
    if (name === undefined) return this.#mistake(asked, 'name must be the name of a tool.')
    const inner = innerCall(asked, name, given)
    const look = (): Found => findItem(tools(asked.caller), 'tool', name)
    aggregate.lookUp(asked.exchange, look, (found) => {
      if ('unknown' in found) {
        aggregate.noteHidden('tools', name, inner)
        return this.#mistake(asked, `${found.unknown}. Use ${searchName}.`)
      }
      if (readsOnly && !isReadOnly(found.item))
        return this.#mistake(asked, `'${name}' may change things. Use ${callName} for it.`)

      const { caller, exchange, request } = innerCall(asked, found.item.shown, given)
      aggregate.request(caller, request, exchange)
    })
  }

  #mistake({ request, exchange }: Asked, text: string): void {
    const content = JSON.stringify([{ type: 'text', text }])
    exchange.answer(200, this.#result(request.id, `"isError":true,"content":${content}`))
  }

  #answer({ request, exchange }: Asked, structured: string): void {
    const content = `[{"type":"text","text":${JSON.stringify(structured)}}]`
    exchange.answer(
      200,
      this.#result(request.id, `"content":${content},"structuredContent":${structured}`),
    )
  }

  #result(id: string, members: string): string {
    const meta = `{${JSON.stringify(metaKey.serverInfo)}:${this.#options.serverInfo()}}`
    return resultMessage(id, `{${members},"resultType":"complete","_meta":${meta}}`)
  }
}

/** The call that a call of `call_tool` stands for. */
function innerCall({ caller, request, exchange }: Asked, name: string, given: RawObject): Asked {
  const params = new Map(request.params)
    .set('name', JSON.stringify(name))
    .set('arguments', given.get('arguments') ?? '{}')
  const calls = readString(request.params.get('name')) ?? ''
  // The headers of the request repeat arguments of the outer call, and not of this one.
  const { paramHeaderMistake: _ofOuterCall, ...inner } = request
  return { caller: { ...caller, calls }, request: { ...inner, params }, exchange }
}

/** True if the definition that clients see says that the tool changes nothing. */
function isReadOnly({ json }: ShownItem): boolean {
  const hints = readObject(readObject(json)?.get('annotations'))
  return hints?.get('readOnlyHint') === 'true'
}

function summaryOf({ json }: ShownItem): { title?: string; description: string } {
  const tool = readObject(json)
  const title = readString(tool?.get('title'))
  const description = readString(tool?.get('description')) ?? ''
  const [sentence = ''] = /^[^\n]{0,300}/.exec(description) ?? []
  return { ...(title === undefined ? {} : { title }), description: sentence }
}
