import {
  DuplicateMember,
  idKey,
  isCostly,
  metaKey,
  readArray,
  readObject,
  readString,
  readUnambiguous,
  writeObject,
  type RawObject,
} from '@mcp-gateway/protocol'
import { GatewayError } from '../core/errors.ts'
import { fold, hintsOf, longestName, type ToolHints } from '../core/fields/tool-rules.ts'

/** The parts of a message that the rules of an adapter's tools need. */
export interface JudgedMessage {
  /** Raw id, or undefined if the client awaits no answer. */
  readonly id: string | undefined
  readonly method: string | undefined
  /** The tool to call. */
  readonly tool: string | undefined
  /**
   * The raw envelope (`_meta`) of a modern request, for requests that the gateway sends in its
   * place.
   */
  readonly envelope: string | undefined
}

const messageMembers = new Set(['jsonrpc', 'id', 'method', 'params', 'result', 'error'])
const callMembers = new Set(['name', 'arguments', '_meta'])
const judgedMethods = new Set(['tools/call', 'tools/list'])

/**
 * Reads a client's messages. Refuses what readers could take differently: repeated names, names
 * that differ from a known name by case or the like, and text that is not UTF-8.
 * @throws GatewayError `invalid_json`, `invalid_request`
 */
export function judgedMessages(body: Uint8Array): {
  readonly messages: readonly JudgedMessage[]
  readonly batch: boolean
} {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    JSON.parse(text)
  } catch (cause) {
    throw new GatewayError('invalid_json', {
      detail: (cause as Error).message.slice(0, 200),
      cause,
    })
  }
  const batch = readArray(text)
  return { messages: (batch ?? [text]).map((each) => judged(each)), batch: batch !== undefined }
}

function judged(text: string): JudgedMessage {
  const message = members(text, messageMembers, 'A message')
  if (message === undefined) throw refused('A message must be an object.')
  const method = message.get('method')
  const name = readString(method)
  if (method !== undefined && name === undefined) throw refused('method must be a string.')
  if (name !== undefined && name.length > longestName)
    throw refused(`method must be at most ${longestName} characters.`)
  if (name !== undefined && !judgedMethods.has(name) && judgedMethods.has(fold(name)))
    throw refused(`The method '${name.slice(0, 100)}' is not known.`)
  const id = message.get('id')
  const params = message.get('params')
  if (name !== 'tools/call') return { id, method: name, tool: undefined, envelope: undefined }
  const call = members(params, callMembers, 'params')
  const tool = readString(call?.get('name'))
  if (call === undefined || tool === undefined)
    throw refused('params.name must be the name of a tool.')
  return { id, method: name, tool, envelope: envelopeOf(call.get('_meta')) }
}

/**
 * The members of an object, if every reader reads them alike.
 * @throws GatewayError `invalid_request`
 */
function members(
  raw: string | undefined,
  known: ReadonlySet<string>,
  what: string,
): RawObject | undefined {
  let found: RawObject | undefined
  try {
    found = readUnambiguous(raw)
  } catch (error) {
    if (!(error instanceof DuplicateMember)) throw error
    throw refused(error.message)
  }
  for (const name of found?.keys() ?? []) {
    if (name.length > longestName)
      throw refused(
        `${what} must not have a member whose name is longer than ${longestName} characters.`,
      )
    if (!known.has(name) && known.has(fold(name)))
      throw refused(
        `${what} must not have a member '${name.slice(0, 100)}': ` +
          `it could be taken for '${fold(name)}'.`,
      )
  }
  return found
}

function envelopeOf(meta: string | undefined): string | undefined {
  const given = readObject(meta)
  if (given?.has(metaKey.protocolVersion) !== true) return undefined
  const kept = [metaKey.protocolVersion, metaKey.clientCapabilities, metaKey.clientInfo]
  return writeObject(
    kept.flatMap((key) => (given.has(key) ? [[key, given.get(key) as string] as const] : [])),
  )
}

function refused(detail: string): GatewayError {
  return new GatewayError('invalid_request', { detail })
}

/** A tool as a server lists it. */
export interface ListedTool {
  readonly name: string
  readonly hints: ToolHints
}

/**
 * Removes tools from lists, known by their shape as resumed streams name no request.
 * `restricted` makes a list private (`cacheScope`), because other callers may get another one.
 * @throws SyntaxError if the text is no JSON or takes too long to read
 */
export function withoutTools(
  text: string,
  letsThrough: (tool: ListedTool) => boolean,
  restricted: boolean,
): string {
  if (!mayHoldList(text)) return text
  if (isCostly(text)) throw new SyntaxError('It holds too many objects, arrays and members.')
  JSON.parse(text)
  const batch = readArray(text)
  if (batch === undefined) return filtered(text, letsThrough, restricted)
  const answers = batch.map((each) => filtered(each, letsThrough, restricted))
  return answers.every((each, index) => each === batch[index]) ? text : `[${answers.join(',')}]`
}

/** True if the text may hold a list of tools. Names of members may be escaped. */
export function mayHoldList(text: string): boolean {
  return text.includes('"tools"') || text.includes('\\u')
}

function filtered(
  text: string,
  letsThrough: (tool: ListedTool) => boolean,
  restricted: boolean,
): string {
  const message = readObject(text)
  const result = readObject(message?.get('result'))
  const tools = readArray(result?.get('tools'))
  if (message === undefined || result === undefined || tools === undefined) return text
  const kept = tools.filter((raw) => {
    const tool = listedTool(raw)
    return tool !== undefined && letsThrough(tool)
  })
  const shared =
    restricted && result.has('cacheScope') && readString(result.get('cacheScope')) !== 'private'
  if (kept.length === tools.length && !shared) return text
  result.set('tools', `[${kept.join(',')}]`)
  if (shared) result.set('cacheScope', '"private"')
  return writeObject(message.set('result', writeObject(result)))
}

function listedTool(raw: string): ListedTool | undefined {
  const tool = JSON.parse(raw) as { readonly name?: unknown; readonly annotations?: unknown } | null
  return typeof tool?.name === 'string'
    ? { name: tool.name, hints: hintsOf(tool.annotations) }
    : undefined
}

/** A page of a server's list of tools. */
export interface Page {
  readonly tools: readonly ListedTool[]
  /** The raw cursor of the next page. */
  readonly next: string | undefined
  /** Characters of the whole answer. */
  readonly length: number
}

/** A page of the server's list, if the text answers the request `id`. */
export function pageOf(text: string, id: string): Page | undefined {
  try {
    JSON.parse(text)
  } catch {
    return undefined
  }
  const message = readObject(text)
  const answered = message?.get('id')
  if (answered === undefined || idKey(answered) !== idKey(id)) return undefined
  const result = readObject(message?.get('result'))
  const tools = readArray(result?.get('tools'))
  const next = result?.get('nextCursor')
  return (
    tools && {
      tools: tools.flatMap((raw) => listedTool(raw) ?? []),
      next: readString(next) === undefined ? undefined : next,
      length: text.length,
    }
  )
}
