import { errorCode } from '../message.ts'
import { metaKey, statusOf } from '../modern.ts'
import {
  readArray,
  readObject,
  readString,
  writeObject,
  type RawObject,
} from '../json/raw-object.ts'
import { modernVersion } from '../versions.ts'

/**
 * Methods whose results carry a hint how long to keep them. Legacy servers give none, so their
 * results are stale at once and only for their caller.
 */
const cacheable = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
])

/**
 * Brings the result of a legacy server into the shape of 2026-07-28, and changes `result` for it.
 * `server` is the raw `serverInfo`.
 */
export function modernResult(
  method: string,
  result: RawObject,
  server: string | undefined,
): RawObject {
  if (!result.has('resultType')) result.set('resultType', '"complete"')
  if (cacheable.has(method)) {
    if (!result.has('ttlMs')) result.set('ttlMs', '0')
    if (!result.has('cacheScope')) result.set('cacheScope', '"private"')
  }
  if (method === 'tools/list')
    result.set('tools', `[${(readArray(result.get('tools')) ?? []).map(modernTool).join(',')}]`)
  if (server !== undefined)
    result.set('_meta', withMember(result.get('_meta'), metaKey.serverInfo, server))
  return result
}

/** Removes how a tool runs: the gateway drives tasks of 2025-11-25 in place of the client. */
function modernTool(raw: string): string {
  const tool = readObject(raw)
  if (tool === undefined || !tool.has('execution')) return raw
  tool.delete('execution')
  return writeObject(tool)
}

/** The `server/discover` result for a legacy server, made from its InitializeResult. */
export function discoverResult(initialized: RawObject): RawObject {
  const capabilities = readObject(initialized.get('capabilities')) ?? new Map<string, string>()
  capabilities.delete('tasks')
  const result: RawObject = new Map([
    ['supportedVersions', JSON.stringify([modernVersion])],
    ['capabilities', writeObject(capabilities)],
  ])
  const instructions = initialized.get('instructions')
  if (instructions !== undefined) result.set('instructions', instructions)
  return result
}

/**
 * Maps a legacy error for a modern client. Codes with a changed meaning get the new code, and codes
 * without meaning become internal errors.
 */
export function modernError(error: RawObject): { status: number; error: string } {
  const code = Number(error.get('code'))
  const free =
    (code <= -32_000 && code >= -32_019) ||
    code === errorCode.urlElicitationRequired ||
    !Number.isInteger(code)
  const mapped =
    code === errorCode.resourceNotFound ? errorCode.invalidParams : free ? errorCode.internal : code
  const known = new Map(error).set('code', String(mapped))
  if (readString(known.get('message')) === undefined)
    known.set('message', '"The server gave no reason."')
  // Header, capability and version errors describe the hop to the server, not the client's hop.
  if (
    mapped === errorCode.headerMismatch ||
    mapped === errorCode.missingCapability ||
    mapped === errorCode.unsupportedVersion
  )
    return { status: 200, error: writeObject(known.set('code', String(errorCode.internal))) }
  return { status: statusOf(mapped), error: writeObject(known) }
}

/**
 * A legacy server's question in the form of `inputRequests`: without envelope and `_meta`, and with
 * the mode of an elicitation.
 */
export function inputRequest(method: string, params: RawObject | undefined): string {
  const bare = new Map(params)
  for (const name of ['_meta', 'task', 'elicitationId']) bare.delete(name)
  if (method === 'elicitation/create' && !bare.has('mode')) bare.set('mode', '"form"')
  return `{"method":${JSON.stringify(method)},"params":${writeObject(bare)}}`
}

/**
 * Tells whether an answer has the shape that its question asks for (MCP 2026-07-28, multi
 * round-trip requests).
 */
export function answersQuestion(method: string, raw: string): boolean {
  const answer = readObject(raw)
  if (answer === undefined) return false
  if (method === 'elicitation/create')
    return ['accept', 'decline', 'cancel'].includes(readString(answer.get('action')) ?? '')
  if (method === 'roots/list') return answer.get('roots')?.startsWith('[') === true
  return (
    readString(answer.get('role')) !== undefined &&
    readString(answer.get('model')) !== undefined &&
    answer.has('content')
  )
}

/**
 * The client's capabilities for a legacy server, without those that a modern client cannot serve.
 */
export function legacyCapabilities(raw: string | undefined): string {
  const capabilities: RawObject = new Map()
  const given = readObject(raw)
  for (const name of ['elicitation', 'sampling', 'experimental']) {
    const value = given?.get(name)
    if (value !== undefined) capabilities.set(name, value)
  }
  if (given?.has('roots') === true) capabilities.set('roots', '{}')
  const extensions = readObject(given?.get('extensions'))
  extensions?.delete('io.modelcontextprotocol/tasks')
  if (extensions !== undefined && extensions.size > 0)
    capabilities.set('extensions', writeObject(extensions))
  return writeObject(capabilities)
}

/** Adds a member to an object. A value that is not an object is replaced by a new object. */
export function withMember(raw: string | undefined, name: string, value: string): string {
  return writeObject((readObject(raw) ?? new Map<string, string>()).set(name, value))
}

/** Leaves out the members that only the modern envelope has. */
export function withoutEnvelope(meta: RawObject): RawObject {
  const kept: RawObject = new Map()
  for (const [name, raw] of meta)
    if (!name.startsWith('io.modelcontextprotocol/')) kept.set(name, raw)
  return kept
}
