#!/usr/bin/env node
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openApp } from './app.ts'
import { verifyLog } from './audit/verify.ts'
import { configJsonSchema, ConfigError, loadConfig } from './config/load.ts'
import type { Config } from './config/config.ts'
import { runDemo } from './demo.ts'
import { defined } from './lib/defined.ts'
import { maskPostgresUrl } from './lib/postgres-url.ts'
import { createSecret } from './runtime/open.ts'
import { openSealedStore } from './secrets/sealed-store.ts'
import { copyStore } from './store/copy.ts'
import { openStore, openStoreFile } from './store/open.ts'
import { createLog } from './telemetry/log.ts'
import { openToolGateway } from './tool-gateway.ts'

const usage = `mcp-gateway: one address for all MCP servers

  mcp-gateway                  start (npm start)
  mcp-gateway --demo           start, register the samples, make real calls, stay up
  mcp-gateway config check     read the configuration and report every mistake
  mcp-gateway config print     print it with its defaults
  mcp-gateway config schema    print the JSON Schema of the file
  mcp-gateway audit verify FILE [--head HASH]
                               check that nothing in an audit log was changed, left out or put in
  mcp-gateway keys create SECRET
                               make the keys that gateways and tool gateways share, as a Secret of the cluster, unless it is there
  mcp-gateway store migrate    bring the schema of the store up to date, as every start does
  mcp-gateway store copy --from FILE | --to FILE
                               copy all from an SQLite file into the configured store, or the other way
  mcp-gateway secrets rotate   seal all stored secrets with the first of secrets.keys, as every start does

Configuration: the YAML file that MCPGW_CONFIG names (or ./mcp-gateway.yaml), then MCPGW_… variables,
for example MCPGW_HOST, MCPGW_PORT, MCPGW_DATA_DIR. docs/configuration.md lists them all.
`

const { version } = createRequire(import.meta.url)('../package.json') as { version: string }

/** The commands that need a configuration. */
const configured = /^(|config (check|print)|store (migrate|copy)|secrets rotate|keys create( .*)?)$/

async function main(): Promise<number> {
  const words = parseWords()
  if (typeof words === 'string') return say(`${words}\n\n${usage}`, 2)

  const { values, positionals } = words
  const command = positionals.join(' ')
  if (values.help) return say(usage)
  if (values.version) return say(`${version}\n`)
  if (command === 'config schema') return say(`${JSON.stringify(configJsonSchema(), null, 2)}\n`)
  if (positionals[0] === 'audit' && positionals[1] === 'verify')
    return verifyAudit(positionals.slice(2), values.head)
  if (!configured.test(command)) return say(`Unknown command: ${command}\n\n${usage}`, 2)

  const config = await readConfig()
  if (positionals[0] === 'keys' && positionals[1] === 'create')
    return createKeys(config, positionals.slice(2))
  if (command === 'config check') return say('The configuration is in order.\n')
  if (command === 'config print') return say(`${JSON.stringify(withoutSecrets(config), null, 2)}\n`)
  if (command === 'store migrate') return await migrateStore(config)
  if (command === 'store copy') return await copy(config, values)
  if (command === 'secrets rotate') return await rotateSecrets(config)

  return await serve(config, values.demo)
}

function parseWords() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        head: { type: 'string' },
        from: { type: 'string' },
        to: { type: 'string' },
        demo: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        version: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    // Node.js adds advice on positional arguments, which no command takes.
    return error instanceof Error
      ? error.message.replace(/(?<=')\. To specify.*/s, '.')
      : String(error)
  }
}

/** For an owner of the schema, if the gateway itself runs as a role with fewer rights. */
async function migrateStore({ dataDir, store: settings }: Config): Promise<number> {
  const store = await openStore({ dataDir, settings })
  await store[Symbol.asyncDispose]()
  return say('The schema of the store is up to date.\n')
}

/** Exit code 1: some records were left out, because their names are taken. */
async function copy(
  { dataDir, store: settings }: Config,
  { from, to }: { from?: string | undefined; to?: string | undefined },
): Promise<number> {
  const file = from ?? to
  if (file === undefined || (from !== undefined && to !== undefined))
    return say(`store copy takes --from FILE or --to FILE.\n\n${usage}`, 2)

  await using other = await openStoreFile(file, from !== undefined)
  await using configured = await openStore({ dataDir, settings })
  const { copied, present, conflicts } = await (from === undefined
    ? copyStore(configured, other)
    : copyStore(other, configured))
  const told =
    `${copied} ${copied === 1 ? 'record was' : 'records were'} copied, ` +
    `${present} ${present === 1 ? 'was' : 'were'} there already.\n`

  if (conflicts.length === 0) return say(told)
  return say(
    `${told}These names are taken by others, and were left out: ${conflicts.join(', ')}\n`,
    1,
  )
}

/** Exit code 1: some resources cannot be decrypted, and were left as they are. */
async function rotateSecrets({ dataDir, store: settings, secrets }: Config): Promise<number> {
  await using store = await openSealedStore({ dataDir, settings, keys: secrets.keys })
  const { renewed, unreadable } = await store.renewSeals()
  const told =
    `${renewed} ${renewed === 1 ? 'resource was' : 'resources were'} sealed with the ` +
    `first key.\n`
  if (unreadable.length === 0) return say(told)
  return say(
    `${told}These cannot be decrypted with any of the keys, and were left as they are: ` +
      `${unreadable.join(', ')}\n`,
    1,
  )
}

/**
 * npm repeats a Ctrl-C to its child, and the terminal has sent the signal to both already. Within
 * this time, both signals are one key press.
 */
const sameKeyPressMs = 1000

/**
 * Runs until the first SIGINT or SIGTERM, then drains. A second signal ends the process at once.
 */
async function serve(config: Config, demo: boolean): Promise<number> {
  const stop = new AbortController()
  let stoppedAt = 0

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) {
        stoppedAt = performance.now()
        stop.abort()
      } else if (performance.now() - stoppedAt > sameKeyPressMs) process.exit(130)
    })
  }

  const log = createLog({
    level: config.log.level,
    format: config.log.format,
    terminal: process.stderr.isTTY,
  })
  const open = config.role === 'tool-gateway' ? openToolGateway : openApp

  await using app = await open({
    config,
    log,
    environment: process.env,
    version,
    signal: stop.signal,
  }).catch((error: unknown) => {
    if (stop.signal.aborted) return undefined
    throw explained(error, config)
  })
  if (app === undefined) return 0

  process.stdout.write(banner(app.origin, config))
  if (demo && !stop.signal.aborted) {
    await runDemo(app.origin, (line) => process.stdout.write(`${line}\n`), stop.signal).catch(
      (error: unknown) => {
        if (!stop.signal.aborted) throw error
      },
    )

    if (!stop.signal.aborted)
      process.stdout.write(
        `\nThe gateway stays up at ${app.origin}. Ctrl-C stops it and all that it started.\n`,
      )
  }

  if (!stop.signal.aborted)
    await new Promise<void>((resolve) =>
      stop.signal.addEventListener('abort', () => resolve(), { once: true }),
    )

  log.info('draining')
  return 0
}

/** Turns an error of `listen` into advice. Any other error stays as it is. */
function explained(error: unknown, { host, port }: Config): unknown {
  if (
    !(error instanceof Error) ||
    !('syscall' in error) ||
    error.syscall !== 'listen' ||
    !('code' in error)
  )
    return error
  const why: Record<string, string> = {
    EADDRINUSE: 'another program listens there. Stop it, or set MCPGW_PORT',
    EACCES: 'this user may not listen there. Set MCPGW_PORT to 1024 or more',
    EADDRNOTAVAIL: 'this machine has no such address. Set MCPGW_HOST',
  }
  return new Error(
    `The gateway cannot listen on ${host}:${port}: ${why[String(error.code)] ?? error.message}.`,
    { cause: error },
  )
}

/** A stack trace helps only if the program is at fault. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const ourFault =
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
  return ourFault ? (error.stack ?? error.message) : error.message
}

function banner(origin: string, config: Config): string {
  if (config.role === 'tool-gateway')
    return (
      `MCP Gateway ${version} is ready as tool gateway ${config.cluster.name}.\n\n  ` +
      `address      ${origin}\n\n`
    )

  const example = {
    servers: {
      'mcp-example': {
        type: 'http',
        url: `${config.publicOrigin ?? origin}/adapters/mcp-example/mcp`,
      },
    },
  }

  return `MCP Gateway ${version} is ready.

  address      ${origin}
  data folder  ${config.dataDir}
  API          ${origin}/docs

Register a server with POST ${origin}/adapters, then paste into your editor's mcp.json:

${JSON.stringify(example, null, 2)}

`
}

async function readConfig(): Promise<Config> {
  const named = process.env['MCPGW_CONFIG']
  const name = named ?? join(process.cwd(), 'mcp-gateway.yaml')
  let file: { name: string; text: string } | undefined
  try {
    file = { name, text: await readFile(name, 'utf8') }
  } catch (error) {
    // The file in the working directory is optional, but a file that is named must exist.
    if (named !== undefined) throw new ConfigError([`${named}: ${whyUnread(error)} (MCPGW_CONFIG)`])
  }
  return loadConfig(defined({ file, environment: process.env }))
}

function whyUnread(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error ? error.code : undefined
  return code === 'ENOENT' ? 'the file does not exist' : error.message
}

function withoutSecrets({ sessions, secrets, audit, store, ...config }: Config): object {
  const hidden = (values: object): object =>
    Object.fromEntries(Object.keys(values).map((name) => [name, '[secret]']))
  const sinks = audit.sinks?.map((sink) =>
    sink.type === 'otlp' ? { ...sink, headers: hidden(sink.headers) } : sink,
  )
  const url = store.url === undefined ? undefined : maskPostgresUrl(store.url)
  const masked = (keys: readonly string[]): string[] => keys.map(() => '[secret]')

  return {
    ...config,
    sessions: { keys: masked(sessions.keys) },
    secrets: { ...secrets, keys: masked(secrets.keys) },
    store: { ...store, ...defined({ url }) },
    audit: { ...audit, ...defined({ sinks }) },
  }
}

async function verifyAudit(
  [file, ...more]: readonly string[],
  head: string | undefined,
): Promise<number> {
  if (file === undefined || more.length > 0)
    return say(`audit verify takes one file.\n\n${usage}`, 2)

  const { files, records, first, head: last, faults, notes } = await verifyLog(file, head)
  const summary =
    `${records} records in ${files.length} ` +
    `${files.length === 1 ? 'file' : 'files'}, ` +
    `${first} to ${last.seq}; the last has the hash ${last.hash}`
  const report = [
    ...notes.map((note) => `note   ${note}`),
    ...faults.map((fault) => `FAULT  ${fault}`),
    summary,
  ]

  return say(
    `${report.join('\n')}\n${faults.length === 0 ? 'The log is in order.' : 'The log is not in order.'}\n`,
    faults.length === 0 ? 0 : 1,
  )
}

/**
 * Creates keys for the `sessions.keys` and `secrets.keys` of all processes. The command never shows
 * them.
 */
async function createKeys(
  { runtime }: Config,
  [name, ...more]: readonly string[],
): Promise<number> {
  if (name === undefined || more.length > 0)
    return say(`keys create takes the name of one Secret.\n\n${usage}`, 2)
  const key = (): string => randomBytes(32).toString('base64')
  const made = await createSecret(runtime.kubernetes, name, { sessions: key(), secrets: key() })
  return say(
    made ? `The Secret ${name} was made.\n` : `The Secret ${name} is there, and stays as it is.\n`,
  )
}

function say(text: string, code = 0): number {
  ;(code === 0 ? process.stdout : process.stderr).write(text)
  return code
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`${describe(error)}\n`)
    process.exitCode = 1
  },
)
