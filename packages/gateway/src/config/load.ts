import { isMap, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import { z } from 'zod'
import { parseNetwork } from '../lib/net/address-policy.ts'
import { defined } from '../lib/defined.ts'
import { plainIssue } from '../lib/plain-issue.ts'
import { parsePostgresUrl } from '../lib/postgres-url.ts'
import { suggestion } from '../lib/suggestion.ts'
import { ConfigSchema, type Config, type IssuerConfig } from './config.ts'
import { isOriginalSection, originalSettings, variablesOf } from './original.ts'

/** Lists all mistakes of a configuration, so that people can fix them in one go. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`
    const list = mistakes.map((mistake) => `  - ${mistake}`)
    super([`The configuration has ${count}:`, ...list].join('\n'))
    this.mistakes = mistakes
  }
}

export interface ConfigSource {
  /** Text of the YAML file, and its name for messages. */
  readonly file?: { readonly name: string; readonly text: string }
  readonly environment: Readonly<Record<string, string | undefined>>
}

/**
 * Loads one frozen configuration: defaults < file < the original's variables < `MCPGW_…`. In the
 * file, the gateway's own settings outrank sections of the original.
 * @throws ConfigError with every mistake
 */
export function loadConfig(source: ConfigSource): Config {
  const mistakes: string[] = []
  const file = readFile(source.file, mistakes)
  const { data, original } = separateOriginal(file.data)
  const { locate } = file
  const origins = applyOriginal(data, original, source.environment, locate)
  applyEnvironment(data, source.environment, origins, mistakes)

  const parsed = ConfigSchema.safeParse(data, { error: plainIssue })
  for (const issue of parsed.error?.issues ?? []) {
    for (const { path, message } of explained(issue)) {
      const place = variableOf(origins, path) ?? locate(path) ?? 'configuration'
      mistakes.push(`${place}: ${path.join('.')}: ${message}`)
    }
  }

  if (parsed.success && mistakes.length === 0) mistakes.push(...contradictions(parsed.data))
  if (!parsed.success || mistakes.length > 0) throw new ConfigError(mistakes)
  return deepFreeze(parsed.data)
}

/** One mistake, or one for each unknown setting. */
function explained(
  issue: z.core.$ZodIssue,
): { readonly path: readonly PropertyKey[]; readonly message: string }[] {
  if (issue.code !== 'unrecognized_keys') return [issue]
  return issue.keys.map((key) => ({
    path: [...issue.path, key],
    message: unknownSetting(issue.path, key),
  }))
}

function unknownSetting(path: readonly PropertyKey[], key: string): string {
  const siblings = configLeaves()
    .filter((leaf) => path.every((part, index) => leaf.path[index] === part))
    .flatMap((leaf) => leaf.path.slice(path.length, path.length + 1))
  const close = suggestion(key, siblings)
  return close === '' ? 'is not known' : `is not known.${close}`
}

/** The variable that a setting comes from, also if the variable holds a larger structure. */
function variableOf(
  origins: ReadonlyMap<string, string>,
  path: readonly PropertyKey[],
): string | undefined {
  const held = path.map((_, index) => origins.get(path.slice(0, path.length - index).join('.')))
  return held.find((variable) => variable !== undefined)
}

/** JSON Schema of the configuration file, for editors. */
export function configJsonSchema(): unknown {
  return z.toJSONSchema(ConfigSchema, { io: 'input', unrepresentable: 'any' })
}

/**
 * True for names of this machine (RFC 6761 section 6.3, RFC 1122 section 3.2.1.3, RFC 4291 section
 * 2.5.3).
 */
export function isLoopbackHost(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[|\]$/g, '')
  return bare === 'localhost' || bare === '::1' || /^127(\.\d{1,3}){3}$/.test(bare)
}

/** Valid settings that must not start together, because they are unsafe. */
function contradictions(config: Config): string[] {
  // A tool gateway does not identify callers. It accepts requests that gateways have signed.
  const asks = config.role === 'gateway'
  const found = roleMistakes(config)
  if (asks && config.identity.mode === 'development') found.push(...exposedDevelopment(config))

  found.push(
    ...malformedNetworks('endpointNetworks', config.endpointNetworks ?? []),
    ...malformedNetworks('tools.endpointNetworks', config.tools.endpointNetworks ?? []),
    ...malformedNetworks('edge.trustedProxies', config.edge.trustedProxies),
  )
  if (asks) found.push(...identityContradictions(config))

  found.push(
    ...storeContradictions(config),
    ...malformedKeys('sessions.keys', config.sessions.keys),
    ...malformedKeys('secrets.keys', config.secrets.keys),
  )
  return found
}

/** Development identity does not verify callers, so others must not reach the gateway. */
function exposedDevelopment({ host, publicOrigin, edge }: Config): string[] {
  const found: string[] = []
  if (!isLoopbackHost(host))
    found.push(
      'host: development identity lets every caller be anybody, so it serves loopback ' +
        `addresses only, and '${host}' is none. Listen on 127.0.0.1 and forward the ` +
        'port.',
    )

  if (publicOrigin !== undefined && !isLoopbackHost(new URL(publicOrigin).hostname))
    found.push(
      'publicOrigin: development identity does not verify callers, so the gateway serves ' +
        `this machine only, and '${publicOrigin}' is an address for other machines. ` +
        'Set identity.mode to oidc, or remove publicOrigin.',
    )

  if (edge.allowedHosts.includes('*'))
    found.push(
      "edge.allowedHosts: '*' turns off the protection against DNS rebinding, which " +
        'development identity relies on. Name the hosts.',
    )
  return found
}

function malformedKeys(setting: string, keys: readonly string[]): string[] {
  return keys.flatMap((key, index) =>
    Buffer.from(key, 'base64').length === 32
      ? []
      : [
          `${setting}.${index}: must be 32 bytes in base64 (make one with: openssl ` +
            'rand -base64 32)',
        ],
  )
}

/** Requirements for several processes that serve together. */
function roleMistakes({ role, port, cluster, sessions, tools, runtime }: Config): string[] {
  const found: string[] = []
  const keyless = sessions.keys.length === 0
  const remote = Object.keys(tools.gateways).length > 0 || tools.gatewaysService !== undefined
  const needsKey =
    'must have the key that all these processes share (make one with: openssl rand -base64 32)'

  if (role === 'tool-gateway') {
    if (keyless)
      found.push(
        `sessions.keys: ${needsKey}: a tool gateway serves nobody but gateways that have it`,
      )
    if (cluster.name === undefined)
      found.push('cluster.name: must be set: gateways call a tool gateway by it')
    if (cluster.port !== undefined)
      found.push('cluster.port: is for gateways; a tool gateway serves nobody but them')
    if (tools.followed.length === 0)
      found.push(
        'tools.followed: must name a gateway, of which the tool gateway hears what tools there are',
      )
    if (remote) found.push('tools.gateways: is for gateways; a tool gateway serves /mcp itself')
  } else {
    if (keyless && remote)
      found.push(`sessions.keys: ${needsKey}: tool gateways take nothing without it`)
    if (cluster.port !== undefined && cluster.port !== 0 && cluster.port === port)
      found.push('cluster.port: must be another than port')
    if (tools.followed.length > 0) found.push('tools.followed: is for the role tool-gateway')
  }

  found.push(
    ...serviceMistakes(
      'cluster.peers',
      Object.keys(cluster.peers),
      cluster.peersService,
      runtime.kind,
    ),
  )
  found.push(
    ...serviceMistakes(
      'tools.gateways',
      Object.keys(tools.gateways),
      tools.gatewaysService,
      runtime.kind,
    ),
  )

  if (cluster.peersService !== undefined) {
    if (keyless) found.push(`sessions.keys: ${needsKey}: the others take nothing without it`)
    if (cluster.name === undefined)
      found.push(
        "cluster.name: must be the name of the gateway's pod, by which the others call " +
          'it (fieldRef metadata.name)',
      )
  }
  return found
}

/**
 * Checks a Service setting. Pods of a Service come and go, but a list is fixed, so only one may be
 * set.
 */
function serviceMistakes(
  setting: string,
  fixed: readonly string[],
  service: string | undefined,
  kind: Config['runtime']['kind'],
): string[] {
  if (service === undefined) return []
  const found: string[] = []
  if (fixed.length > 0) found.push(`${setting}Service: is instead of ${setting}. Set one of them.`)
  if (kind !== 'kubernetes')
    found.push(`${setting}Service: is watched on a cluster. Set runtime.kind to kubernetes.`)
  return found
}

function storeContradictions({ role, store, secrets }: Config): string[] {
  const { url, passwordFile } = store
  if (role === 'tool-gateway')
    return url === undefined ? [] : ['store.url: is for gateways; a tool gateway has no store']
  if (url === undefined)
    return passwordFile === undefined ? [] : ['store.passwordFile: is of no use without store.url']

  const { host, sslMode, password } = parsePostgresUrl(url)
  const found: string[] = []

  if (sslMode === undefined && !host.startsWith('/') && !isLoopbackHost(host))
    found.push(
      `store.url: what goes to '${host}' would cross the network in clear. Add ` +
        'sslmode=verify-full, or sslmode=disable where the network is trusted',
    )
  if (password !== undefined && passwordFile !== undefined)
    found.push('store.passwordFile: store.url has a password already')
  if (secrets.keys.length === 0)
    found.push(
      'secrets.keys: must have the key that seals secrets in the database (make one ' +
        'with: openssl rand -base64 32). One that is kept in this data folder would open ' +
        'them nowhere else',
    )
  return found
}

function malformedNetworks(setting: string, networks: readonly string[]): string[] {
  return networks.flatMap((network, index) => {
    try {
      parseNetwork(network)
      return []
    } catch (error) {
      return [`${setting}.${index}: ${(error as Error).message}`]
    }
  })
}

function identityContradictions(config: Config): string[] {
  const { issuers, mode, allowAnonymous } = config.identity
  const found: string[] = []
  if (mode === 'development') {
    if (issuers.length > 0)
      found.push(
        'identity.issuers: are of no use while identity.mode is development. Set it to oidc.',
      )
    if (allowAnonymous)
      found.push(
        'identity.allowAnonymous: is of no use while identity.mode is development, where ' +
          'everybody is somebody.',
      )
    return found
  }

  if (issuers.length === 0)
    found.push('identity.issuers: identity.mode oidc needs at least one issuer')
  found.push(...originMistakes(config))
  found.push(...issuerMistakes(issuers))
  return found
}

/**
 * A request must not decide the audience of tokens, nor where clients sign in (RFC 9728 section
 * 7.3).
 */
function originMistakes({ host, publicOrigin, edge }: Config): string[] {
  if (publicOrigin !== undefined) {
    const { pathname, search } = new URL(publicOrigin)
    return /^\/?$/.test(pathname + search)
      ? []
      : ['publicOrigin: must be scheme, host and port alone']
  }

  if (edge.trustedProxies.length === 0)
    return isLoopbackHost(host)
      ? []
      : [
          'publicOrigin: clients are told by it where they sign in. Set it to the address by ' +
            'which they reach the gateway, such as https://mcp.example.com',
        ]
  return edge.allowedHosts.includes('*')
    ? [
        "publicOrigin: must be set where edge.allowedHosts has '*': otherwise a request's " +
          'own Host would say what tokens are meant for. Or name the hosts.',
      ]
    : []
}

function issuerMistakes(issuers: readonly IssuerConfig[]): string[] {
  const found: string[] = []
  const known = new Set<string>()
  for (const [index, issuer] of issuers.entries()) {
    for (const name of 'tenantId' in issuer ? [issuer.tenantId].flat() : [issuer.issuer]) {
      if (known.has(name))
        found.push(
          `identity.issuers.${index}: '${name}' is there already. Give one issuer all ` +
            'its audiences.',
        )
      known.add(name)
    }
    found.push(...unsafeAddresses(`identity.issuers.${index}`, issuer))
  }
  return found
}

function unsafeAddresses(setting: string, issuer: IssuerConfig): string[] {
  const addresses = defined({
    issuer: 'issuer' in issuer ? issuer.issuer : undefined,
    instance: 'instance' in issuer ? issuer.instance : undefined,
    jwksUri: issuer.jwksUri,
  })

  return Object.entries(addresses).flatMap(([name, address]) => {
    const { protocol, hostname } = new URL(address)
    return protocol === 'https:' || isLoopbackHost(hostname)
      ? []
      : [
          `${setting}.${name}: must be https, because keys that come ` +
            "unprotected could be anybody's",
        ]
  })
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

/** The line of the deepest part of the path that exists in the file. */
function lineOf(
  document: Document,
  lines: LineCounter,
  path: readonly PropertyKey[],
  name: string,
): string {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true) ?? document.contents
    const pair = isMap(parent)
      ? parent.items.find(
          (item) => isPair(item) && isScalar(item.key) && item.key.value === path[length - 1],
        )
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

/** Variables between the process runtime and its programs. They are not configuration. */
const internalVariables = new Set([
  'MCPGW_CONFIG',
  'MCPGW_OWNER',
  'MCPGW_REPLICA',
  'MCPGW_REPLICA_NAME',
  'MCPGW_DATA',
])

/** Separates the original's sections of a file from the gateway's own settings. */
function separateOriginal(file: Readonly<Record<string, unknown>>): {
  readonly data: Record<string, unknown>
  readonly original: Readonly<Record<string, string>>
} {
  const data: Record<string, unknown> = {}
  const original: Record<string, string> = {}
  for (const [key, value] of Object.entries(file))
    if (isOriginalSection(key)) Object.assign(original, variablesOf(key, value))
    else data[key] = value
  return { data, original }
}

/**
 * Applies the original's settings, and returns the origin of each. If a file has a setting in both
 * forms, the gateway's own form wins.
 */
function applyOriginal(
  data: Record<string, unknown>,
  inFile: Readonly<Record<string, string>>,
  environment: ConfigSource['environment'],
  locate: ReadFile['locate'],
): Map<string, string> {
  const origins = new Map<string, string>()
  const inEnvironment = Object.entries(environment).filter(([, value]) => Boolean(value))
  const settings = originalSettings({ ...inFile, ...Object.fromEntries(inEnvironment) })

  for (const { path, value, variable } of settings) {
    const start = variable.toLowerCase()
    const ofEnvironment = inEnvironment.some(([name]) => name.toLowerCase().startsWith(start))
    if (!ofEnvironment && has(data, path)) continue

    set(data, path, value)
    const place = ofEnvironment ? undefined : locate(variable.split('__'))
    origins.set(path.join('.'), place ?? `environment variable ${variable}`)
  }
  return origins
}

function applyEnvironment(
  data: Record<string, unknown>,
  environment: ConfigSource['environment'],
  origins: Map<string, string>,
  mistakes: string[],
): void {
  const leaves = new Map(configLeaves().map((leaf) => [variableName(leaf.path), leaf]))
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('MCPGW_') || text === undefined || internalVariables.has(variable))
      continue

    const leaf = leaves.get(variable)
    if (leaf === undefined) {
      const close = suggestion(variable, [...leaves.keys()])
      mistakes.push(
        `environment variable ${variable}: is not known.` +
          (close || " 'mcp-gateway config schema' shows every setting."),
      )
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
}

interface JsonSchemaNode {
  readonly type?: string
  readonly items?: { readonly type?: string }
  readonly properties?: Record<string, JsonSchemaNode>
}

function configLeaves(
  node = configJsonSchema() as JsonSchemaNode,
  path: readonly string[] = [],
): Leaf[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) =>
    child.properties === undefined
      ? [{ path: [...path, key], type: leafType(child) }]
      : configLeaves(child, [...path, key]),
  )
}

/** Environment variables hold lists of texts with commas, and structures as JSON. */
function leafType({ type = 'string', items }: JsonSchemaNode): string {
  return type === 'array' && items?.type !== 'string' ? 'object' : type
}

/** `MCPGW_` and the path in capitals: `edge.allowedHosts` is `MCPGW_EDGE_ALLOWED_HOSTS`. */
function variableName(path: readonly string[]): string {
  const words = path.map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase())
  return ['MCPGW', ...words].join('_')
}

function coerce(text: string, type: string): unknown {
  switch (type) {
    case 'integer':
    case 'number':
      return text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text)
    case 'boolean':
      if (text === 'true' || text === '1') return true
      return text === 'false' || text === '0' ? false : undefined
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

function has(data: unknown, [head, ...rest]: readonly string[]): boolean {
  if (head === undefined) return data !== undefined
  return (
    typeof data === 'object' && data !== null && has((data as Record<string, unknown>)[head], rest)
  )
}

function set(data: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [head = '', ...rest] = path
  if (rest.length === 0) {
    data[head] = value
    return
  }
  const child = data[head]
  const table =
    typeof child === 'object' && child !== null && !Array.isArray(child)
      ? { ...(child as Record<string, unknown>) }
      : {}
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
