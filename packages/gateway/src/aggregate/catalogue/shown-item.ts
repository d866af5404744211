import { readObject, readString, writeObject, type RawObject } from '@mcp-gateway/protocol'
import { hintsOf, type ToolHints } from '../../core/fields/tool-rules.ts'
import type { ToolOverride } from '../../core/virtual-servers/virtual-server.ts'
import type { ListKind } from '../lists/list-kinds.ts'
import type { MemberItem } from '../lists/member-list.ts'
import { shownName, type Claimed } from '../names/names.ts'
import { shownUri } from '../names/uris.ts'

/** A part of an aggregate's list: an item of one member, under the name that clients see. */
export interface ShownItem {
  readonly kind: ListKind
  readonly alias: string
  /** The key by which the member knows the item. */
  readonly original: string
  /** The key by which clients know the item. */
  readonly shown: string
  /** The definition that clients see, as raw JSON. */
  readonly json: string
  /** The hints that the member itself gives, by which rules judge. Only tools have them. */
  readonly hints: ToolHints | undefined
}

/** Where a definition comes from, in `_meta` of tools, prompts, resources and templates. */
export const originKey = 'mcp-gateway/origin'

/**
 * Keys of `_meta` that the protocol itself reserves. A member's values concern its own connection,
 * so an aggregate does not pass them on.
 */
const ofProtocol = /^(io\.)?modelcontextprotocol(\.io)?\//

export interface ShowOptions {
  readonly override?: ToolOverride | undefined
  /** True for a web address that two members list. */
  readonly clashes?: boolean
  readonly claimed?: Claimed | undefined
}

/**
 * Makes the shown form of a member's item. What need not change stays byte for byte. A member
 * without alias (empty) keeps its names.
 */
export function showItem(
  kind: ListKind,
  member: { readonly alias: string; readonly name: string },
  item: MemberItem,
  { override, clashes = false, claimed }: ShowOptions = {},
): ShownItem {
  const { alias } = member
  if (alias === '' && claimed?.(item.key) !== true)
    return {
      kind,
      alias,
      original: item.key,
      shown: item.key,
      json: item.json,
      hints: hintsOfTool(kind, item.json),
    }
  const isNamed = kind === 'tools' || kind === 'prompts'
  const named = override?.name
  const shown = isNamed
    ? shownName(alias, named ?? item.key, named === undefined ? claimed : undefined)
    : shownUri(alias, item.key, clashes)

  const definition = readObject(item.json) ?? new Map<string, string>()
  const keyName = isNamed ? 'name' : kind === 'templates' ? 'uriTemplate' : 'uri'
  definition.set(keyName, JSON.stringify(shown))
  if (override !== undefined) applyOverride(definition, override)
  definition.set('_meta', shownMeta(definition.get('_meta'), member, item.key))
  const hints = hintsOfTool(kind, item.json)
  return { kind, alias, original: item.key, shown, json: writeObject(definition), hints }
}

function hintsOfTool(kind: ListKind, json: string): ToolHints | undefined {
  if (kind !== 'tools') return undefined
  const raw = readObject(json)?.get('annotations')
  return hintsOf(raw === undefined ? undefined : JSON.parse(raw))
}

function applyOverride(definition: RawObject, override: ToolOverride): void {
  const { title, description, annotations } = override
  if (title !== undefined) definition.set('title', JSON.stringify(title))
  if (description !== undefined) definition.set('description', JSON.stringify(description))
  if (annotations === undefined) return

  const hints = readObject(definition.get('annotations')) ?? new Map<string, string>()
  for (const [hint, value] of Object.entries(annotations)) hints.set(hint, String(value))
  definition.set('annotations', writeObject(hints))
}

function shownMeta(
  raw: string | undefined,
  { alias, name }: { readonly alias: string; readonly name: string },
  original: string,
): string {
  const meta = readObject(raw) ?? new Map<string, string>()
  for (const key of meta.keys()) if (ofProtocol.test(key)) meta.delete(key)
  showUiResource(meta, alias)
  meta.set(originKey, JSON.stringify({ member: name, name: original }))
  return writeObject(meta)
}

/**
 * Changes the address of a tool's user interface (MCP Apps): `_meta.ui.resourceUri`, and the older
 * flat `ui/resourceUri`.
 */
export function showUiResource(meta: RawObject, alias: string): void {
  const flat = readString(meta.get('ui/resourceUri'))
  if (flat !== undefined) meta.set('ui/resourceUri', JSON.stringify(shownUri(alias, flat)))

  const ui = readObject(meta.get('ui'))
  const uri = readString(ui?.get('resourceUri'))
  if (ui === undefined || uri === undefined) return
  meta.set('ui', writeObject(ui.set('resourceUri', JSON.stringify(shownUri(alias, uri)))))
}

/** The address of a tool's user interface in a definition, as clients see the address. */
export function uiResourceOf(json: string): string | undefined {
  const meta = readObject(readObject(json)?.get('_meta'))
  const nested = readString(readObject(meta?.get('ui'))?.get('resourceUri'))
  return nested ?? readString(meta?.get('ui/resourceUri'))
}

/** Takes the user interface out of a definition, for a caller who may not read its resource. */
export function withoutUi(json: string): string {
  const definition = readObject(json) ?? new Map<string, string>()
  const meta = readObject(definition.get('_meta')) ?? new Map<string, string>()
  meta.delete('ui')
  meta.delete('ui/resourceUri')
  return writeObject(definition.set('_meta', writeObject(meta)))
}
