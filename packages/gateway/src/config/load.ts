import { isMap, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import { z } from 'zod'
import { parseNetwork } from '../lib/address-policy.ts'
import { ConfigSchema, type Config } from './config.ts'

/** Every mistake of a configuration, so that one round of editing mends them all. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    super(
      `The configuration has ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`}:\n${mistakes.map((mistake) => `  - ${mistake}`).join('\n')}`,
    )
    this.mistakes = mistakes
  }
}

export interface ConfigSource {
  /** Text of the YAML file and the name to call it by. */
  readonly file?: { readonly name: string; readonly text: string }
  readonly environment: Readonly<Record<string, string | undefined>>
}

/**
 * Defaults < file < environment, as one frozen configuration.
 * A variable is `MCPGW_` and the path in capitals: `edge.allowedHosts` is `MCPGW_EDGE_ALLOWED_HOSTS`; lists are comma separated, tables are JSON.
 * @throws ConfigError with every mistake.
 */
export function loadConfig(source: ConfigSource): Config {
  const mistakes: string[] = []
  const { data, locate } = readFile(source.file, mistakes)
  const origins = applyEnvironment(data, source.environment, mistakes)
  const parsed = ConfigSchema.safeParse(data)
  for (const issue of parsed.error?.issues ?? []) {
    const found =
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({ path: [...issue.path, key], message: 'is not known' }))
        : [{ path: issue.path, message: issue.message }]
    for (const { path, message } of found) {
      const setting = path.join('.')
      mistakes.push(`${origins.get(setting) ?? locate(path) ?? 'configuration'}: ${setting}: ${message}`)
    }
  }
  if (parsed.success && mistakes.length === 0) mistakes.push(...contradictions(parsed.data))
  if (!parsed.success || mistakes.length > 0) throw new ConfigError(mistakes)
  return deepFreeze(parsed.data)
}

/** JSON Schema of the file, for editors. */
export function configJsonSchema(): unknown {
  return z.toJSONSchema(ConfigSchema, { io: 'input', unrepresentable: 'any' })
}

/** Names that mean this machine alone (RFC 6761 section 6.3, RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3). */
export function isLoopbackHost(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[|\]$/g, '')
  return bare === 'localhost' || bare === '::1' || /^127(\.\d{1,3}){3}$/.test(bare)
}

/** What is well-formed but must not start: the unsafe combinations. */
function contradictions(config: Config): string[] {
  const found: string[] = [...roleMistakes(config)]
  // A tool gateway asks nobody who he is: it takes what gateways have signed.
  const asks = config.role === 'gateway'
  if (asks && config.identity.mode === 'development' && !isLoopbackHost(config.host)) {
    found.push(
      `host: development identity lets every caller be anybody, so it serves loopback addresses only, and '${config.host}' is none. Listen on 127.0.0.1 and forward the port.`,
    )
  }
  if (asks && config.edge.allowedHosts.includes('*') && config.identity.mode === 'development') {
    found.push(
      "edge.allowedHosts: '*' turns off the protection against DNS rebinding, which development identity relies on. Name the hosts.",
    )
  }
  for (const [index, network] of (config.tools.endpointNetworks ?? []).entries()) {
    try {
      parseNetwork(network)
    } catch (error) {
      found.push(`tools.endpointNetworks.${index}: ${(error as Error).message}`)
    }
  }
  for (const [index, key] of config.sessions.keys.entries()) {
    if (Buffer.from(key, 'base64').length !== 32)
      found.push(`sessions.keys.${index}: must be 32 bytes in base64 (make one with: openssl rand -base64 32)`)
  }
  return found
}

/** What is needed where several processes serve together. */
function roleMistakes({ role, cluster, sessions, tools }: Config): string[] {
  const found: string[] = []
  const keyless = sessions.keys.length === 0
  const needsKey = 'must have the key that all these processes share (make one with: openssl rand -base64 32)'
  if (role === 'tool-gateway') {
    if (keyless) found.push(`sessions.keys: ${needsKey}: a tool gateway serves nobody but gateways that have it`)
    if (cluster.name === undefined) found.push('cluster.name: must be set: gateways call a tool gateway by it')
    if (tools.followed.length === 0) found.push('tools.followed: must name a gateway, of which the tool gateway hears what tools there are')
    if (Object.keys(tools.gateways).length > 0) found.push('tools.gateways: is for gateways; a tool gateway serves /mcp itself')
  } else {
    if (keyless && Object.keys(tools.gateways).length > 0) found.push(`sessions.keys: ${needsKey}: tool gateways take nothing without it`)
    if (tools.followed.length > 0) found.push('tools.followed: is for the role tool-gateway')
  }
  return found
}

interface ReadFile {
  readonly data: Record<string, unknown>
  readonly locate: (path: readonly PropertyKey[]) => string | undefined
}

function readFile(file: ConfigSource['file'], mistakes: string[]): ReadFile {
  if (file === undefined) return { data: {}, locate: () => undefined }
  const lines = new LineCounter()
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false })
  for (const error of document.errors) {
    mistakes.push(`${file.name}:${lines.linePos(error.pos[0]).line}: ${error.message}`)
  }
  if (document.errors.length > 0) return { data: {}, locate: () => undefined }
  const data: unknown = document.toJS() ?? {}
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    mistakes.push(`${file.name}:1: must be a table of settings`)
    return { data: {}, locate: () => undefined }
  }
  return { data: { ...data }, locate: (path) => lineOf(document, lines, path, file.name) }
}

/** The line of the deepest part of the path that the file has. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[], name: string): string {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true) ?? document.contents
    const pair = isMap(parent)
      ? parent.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === path[length - 1])
      : undefined
    const offset = isScalar(pair?.key) ? pair.key.range?.[0] : undefined
    if (offset !== undefined) return `${name}:${lines.linePos(offset).line}`
  }
  return `${name}:1`
}

interface Leaf {
  readonly path: readonly string[]
  readonly type: string
}

/** Variables that the process runtime and the programs it starts use among themselves; they are no configuration. */
const internalVariables = new Set(['MCPGW_CONFIG', 'MCPGW_OWNER', 'MCPGW_REPLICA', 'MCPGW_REPLICA_NAME', 'MCPGW_DATA'])

function applyEnvironment(
  data: Record<string, unknown>,
  environment: ConfigSource['environment'],
  mistakes: string[],
): Map<string, string> {
  const origins = new Map<string, string>()
  const leaves = new Map(configLeaves().map((leaf) => [variableName(leaf.path), leaf]))
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('MCPGW_') || text === undefined || internalVariables.has(variable)) continue
    const leaf = leaves.get(variable)
    if (leaf === undefined) {
      mistakes.push(`environment variable ${variable}: is not known. Known are: ${[...leaves.keys()].join(', ')}`)
      continue
    }
    const value = coerce(text, leaf.type)
    if (value === undefined) {
      mistakes.push(`environment variable ${variable}: '${text}' is not a valid ${leaf.type}`)
      continue
    }
    set(data, leaf.path, value)
    origins.set(leaf.path.join('.'), `environment variable ${variable}`)
  }
  return origins
}

interface JsonSchemaNode {
  readonly type?: string
  readonly properties?: Record<string, JsonSchemaNode>
}

function configLeaves(node = configJsonSchema() as JsonSchemaNode, path: readonly string[] = []): Leaf[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) =>
    child.properties === undefined ? [{ path: [...path, key], type: child.type ?? 'string' }] : configLeaves(child, [...path, key]),
  )
}

function variableName(path: readonly string[]): string {
  return `MCPGW_${path.map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')}`
}

function coerce(text: string, type: string): unknown {
  switch (type) {
    case 'integer':
    case 'number':
      return text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text)
    case 'boolean':
      return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : undefined
    case 'array':
      return text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '')
    case 'object':
      try {
        return JSON.parse(text) as unknown
      } catch {
        return undefined
      }
    default:
      return text
  }
}

function set(data: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [head = '', ...rest] = path
  if (rest.length === 0) {
    data[head] = value
    return
  }
  const child = data[head]
  const table = typeof child === 'object' && child !== null && !Array.isArray(child) ? { ...(child as Record<string, unknown>) } : {}
  data[head] = table
  set(table, rest, value)
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const child of Object.values(value)) deepFreeze(child)
    Object.freeze(value)
  }
  return value
}
