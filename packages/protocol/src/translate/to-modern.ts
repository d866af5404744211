import { errorCode } from '../message.ts'
import { metaKey, statusOf } from '../modern.ts'
import { readArray, readObject, readString, writeObject, type RawObject } from '../raw-object.ts'
import { modernVersion } from '../versions.ts'

/** Results that may be kept carry a hint how long; a legacy server gives none, so they are stale at once and for their caller only. */
const cacheable = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
])

/** The result of a legacy server, which it takes over, in the shape of 2026-07-28. `server` is its raw `serverInfo`. */
export function modernResult(
  method: string,
  result: RawObject,
  server: string | undefined,
): string {
  if (!result.has('resultType')) result.set('resultType', '"complete"')
  if (cacheable.has(method)) {
    if (!result.has('ttlMs')) result.set('ttlMs', '0')
    if (!result.has('cacheScope')) result.set('cacheScope', '"private"')
  }
  if (method === 'tools/list')
    result.set('tools', `[${(readArray(result.get('tools')) ?? []).map(modernTool).join(',')}]`)
  if (server !== undefined)
    result.set('_meta', withMember(result.get('_meta'), metaKey.serverInfo, server))
  return writeObject(result)
}

/** Tasks of 2025-11-25 are driven for the client, so what says how a tool runs is not for it. */
function modernTool(raw: string): string {
  const tool = readObject(raw)
  if (tool === undefined || !tool.has('execution')) return raw
  tool.delete('execution')
  return writeObject(tool)
}

/** What `server/discover` says of a legacy server, from its InitializeResult. */
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

/** A legacy error for a modern client: codes that changed their meaning are mapped, codes without meaning become internal errors. */
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
  // These describe the hop between gateway and server, not the client's.
  if (
    mapped === errorCode.headerMismatch ||
    mapped === errorCode.missingCapability ||
    mapped === errorCode.unsupportedVersion
  )
    return { status: 200, error: writeObject(known.set('code', String(errorCode.internal))) }
  return { status: statusOf(mapped), error: writeObject(known) }
}

/** A question of a legacy server as it stands in `inputRequests`: no envelope, no `_meta`, the mode of an elicitation said. */
export function inputRequest(method: string, params: RawObject | undefined): string {
  const bare = new Map(params)
  for (const name of ['_meta', 'task', 'elicitationId']) bare.delete(name)
  if (method === 'elicitation/create' && !bare.has('mode')) bare.set('mode', '"form"')
  return `{"method":${JSON.stringify(method)},"params":${writeObject(bare)}}`
}

/** Whether an answer has the shape that its question asks for (MCP 2026-07-28, multi round-trip requests). */
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

/** The capabilities that a legacy server is told of: those of the client, minus what a modern client has no way to serve. */
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

/** An object with one more member; what is no object is replaced by one. */
export function withMember(raw: string | undefined, name: string, value: string): string {
  return writeObject((readObject(raw) ?? new Map<string, string>()).set(name, value))
}

/** Without the members that only the modern envelope has. */
export function withoutEnvelope(meta: RawObject): RawObject {
  const kept: RawObject = new Map()
  for (const [name, raw] of meta)
    if (!name.startsWith('io.modelcontextprotocol/')) kept.set(name, raw)
  return kept
}
