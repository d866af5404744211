import { openApp } from '../app.ts'
import type { AppOptions } from '../compose/composition.ts'
import type { Config } from '../config/config.ts'
import { runDemo } from '../demo.ts'
import { createLog } from '../telemetry/log.ts'
import { openToolGateway } from '../tool-gateway.ts'

/**
 * npm repeats a Ctrl-C to its child, and the terminal has sent the signal to both already. Within
 * this time, both signals are one key press.
 */
const sameKeyPressMs = 1000

export interface ServeOptions extends Pick<AppOptions, 'environment' | 'version'> {
  /** Registers the samples, and calls them. */
  readonly demo: boolean
}

/**
 * Runs until the first SIGINT or SIGTERM, then drains. A second signal ends the process at once.
 */
export async function serve(
  config: Config,
  { demo, environment, version }: ServeOptions,
): Promise<number> {
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
    environment,
    version,
    signal: stop.signal,
  }).catch((error: unknown) => {
    if (stop.signal.aborted) return undefined
    throw explained(error, config)
  })
  if (app === undefined) return 0

  process.stdout.write(banner(app.origin, config, version))
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

function banner(origin: string, config: Config, version: string): string {
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
