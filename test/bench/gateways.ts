import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, programs } from '@mcp-gateway/testkit'
import type { Client } from './load.ts'
import { Measured } from './processes.ts'
import { register } from './requests.ts'

/** The folder of a run's files. The end of the run removes it. */
export const folder = mkdtempSync(join(tmpdir(), 'mcpgw-bench-'))

/** An MCP endpoint, and the process whose processor time counts. */
export interface Subject {
  readonly url: string
  readonly pid: number
  readonly parts: readonly Measured[]
  /** Processes beside `pid` whose time counts too. */
  readonly also?: readonly number[]
  /** The client of the load; a client of 2025-11-25 by default. */
  readonly client?: Client
  /** The numbers of connections to measure; all by default. */
  readonly levels?: readonly number[]
}

export const node = process.execPath
export const gatewayConfig = join(folder, 'gateway.yaml')
writeFileSync(
  gatewayConfig,
  JSON.stringify({ runtime: { images: { echo: { command: [node, programs.echoHttp] } } } }),
)

export async function start(
  command: readonly string[],
  environment: Record<string, string>,
  port: number,
): Promise<Measured> {
  const process = new Measured(command, environment)
  await process.untilListening(port)
  return process
}

export async function startEcho(): Promise<{ echo: Measured; port: number }> {
  const port = await freePort()
  return { echo: await start([node, programs.echoHttp], { PORT: String(port) }, port), port }
}

/** How a gateway starts that differs from all others. */
export interface Start {
  readonly dataDir?: string
  readonly environment?: Readonly<Record<string, string>>
  /** Headers of the caller who registers. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Starts a gateway. Gives its endpoint of an adapter `echo`, if there is one. */
export async function startGateway(
  adapter?: unknown,
  { dataDir = mkdtempSync(join(folder, 'data-')), environment = {}, headers = {} }: Start = {},
): Promise<Subject> {
  const port = await freePort()
  const gateway = await start(
    [node, programs.gateway],
    {
      MCPGW_PORT: String(port),
      MCPGW_DATA_DIR: dataDir,
      MCPGW_CONFIG: gatewayConfig,
      ...environment,
    },
    port,
  )
  const url = `http://127.0.0.1:${port}/adapters/echo/mcp`
  if (adapter !== undefined) await register(url, '/adapters', adapter, headers)
  return { url, pid: gateway.pid, parts: [gateway] }
}

export const echoAdapter = { name: 'echo', imageName: 'echo', imageVersion: '1.0.0' }
