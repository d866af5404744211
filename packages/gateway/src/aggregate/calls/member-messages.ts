import {
  readArray,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '@mcp-gateway/protocol'
import { shownUri } from '../names/uris.ts'

/** Knows which web addresses two members list. */
export type Clashes = (uri: string) => boolean

/**
 * Changes the addresses in a member's result to those that clients see: in links, embedded
 * resources, prompt messages and read contents. Text is never changed.
 */
export function showResult(
  method: string,
  result: RawObject,
  alias: string,
  clashes: Clashes,
): RawObject {
  // A member without alias keeps its addresses.
  if (alias === '') return result
  const show = (uri: string): string => shownUri(alias, uri, clashes(uri))
  switch (method) {
    case 'tools/call':
      if (!mayHaveResources(result.get('content'))) return result
      return changeArray(result, 'content', (block) => showBlock(block, show))
    case 'resources/read':
      return changeArray(result, 'contents', (part) => showUri(part, show))
    case 'prompts/get':
      if (!mayHaveResources(result.get('messages'))) return result
      return changeArray(result, 'messages', (message) => showMessage(message, show))
    default:
      return result
  }
}

/** False for blocks without links and resources, which most results are, and which pass unread. */
function mayHaveResources(raw = ''): boolean {
  return raw.includes('resource') || raw.includes('\\u')
}

function showMessage(raw: string, show: (uri: string) => string): string {
  const message = readObject(raw)
  const content = message?.get('content')
  if (message === undefined || content === undefined) return raw
  if (content.startsWith('['))
    return writeObject(changeArray(message, 'content', (block) => showBlock(block, show)))
  return writeObject(message.set('content', showBlock(content, show)))
}

function showBlock(raw: string, show: (uri: string) => string): string {
  const block = readObject(raw)
  const type = readString(block?.get('type'))
  if (block === undefined || (type !== 'resource_link' && type !== 'resource')) return raw
  if (type === 'resource_link') return showUri(raw, show)
  const resource = block.get('resource')
  return resource === undefined ? raw : writeObject(block.set('resource', showUri(resource, show)))
}

function showUri(raw: string, show: (uri: string) => string): string {
  const object = readObject(raw)
  const uri = readString(object?.get('uri'))
  if (object === undefined || uri === undefined) return raw
  return writeObject(object.set('uri', JSON.stringify(show(uri))))
}

function changeArray(
  object: RawObject,
  member: string,
  change: (raw: string) => string,
): RawObject {
  const items = readArray(object.get(member))
  if (items === undefined) return object
  const changed = items.map(change)
  if (changed.every((each, index) => each === items[index])) return object
  return new Map(object).set(member, `[${changed.join(',')}]`)
}
