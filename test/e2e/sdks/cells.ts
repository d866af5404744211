import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort, type GatewayProcess, hasEnded, quoted } from '@mcp-gateway/testkit'
import type { SdkClient, SdkServer } from './languages.ts'

/** The steps of a client with a server, and the expected result of each. */
export const expected = {
  connect: /^(2026-07-28|2025-11-25|2025-06-18)$/,
  list: /^add,ask,change,work$/,
  call: /^5$/,
  work: /^done$/,
  progress: /^1,2$/,
  log: /^working$/,
  ask: /^Hello Ada$/,
  read: /^a note$/,
  // Clients that run at the same time hear of each other's changes.
  subscribe: /^note:\/\/shared(,note:\/\/shared)*$/,
  prompt: /^Greet Ada$/,
  close: /^closed$/,
} as const
export type Step = keyof typeof expected
export const steps = Object.keys(expected) as readonly Step[]

/** The words of a client about each step. */
export type Seen = ReadonlyMap<Step, string>
/** The place of a server for a client. */
export type Place = { readonly url: string } | { readonly command: readonly string[] }

/** One client with one server: without a gateway, and through it. */
export interface Cell {
  readonly client: SdkClient
  readonly server: SdkServer
  readonly direct: Seen
  readonly through: Seen
}

export function works(seen: Seen, step: Step): boolean {
  const does = (which: Step): boolean => expected[which].test(seen.get(which) ?? '')
  return does('connect') && does(step)
}

/** Runs one client program. It does every step with every target, in turn. */
export async function run(
  { command: [program = '', ...words], era }: SdkClient,
  targets: readonly Place[],
): Promise<Seen[]> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'ignore'] })
  const seen = targets.map(() => new Map<Step, string>())
  const exited = once(child, 'exit')
  child.stdin.end(
    JSON.stringify(targets.map((target, index) => ({ name: String(index), era, ...target }))),
  )
  for await (const line of createInterface(child.stdout)) {
    const said = JSON.parse(line) as { job: string; step: Step; saw?: string; failed?: string }
    seen[Number(said.job)]?.set(said.step, said.saw ?? `FAILED: ${said.failed}`)
  }
  await exited
  return seen
}

/** Registers a server with the gateway under its name, and gives its URL there. */
export async function register(
  gateway: GatewayProcess,
  server: SdkServer,
  name = server.name,
): Promise<string> {
  const { transport, command } = server
  const { status, body } = await gateway.api('POST', '/adapters', {
    name,
    imageVersion: '1',
    ...(transport === 'HTTP'
      ? { imageName: server.name }
      : {
          imageName: 'mcp-proxy',
          environmentVariables: {
            MCP_COMMAND: command[0],
            MCP_ARGS: quoted(command.slice(1)),
          },
        }),
  })
  if (status !== 201) throw new Error(`${name} was not registered: ${JSON.stringify(body)}`)
  return `${gateway.origin}/adapters/${name}/mcp`
}

/** Starts a server without a gateway. On stdio every client starts its own. */
export async function startDirect(
  server: SdkServer,
): Promise<{ readonly target: Place; readonly stop: () => Promise<unknown> }> {
  const { transport, command } = server
  if (transport === 'stdio') return { target: { command }, stop: async () => undefined }
  const port = await freePort()
  const [program = '', ...words] = command
  const child = spawn(program, words, {
    env: { ...process.env, HOST: '127.0.0.1', PORT: String(port) },
    stdio: 'ignore',
  })
  const url = `http://127.0.0.1:${port}/mcp`
  await untilUp(url, child)
  const exited = once(child, 'exit')
  return { target: { url }, stop: () => (child.kill('SIGKILL'), exited) }
}

async function untilUp(url: string, child: ChildProcess): Promise<void> {
  const isUp = (): Promise<boolean> =>
    fetch(url, { method: 'DELETE' }).then(
      () => true,
      () => false,
    )
  for (let tries = 0; !(await isUp()); tries += 1) {
    if (tries > 1500 || hasEnded(child)) throw new Error(`No server came up at ${url}.`)
    await sleep(20)
  }
}
