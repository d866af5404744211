import { ArgumentError, checkArguments, splitArguments } from '@mcp-gateway/warden'
import { readKeyVault, type KeyVaultSettings } from './key-vault/settings.ts'

/** The server behind the bridge. */
type Upstream =
  | {
      readonly kind: 'stdio'
      readonly command: string
      readonly args: readonly string[]
      /** Unset: the directory of the bridge. */
      readonly directory: string | undefined
      readonly isolation: 'session' | 'shared'
      readonly warmSpares: number
    }
  /** Over streamable HTTP. */
  | RemoteUpstream<'remote'>
  /** Over HTTP+SSE of 2024-11-05. */
  | RemoteUpstream<'sse'>

interface RemoteUpstream<Kind> {
  readonly kind: Kind
  readonly url: URL
  readonly headers: readonly UpstreamHeader[]
  /** A secret with more headers. */
  readonly keyVault: KeyVaultSettings | undefined
}

/** A header for the remote server: a value, or a file that holds the value and may change. */
export interface UpstreamHeader {
  readonly name: string
  readonly value: { readonly text: string } | { readonly file: string }
}

export interface Settings {
  readonly host: string
  readonly port: number
  /**
   * Host names besides loopback that requests may use. Empty, on an address beyond loopback: all.
   */
  readonly allowedHosts: readonly string[]
  readonly logLevel: string
  /** True if clients may read the last output of a server, which may hold secrets. */
  readonly tellsLastWords: boolean
  readonly bodyLimitBytes: number
  readonly maxSessions: number
  readonly sessionIdleMs: number
  readonly sessionMaxMs: number
  /** Milliseconds after which a server that has answered nothing since its start is given up. */
  readonly startMs: number
  /**
   * Milliseconds after which a client that opens a session learns that the server does not answer.
   */
  readonly handshakeMs: number
  readonly answerTimeoutMs: number
  /** `auto` also serves clients of the era that the server does not speak. */
  readonly eras: 'auto' | 'passthrough'
  /** The way of legacy clients to a server of both eras: its legacy side, or translation. */
  readonly legacyLeg: 'auto' | 'passthrough' | 'translate'
  readonly upstream: Upstream
}

/** All mistakes of the environment, so that the user can correct them in one round. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    super(mistakes.join('\n'))
    this.mistakes = mistakes
  }
}

/** Variables of the bridge itself. The server does not get them. */
export const ownVariables: ReadonlySet<string> = new Set([
  'PORT',
  'HOST',
  'MCP_PORT',
  'MCP_HOST',
  'MCP_LOG_LEVEL',
  'MCP_COMMAND',
  'MCP_ARGS',
  'MCP_CWD',
  'MCP_PROXY_URL',
  'MCP_PROXY_HEADERS',
  'MCP_PROXY_HEADERS_SECRET_URL',
  'MCP_PROXY_HEADERS_REFRESH_SECONDS',
  'MCP_AZURE_HOSTS',
  'MCP_PROXY_TRANSPORT',
  'MCP_ISOLATION',
  'MCP_WARM_SPARES',
  'MCP_MAX_SESSIONS',
  'MCP_SESSION_IDLE_SECONDS',
  'MCP_SESSION_MAX_SECONDS',
  'MCP_START_SECONDS',
  'MCP_HANDSHAKE_SECONDS',
  'MCP_ANSWER_TIMEOUT_SECONDS',
  'MCP_ALLOWED_HOSTS',
  'MCP_ERAS',
  'MCP_LEGACY_LEG',
])

/**
 * The environment of the server: without the bridge's settings, and with Python's output
 * unbuffered.
 */
export function serverEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  // If the bridge has `MCP_HOST` or `MCP_PORT`, the common name belongs to the server.
  const freed = ['HOST', 'PORT'].filter((name) => addressName(environment, name) !== name)
  const kept = Object.entries(environment).filter(
    ([name]) => !ownVariables.has(name) || freed.includes(name),
  )
  return { PYTHONUNBUFFERED: '1', ...Object.fromEntries(kept) }
}

/**
 * The variable with the bridge's address. A gateway sets HOST and PORT, so under a gateway only
 * these count.
 */
function addressName(
  environment: Readonly<Record<string, string | undefined>>,
  name: string,
): string {
  const own = `MCP_${name}`
  return environment['MCPGW_REPLICA_NAME'] === undefined && environment[own] ? own : name
}

const megabyte = 1024 * 1024
const logLevels = ['info', 'trace', 'debug', 'warn', 'error', 'silent'] as const

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Environment variables → settings. `MCP_PROXY_URL` outranks `MCP_COMMAND`, as in the original.
 * @throws SettingsError
 */
export function readSettings(environment: Environment): Settings {
  const mistakes: string[] = []
  const { number, choice } = readersOf(environment, mistakes)

  // Check all values, even those that this kind of server does not use.
  const transport = choice('MCP_PROXY_TRANSPORT', ['streamable-http', 'sse'])
  const isolation = choice('MCP_ISOLATION', ['session', 'shared'])
  const warmSpares = number('MCP_WARM_SPARES', 1, 0, 100)
  const refreshMs = number('MCP_PROXY_HEADERS_REFRESH_SECONDS', 300, 1, 86_400) * 1000
  const upstream = environment['MCP_PROXY_URL']
    ? remote(environment, transport === 'sse' ? 'sse' : 'remote', refreshMs, mistakes)
    : stdio(environment, isolation, warmSpares, mistakes)

  const host = environment[addressName(environment, 'HOST')] || '127.0.0.1'
  // `LOG_LEVEL` is a common name, so its value may be meant for the server.
  const level = environment['LOG_LEVEL']?.toLowerCase()
  const common = logLevels.find((each) => each === level) ?? 'info'

  const settings = {
    host,
    port: number(addressName(environment, 'PORT'), 8000, 0, 65_535),
    allowedHosts: (environment['MCP_ALLOWED_HOSTS'] ?? '')
      .split(',')
      .map((host) => host.trim().toLowerCase())
      .filter((host) => host !== ''),
    logLevel: environment['MCP_LOG_LEVEL'] ? choice('MCP_LOG_LEVEL', logLevels) : common,
    // Callers of a gateway may not read logs. Others learn the reason from the gateway's status.
    tellsLastWords: environment['MCPGW_REPLICA_NAME'] === undefined && isLoopback(host),
    // A gateway has its own limit (`edge.bodyLimitBytes`), which applies as long as it is smaller.
    bodyLimitBytes: environment['MCPGW_REPLICA_NAME'] === undefined ? 4 * megabyte : 64 * megabyte,
    maxSessions: number('MCP_MAX_SESSIONS', 1000, 1, 1_000_000),
    sessionIdleMs: number('MCP_SESSION_IDLE_SECONDS', 3600, 1, 31_536_000) * 1000,
    sessionMaxMs: number('MCP_SESSION_MAX_SECONDS', 7 * 24 * 3600, 1, 31_536_000) * 1000,
    eras: choice('MCP_ERAS', ['auto', 'passthrough']),
    legacyLeg: choice('MCP_LEGACY_LEG', ['auto', 'passthrough', 'translate']),
    // Shorter than the limit of the gateway, which does not know the reason, and of clients (SDKs:
    // 60 s).
    handshakeMs: number('MCP_HANDSHAKE_SECONDS', 45, 1, 86_400) * 1000,
    startMs: number('MCP_START_SECONDS', 300, 1, 86_400) * 1000,
    answerTimeoutMs: number('MCP_ANSWER_TIMEOUT_SECONDS', 3600, 1, 86_400) * 1000,
    upstream,
  }

  if (upstream === undefined || mistakes.length > 0) throw new SettingsError(mistakes)
  return { ...settings, upstream }
}

/** Readers of single variables. Mistakes go to the list, and a default takes their place. */
function readersOf(environment: Environment, mistakes: string[]) {
  const number = (name: string, fallback: number, min: number, max: number): number => {
    const text = environment[name]
    if (text === undefined || text === '') return fallback

    const value = /^\d+$/.test(text) ? Number(text) : -1
    if (value >= min && value <= max) return value

    mistakes.push(`${name}: '${text}' is not a whole number from ${min} to ${max}`)
    return fallback
  }

  const choice = <T extends string>(name: string, choices: readonly [T, ...T[]]): T => {
    const text = environment[name]
    if (text === undefined || text === '') return choices[0]
    const chosen = choices.find((each) => each === text)
    if (chosen === undefined) mistakes.push(`${name}: '${text}' is none of ${choices.join(', ')}`)
    return chosen ?? choices[0]
  }

  return { number, choice }
}

export function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host)
}

function stdio(
  environment: Readonly<Record<string, string | undefined>>,
  isolation: 'session' | 'shared',
  warmSpares: number,
  mistakes: string[],
): Upstream | undefined {
  const command = environment['MCP_COMMAND']
  if (!command) {
    mistakes.push('MCP_COMMAND: is required, or MCP_PROXY_URL for a server that runs elsewhere')
    return undefined
  }

  const directory = environment['MCP_CWD'] || undefined
  if (directory?.startsWith('/') === false)
    mistakes.push(`MCP_CWD: '${directory}' is not an absolute path`)

  try {
    const args = splitArguments(environment['MCP_ARGS'] ?? '')
    checkArguments(command, args)
    return { kind: 'stdio', command, args, directory, isolation, warmSpares }
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error
    mistakes.push(`MCP_ARGS: ${error.message}`)
    return undefined
  }
}

function remote(
  environment: Readonly<Record<string, string | undefined>>,
  kind: 'remote' | 'sse',
  refreshMs: number,
  mistakes: string[],
): Upstream | undefined {
  const text = (environment['MCP_PROXY_URL'] ?? '').trim()
  const headers = parseHeaders(environment['MCP_PROXY_HEADERS'], mistakes)
  // The value may hold a password, so the mistake does not repeat it. The URL standard is too lax:
  // it drops line breaks, and takes `http:host` and `http:\\host` for `http://host`.
  const url =
    /^https?:\/\/[^\s\\\p{Cc}]+$/iu.test(text) && URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined) mistakes.push('MCP_PROXY_URL: must be an http:// or https:// address')
  else if (url.username !== '' || url.password !== '')
    mistakes.push(
      'MCP_PROXY_URL: must hold no user name or password; use MCP_PROXY_HEADERS for credentials',
    )
  const keyVault = readKeyVault(environment, url, refreshMs, mistakes)
  return url === undefined ? undefined : { kind, url, headers, keyVault }
}

/** Headers that frame the message or name the session. */
const setByBridge: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'mcp-session-id',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/**
 * Reads a JSON object or lines `Name: value`. `@file:/path`, or `{"file": "/path"}` in JSON, names
 * a file to read. Mistakes repeat only valid names, because misplaced text may be a secret.
 */
function parseHeaders(text: string | undefined, mistakes: string[]): UpstreamHeader[] {
  const given = text?.trim() ?? ''
  if (given === '') return []
  const pairs = given.startsWith('{') ? membersOf(given, mistakes) : linesOf(given, mistakes)
  const headers = pairs.flatMap(([name, value], index) => {
    const { file, plain } = fileOf(value)
    const mistake = headerMistake(name, plain, index + 1)
    if (mistake === undefined)
      return [{ name, value: file ? { file: plain as string } : { text: plain as string } }]
    mistakes.push(`MCP_PROXY_HEADERS: ${mistake}`)
    return []
  })

  const twice = repeatedHeader(headers.map(({ name }) => name))
  if (twice !== undefined) mistakes.push(`MCP_PROXY_HEADERS: ${twice} stands there twice`)
  return headers
}

function membersOf(given: string, mistakes: string[]): [string, unknown][] {
  try {
    return Object.entries(JSON.parse(given) as object)
  } catch {
    mistakes.push('MCP_PROXY_HEADERS: is neither a JSON object nor lines of the form Name: value')
    return []
  }
}

function linesOf(given: string, mistakes: string[]): [string, unknown][] {
  return given.split(/\r?\n/).flatMap((line, index): [string, unknown][] => {
    const colon = line.indexOf(':')
    if (colon > 0) return [[line.slice(0, colon).trim(), line.slice(colon + 1).trim()]]
    mistakes.push(`MCP_PROXY_HEADERS: line ${index + 1} is not of the form Name: value`)
    return []
  })
}

function fileOf(given: unknown): { readonly file: boolean; readonly plain: unknown } {
  if (typeof given === 'string' && given.startsWith('@file:'))
    return { file: true, plain: given.slice('@file:'.length) }
  const file =
    typeof given === 'object' && given !== null ? (given as { file?: unknown }).file : undefined
  return file === undefined ? { file: false, plain: given } : { file: true, plain: file }
}

/**
 * The mistake in a header for the remote server. The text may repeat the name, but never the value.
 */
export function headerMistake(name: string, value: unknown, place: number): string | undefined {
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) return `name ${place} is not a header name`
  if (setByBridge.has(name.toLowerCase())) return `${name} is set by the bridge`
  if (typeof value !== 'string' || !isHeaderValue(value))
    return `the value of ${name} is not a header value`
  return undefined
}

/** The name of a header that stands in a list twice. Case does not matter. */
export function repeatedHeader(names: readonly string[]): string | undefined {
  const lower = names.map((name) => name.toLowerCase())
  return names.find((_, index) => lower.indexOf(lower[index] ?? '') !== index)
}

/** RFC 9110 section 5.5: visible characters, spaces and tabs. */
export function isHeaderValue(value: string): boolean {
  return /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value)
}
