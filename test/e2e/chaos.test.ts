import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  familyOf,
  freePort,
  GatewayProcess,
  killAll,
  PostgresServer,
  processesWith,
  programs,
  skipNote,
} from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { chaos } from '../chaos/chaos.ts'
import type { Site, Target } from '../chaos/site.ts'

// One of many processes is killed every ten seconds, under clients of both eras.

const { CHAOS_SECONDS = '60', CHAOS_SEED = '1' } = process.env
const seconds = Number(CHAOS_SECONDS)
const path = '/servers/chaos/mcp'
const program = (name: string): string =>
  fileURLToPath(new URL(`../chaos/${name}.mjs`, import.meta.url))
/** In the command line of every member, so that the test finds its processes. */
const tag = `chaos-${process.pid}`
const counting = ['a', 'b', 'c', 'd', 'e']
const note = skipNote(PostgresServer.missing)

/** A process that starts again whenever it ends. */
class Kept implements Disposable {
  #pid = -1
  #ended: Promise<unknown> = Promise.resolve()
  #stopped = false
  readonly #start: () => ReturnType<typeof spawn>

  constructor(words: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#start = () =>
      spawn(process.execPath, [...words], {
        env: { ...process.env, ...environment },
        stdio: 'ignore',
      })
    this.#run()
  }

  async kill(): Promise<void> {
    process.kill(this.#pid, 'SIGKILL')
    await this.#ended
  }

  [Symbol.dispose](): void {
    this.#stopped = true
    process.kill(this.#pid, 'SIGKILL')
  }

  #run(): void {
    if (this.#stopped) return
    const child = this.#start()
    this.#pid = child.pid ?? -1
    this.#ended = once(child, 'exit')
    void this.#ended.then(() => this.#run())
  }
}

const opened: (AsyncDisposable | Disposable)[] = []
let gateways: GatewayProcess[] = []
let toolGateways: GatewayProcess[] = []
let remote: Kept
let counter = ''

/** Two gateways over one database, each with members of its own, and two tool gateways. */
async function startGateways(database: string): Promise<void> {
  const sessions = { keys: [randomBytes(32).toString('base64')] }
  const ports = await Promise.all(Array.from({ length: 4 }, freePort))
  const origins = ports.map((port) => `http://127.0.0.1:${port}`)
  const keys = randomBytes(32).toString('base64')
  const shared = { MCPGW_SECRETS_KEYS: keys, MCPGW_STORE_URL: database }
  const start = (index: number, config: object, more: object = {}): Promise<GatewayProcess> =>
    GatewayProcess.start({
      config: { sessions, ...config },
      environment: { MCPGW_PORT: String(ports[index]), ...more },
    })
  const gateway = (name: string, peer: string, at: number): object => ({
    cluster: { name, peers: { [peer]: origins[at] } },
    tools: { gateways: { three: origins[2], four: origins[3] } },
    runtime: {
      images: {
        legacy: { command: [process.execPath, program('member1'), 'http', tag] },
        modern: { command: [process.execPath, program('member2'), 'http', tag] },
      },
    },
  })
  const toolGateway = (name: string): object => ({
    role: 'tool-gateway',
    cluster: { name },
    tools: { followed: origins.slice(0, 2), endpointNetworks: ['127.0.0.0/8'] },
  })
  const all = await Promise.all([
    start(0, gateway('one', 'two', 1), shared),
    start(1, gateway('two', 'one', 0), shared),
    start(2, toolGateway('three')),
    start(3, toolGateway('four')),
  ])
  opened.push(...all)
  gateways = all.slice(0, 2)
  toolGateways = all.slice(2)
}

async function register(): Promise<void> {
  const [gateway] = gateways as [GatewayProcess]
  const post = async (kind: string, body: object): Promise<void> => {
    const answer = await gateway.api('POST', `/${kind}`, { imageVersion: '1', ...body })
    expect(answer).toMatchObject({ status: 201 })
  }
  const http = { environmentVariables: { COUNTER: counter } }
  const stdio = (name: string, alias: string): object => ({
    imageName: 'mcp-proxy',
    environmentVariables: {
      COUNTER: counter,
      MCP_COMMAND: process.execPath,
      MCP_ARGS: `'${program(name)}' stdio ${tag}-${alias}`,
    },
  })
  await post('adapters', { name: 'a', ...stdio('member1', 'a') })
  await post('adapters', { name: 'b', imageName: 'legacy', ...http })
  await post('adapters', { name: 'c', ...stdio('member2', 'c') })
  await post('adapters', { name: 'd', imageName: 'modern', ...http })
  const port = String(await freePort())
  remote = new Kept([program('member2'), 'http', `${tag}-remote`], {
    COUNTER: counter,
    HOST: '127.0.0.1',
    PORT: port,
  })
  opened.push(remote)
  const moved = await gateway.api('POST', '/adapters', {
    name: 'e',
    endpoint: `http://127.0.0.1:${port}/mcp`,
  })
  expect(moved).toMatchObject({ status: 201 })
  const tool = { name: 'where', annotations: { readOnlyHint: true } }
  const created = await gateway.api('POST', '/tools', {
    name: 'where',
    endpoint: `${counter}/tool`,
    toolDefinition: { tool },
  })
  expect(created).toMatchObject({ status: 201 })
  const members = [
    ...counting.map((adapter) => ({ adapter, alias: adapter })),
    { tool: 'where', alias: 'f' },
  ]
  expect((await gateway.api('PUT', '/servers/chaos', { members })).status).toBe(201)
}

async function startService(): Promise<void> {
  const service = spawn(process.execPath, [program('service')], {
    env: { ...process.env, HOST: '127.0.0.1', PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  opened.push({ [Symbol.dispose]: () => void service.kill('SIGKILL') })
  const [line] = (await once(service.stdout.setEncoding('utf8'), 'data')) as [string]
  counter = line.trim()
}

async function untilReady(gateway: GatewayProcess): Promise<void> {
  const states = async (): Promise<unknown> => {
    const { body } = await gateway.api('GET', '/servers/chaos/status')
    return (body as { members?: { state: string }[] }).members?.map(({ state }) => state)
  }
  await vi.waitFor(async () => expect(await states()).toEqual(Array(6).fill('Ready')), 90_000)
}

beforeAll(async () => {
  if (PostgresServer.missing !== undefined) return
  const database = await PostgresServer.start()
  opened.push(database)
  await startService()
  await startGateways(database.createDatabase('chaos'))
  await register()
  await Promise.all(gateways.map(untilReady))
})

afterAll(async () => {
  for (const each of opened.toReversed())
    if (Symbol.asyncDispose in each) await each[Symbol.asyncDispose]()
    else each[Symbol.dispose]()
})

/** Kills the processes of a gateway that these words name, and waits until they are gone. */
async function killOf(gateway: GatewayProcess, wanted: readonly number[]): Promise<void> {
  const family = familyOf(gateway.pid)
  const pids = wanted.filter((pid) => family.includes(pid))
  expect(pids).not.toEqual([])
  killAll(pids)
}

/** The bridges whose servers have these words in their command line. */
const bridgesOf = (words: string): number[] => {
  const servers = new Set(processesWith(words))
  return processesWith(programs.bridge).filter((pid) =>
    familyOf(pid).some((each) => servers.has(each)),
  )
}

function targets(): Target[] {
  const restart = async (gateway: GatewayProcess): Promise<void> => {
    await gateway.end('SIGKILL')
    void gateway.startAgain()
  }
  const each = (kind: string, alias: string, find: () => number[]): Target[] =>
    gateways.map((gateway, index) => ({
      kind,
      name: `${kind} of ${alias} at gateway ${index + 1}`,
      aliases: [alias],
      origins: [gateway.origin],
      replaces: true,
      kill: () => killOf(gateway, find()),
    }))
  const origins = gateways.map(({ origin }) => origin)
  const common = { aliases: [...counting, 'f'], replaces: false }
  return [
    ...each('server', 'b', () => processesWith(`${program('member1')} http ${tag}`)),
    ...each('server', 'd', () => processesWith(`${program('member2')} http ${tag} `)),
    ...gateways.map((gateway, index) => ({
      ...common,
      kind: 'gateway',
      name: `gateway ${index + 1}`,
      origins: [gateway.origin],
      kill: () => restart(gateway),
    })),
    ...['a', 'c'].flatMap((alias) =>
      each('bridge child', alias, () => processesWith(`${tag}-${alias}`)),
    ),
    ...toolGateways.map((gateway, index) => ({
      kind: 'tool gateway',
      name: `tool gateway ${index + 1}`,
      aliases: ['f'],
      replaces: false,
      origins,
      kill: () => restart(gateway),
    })),
    ...['a', 'c'].flatMap((alias) => each('bridge', alias, () => bridgesOf(`${tag}-${alias}`))),
    {
      kind: 'remote server',
      name: 'remote server',
      aliases: ['e'],
      replaces: true,
      origins,
      kill: () => remote.kill(),
    },
  ]
}

const site = (): Site => ({
  origins: gateways.map(({ origin }) => origin),
  path,
  aliases: [...counting, 'f'],
  counting,
  targets: targets(),
  increment: async () => Number(await (await fetch(`${counter}/count`, { method: 'POST' })).text()),
})

describe.skipIf(PostgresServer.missing !== undefined)(`chaos${note}`, () => {
  test(
    'no idempotent call fails and no update is lost while processes are killed',
    { retry: 0, timeout: seconds * 2000 + 120_000 },
    async () => {
      const ledger = await chaos(site(), { seconds, seed: Number(CHAOS_SEED) })
      console.log(`figures: chaos: ${JSON.stringify(ledger.figures)}`)
      expect(ledger.failures).toEqual([])
      expect(ledger.lostUpdates).toEqual([])
      expect(ledger.sessionsEnded).toBe(0)
    },
  )
})
