#!/usr/bin/env node
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { newMark, startWarden, type Warden } from '@mcp-gateway/warden'
import { pino, type Logger } from 'pino'
import { Bodies } from './bodies.ts'
import { createFront, type Handler } from './front.ts'
import {
  isLoopback,
  readSettings,
  serverEnvironment,
  SettingsError,
  type Settings,
} from './settings.ts'
import { ownHeaders, type HeaderSecret } from './remote-headers.ts'
import { KeyVaultFailure } from './key-vault/failure.ts'
import { StdioBridge } from './stdio-bridge.ts'
import type { Child } from './children/child.ts'
import { StdioChild } from './children/stdio-child.ts'

const usage = `mcp-bridge: a stdio or remote MCP server behind streamable HTTP

  mcp-bridge [--host HOST] [--port PORT] -- COMMAND [ARGUMENT ...]
  mcp-bridge [--host HOST] [--port PORT] --url URL

or by the variables MCP_COMMAND and MCP_ARGS, or MCP_PROXY_URL. docs/bridge.md lists all of them.
`

const megabyte = 1024 * 1024
const stopGraceMs = 3000

/** Flags outrank variables. */
function environmentOf(argv: readonly string[]): Record<string, string | undefined> | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      host: { type: 'string' },
      port: { type: 'string' },
      url: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) return undefined

  const [command, ...args] = positionals
  if (command !== undefined && values.url !== undefined)
    throw new SettingsError(['--url and a command cannot be used together'])

  const { env } = process
  const given = {
    ...env,
    MCP_HOST: values.host ?? env['MCP_HOST'],
    MCP_PORT: values.port ?? env['MCP_PORT'],
    MCP_PROXY_URL: values.url ?? env['MCP_PROXY_URL'],
  }

  if (command === undefined) return given

  const quoted = args.map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
  return { ...given, MCP_PROXY_URL: undefined, MCP_COMMAND: command, MCP_ARGS: quoted.join(' ') }
}

interface Opened {
  readonly handler: Handler
  readonly secret?: AsyncDisposable | undefined
}

async function openHandler(
  settings: Settings,
  environment: Record<string, string | undefined>,
  broken: (reason: string) => void,
): Promise<Opened> {
  const log = pino(
    { level: settings.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  )
  const { upstream } = settings
  const secret = await openSecret(upstream, log)
  const bodies = new Bodies(settings.bodyLimitBytes)

  if (upstream.kind === 'remote')
    return { handler: await openRemote(upstream, { settings, secret, bodies, log }), secret }

  const shared = {
    broken,
    slow: (reason: string) => log.warn({ reason }, 'The server does not answer'),
    startMs: settings.startMs,
    handshakeMs: settings.handshakeMs,
    answerTimeoutMs: settings.answerTimeoutMs,
    replica: environment['MCPGW_REPLICA_NAME'] ?? 'bridge',
    maxSessions: settings.maxSessions,
    sessionIdleMs: settings.sessionIdleMs,
    sessionMaxMs: settings.sessionMaxMs,
    bodies,
    eventBufferBytes: megabyte,
    eras: settings.eras,
    legacyLeg: settings.legacyLeg,
  }

  if (upstream.kind === 'sse') {
    const spawn = await sseSpawner(upstream, { settings, secret, log })
    const handler = new StdioBridge({
      ...shared,
      spawn,
      isolation: 'session',
      warmSpares: 0,
    })

    return { handler, secret }
  }

  const { command, args, directory, isolation, warmSpares } = upstream
  const options = {
    command,
    args,
    directory,
    environment,
    stopGraceMs,
    maxLineBytes: 64 * megabyte,
    tellsLastWords: settings.tellsLastWords,
    log,
  }

  const spawn = (): StdioChild => new StdioChild(options)
  return { handler: new StdioBridge({ ...shared, spawn, isolation, warmSpares }) }
}

type OfKind<K extends Settings['upstream']['kind']> = Extract<
  Settings['upstream'],
  { readonly kind: K }
>

interface Surroundings {
  readonly settings: Settings
  readonly secret: HeaderSecret | undefined
  readonly log: Logger
}

async function openRemote(
  upstream: OfKind<'remote'>,
  { settings, secret, bodies, log }: Surroundings & { readonly bodies: Bodies },
): Promise<Handler> {
  const { RemoteBridge } = await import('./remote-bridge.ts')
  return new RemoteBridge({
    ...upstream,
    secret,
    answerTimeoutMs: settings.answerTimeoutMs,
    connectTimeoutMs: 10_000,
    bodies,
    log,
  })
}

async function sseSpawner(
  upstream: OfKind<'sse'>,
  { settings, secret, log }: Surroundings,
): Promise<() => Child> {
  const { SseChild } = await import('./children/sse-child.ts')
  const options = {
    url: upstream.url,
    headers: () => ownHeaders({ headers: upstream.headers, secret }),
    refused: () => secret?.refused(),
    connectTimeoutMs: 10_000,
    streamTimeoutMs: 30_000,
    answerTimeoutMs: settings.answerTimeoutMs,
    maxMessageBytes: 64 * megabyte,
    log,
  }

  return () => new SseChild(options)
}

/** Opens the headers of a Key Vault secret, if the settings name one. @throws SettingsError */
async function openSecret(
  upstream: Settings['upstream'],
  log: Logger,
): Promise<(HeaderSecret & AsyncDisposable) | undefined> {
  if (upstream.kind === 'stdio' || upstream.keyVault === undefined) return undefined
  const { openSecretHeaders } = await import('./key-vault/open.ts')
  return openSecretHeaders(upstream.keyVault, log).catch((error: unknown) => {
    if (!(error instanceof KeyVaultFailure)) throw error
    const { message, code } = error
    throw new SettingsError([`MCP_PROXY_HEADERS_SECRET_URL: ${message} (${code})`])
  })
}

async function main(): Promise<void> {
  const environment = environmentOf(process.argv.slice(2))
  if (environment === undefined) return void process.stdout.write(usage)

  const settings = readSettings(environment)
  const server = serverEnvironment(environment)
  // Under a gateway, the gateway's warden watches. Alone, the bridge starts its own.
  let warden: Warden | undefined
  if (environment['MCPGW_OWNER'] === undefined && settings.upstream.kind === 'stdio') {
    const mark = newMark('MCPGW_OWNER')
    server[mark.name] = mark.value
    warden = startWarden({ mark: mark.text, graceSeconds: stopGraceMs / 1000 })
  }

  const fail = (message: string): void => {
    process.exitCode = 1
    // Supervisors show the bridge's last output, and a server may write until it has ended.
    void stop().then(() => process.stderr.write(`${message}\n`))
  }

  const { handler, secret } = await openHandler(settings, server, (reason) =>
    fail(`mcp-bridge gives up: ${reason}`),
  )
  const loopback = isLoopback(settings.host)
  const names = ['localhost', '127.0.0.1', '[::1]', settings.host, ...settings.allowedHosts]
  const front = createFront(handler, {
    allowedHosts: loopback || settings.allowedHosts.length > 0 ? new Set(names) : undefined,
  })

  front.listen(settings.port, settings.host, () => {
    const { address, port, family } = front.address() as AddressInfo
    process.stdout.write(
      `mcp-bridge listens on http://${family === 'IPv6' ? `[${address}]` : address}:${port}/mcp\n`,
    )
  })

  front.on('error', (error) => fail(`mcp-bridge cannot listen: ${error.message}`))
  let stopping = false

  const stop = async (): Promise<void> => {
    if (stopping) return
    stopping = true
    front.close()
    await handler[Symbol.asyncDispose]()
    await secret?.[Symbol.asyncDispose]()
    warden?.release()
    front.closeAllConnections()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop())
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
