import { outline, readObject, readString, sliceText } from '@mcp-gateway/protocol'
import type { ViewList } from '../catalogue/catalogue.ts'
import { findItem } from './lookup.ts'
import { mayRunTwice } from './member-call.ts'
import { searchTools } from '../names/names.ts'

const [searchName, describeName, readName, callName] = searchTools

/**
 * True for the body of a legacy client's request that may run twice. In search mode, tools are
 * called by others that stand for them.
 */
export function bodyMayRunTwice(body: Buffer, tools: () => ViewList, searches: boolean): boolean {
  const { method, paramsSlice } = outline(body)
  if (method === undefined) return false
  const params = paramsSlice === undefined ? undefined : readObject(sliceText(body, paramsSlice))
  const request = { method, params: params ?? new Map<string, string>() }
  if (method !== 'tools/call') return mayRunTwice(request, undefined)

  let name = readString(request.params.get('name'))
  if (searches && (name === searchName || name === describeName)) return true
  if (searches && (name === readName || name === callName))
    name = readString(readObject(request.params.get('arguments'))?.get('name'))
  const found = findItem(tools(), 'tool', name ?? '')
  return 'item' in found && mayRunTwice(request, found.item)
}
