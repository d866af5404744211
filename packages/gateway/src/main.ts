#!/usr/bin/env node
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { verifyAudit } from './commands/audit.ts'
import { printConfig } from './commands/config.ts'
import { createKeys } from './commands/keys.ts'
import { say, usage } from './commands/say.ts'
import { serve } from './commands/serve.ts'
import { copyRecords, migrateStore, rotateSecrets } from './commands/store.ts'
import type { Config } from './config/config.ts'
import { configJsonSchema, ConfigError, loadConfig } from './config/load.ts'
import { defined } from './lib/defined.ts'

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
  if (command === 'config print') return printConfig(config)
  if (command === 'store migrate') return await migrateStore(config)
  if (command === 'store copy') return await copyRecords(config, values)
  if (command === 'secrets rotate') return await rotateSecrets(config)

  return await serve(config, { demo: values.demo, environment: process.env, version })
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

/** A stack trace helps only if the program is at fault. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const ourFault =
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
  return ourFault ? (error.stack ?? error.message) : error.message
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

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`${describe(error)}\n`)
    process.exitCode = 1
  },
)
