import { compileGlob, type Glob } from '../../lib/glob.ts'

/**
 * Addresses of resources in an aggregate. Each address names its member by an alias, so that a
 * client's request finds the member without a look at any list.
 */

/** A resource of one member. */
export interface MemberUri {
  readonly alias: string
  /** The address as the member knows it. */
  readonly uri: string
}

const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:/
const web = /^https?:/i
/** Stands before addresses that have no scheme of their own. */
const schemeless = 'x-no-scheme:'

/**
 * The address, or template (RFC 6570), of a member's resource in an aggregate. Clients look at
 * `ui://` (MCP Apps) and `skill://`, and fetch web addresses, so those stay. `clashes` marks web
 * addresses that two members list.
 */
export function shownUri(alias: string, uri: string, clashes = false): string {
  if (uri.startsWith('ui://')) return `ui://${alias}+${uri.slice('ui://'.length)}`
  if (uri.startsWith('skill://')) return `skill://${alias}/${uri.slice('skill://'.length)}`
  if (web.test(uri) && !clashes) return uri

  const named = scheme.test(uri) && !uri.startsWith(schemeless)
  return `${alias}+${named ? '' : schemeless}${uri}`
}

/** Reads a shown address. Undefined for a web address, and for an address that names no member. */
export function memberUri(shown: string): MemberUri | undefined {
  const [, alias, rest] =
    /^ui:\/\/([a-z][a-z0-9]{0,15})\+(.*)$/s.exec(shown) ??
    /^skill:\/\/([a-z][a-z0-9]{0,15})\/(.*)$/s.exec(shown) ??
    /^([a-z][a-z0-9]{0,15})\+(.*)$/s.exec(shown) ??
    []
  if (alias === undefined || rest === undefined) return undefined

  const [head] = /^(ui|skill):\/\//.exec(shown) ?? ['']
  if (head !== '') return { alias, uri: head + rest }
  if (rest.startsWith(schemeless)) return { alias, uri: rest.slice(schemeless.length) }
  return scheme.test(rest) ? { alias, uri: rest } : undefined
}

/**
 * Compiles a template of addresses (RFC 6570) into a test. The test lets each expression be any
 * text, because the member that lists the template judges the address.
 */
export function compileTemplate(template: string): Glob {
  // `?` would stand for any character in a glob.
  const glob = compileGlob(escaped(template.replaceAll(/\*|\{[^{}]*\}/g, '*')))
  return (uri) => glob(escaped(uri))
}

function escaped(text: string): string {
  return text.replaceAll('?', '\n')
}

/** True for an address that keeps its form unless two members list it. */
export function isWebUri(uri: string): boolean {
  return web.test(uri)
}
