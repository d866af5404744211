import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort, type GatewayProcess, hasEnded, quoted } from '@mcp-gateway/testkit'
import { observe, type Outcome } from './behaviours.ts'
import { clients, type ClientKind, type Peer, type Target } from './clients.ts'
import { behaviours, type Behaviour, type Server } from './servers.ts'

/** The outcome of a behaviour through the gateway, beside its outcome without a gateway. */
export interface Cell {
  readonly server: Server
  readonly client: ClientKind
  readonly behaviour: Behaviour
  readonly outcome: Outcome
  readonly direct: Outcome
  /** True if the gateway had to translate. */
  readonly translated: boolean
}

/** Registers a server with the gateway under its name. */
export async function register(
  gateway: GatewayProcess,
  { name, transport, command, environment }: Server,
): Promise<void> {
  const { status, body } = await gateway.api('POST', '/adapters', {
    name,
    imageVersion: '1.0.0',
    ...(transport === 'HTTP'
      ? { imageName: name, environmentVariables: environment }
      : {
          imageName: 'mcp-proxy',
          environmentVariables: {
            MCP_COMMAND: command[0],
            MCP_ARGS: quoted(command.slice(1)),
            ...environment,
          },
        }),
  })
  if (status !== 201) throw new Error(`${name} was not registered: ${JSON.stringify(body)}`)
}

/**
 * Runs every client with one server: through the gateway, and directly where they share an era.
 * Clients run in turn, because each changes the server. Tasks run at once: they take long and
 * change nothing.
 */
export async function cellsOf(
  gateway: GatewayProcess,
  server: Server,
  folder: string,
): Promise<Cell[]> {
  const url = `${gateway.origin}/adapters/${server.name}/mcp`
  const log = async (): Promise<string> =>
    String((await gateway.api('GET', `/adapters/${server.name}/logs`)).body)
  const direct = await Direct.start(server)
  const alone = await runs(
    clients.filter(
      (client) => speaks(client, server) && (client.does === undefined || client.eras !== 'auto'),
    ),
    server,
    direct.target,
    direct.log,
    folder,
  )
  await direct.stop()
  const through = await runs(clients, server, { url }, log, folder)
  return through.flatMap(({ client, era, outcomes }) => {
    const same = alone.find((run) => run.client === client && run.era === era)
    const native = alone.find(
      (run) =>
        (run.client.does === undefined) === (client.does === undefined) &&
        (server.era === 'dual' || run.era === server.era),
    )
    return [...outcomes].map(([behaviour, outcome]) => ({
      server,
      client,
      behaviour,
      outcome,
      direct: (same ?? native)?.outcomes.get(behaviour) ?? {
        failed: 'was not tried without the gateway',
      },
      translated: same === undefined,
    }))
  })
}

function speaks({ eras }: ClientKind, { era }: Server): boolean {
  return era === 'dual' || eras === 'auto' || eras === era
}

interface Run {
  readonly client: ClientKind
  /** The era of the client. */
  readonly era: 'legacy' | 'modern'
  readonly outcomes: Map<Behaviour, Outcome>
}

async function runs(
  kinds: readonly ClientKind[],
  { offers }: Server,
  target: Target,
  log: (() => Promise<string>) | undefined,
  folder: string,
): Promise<Run[]> {
  // Clients give servers that do not end with their input two seconds.
  const closing: Promise<void>[] = []
  const run = async (client: ClientKind, wanted: readonly Behaviour[]): Promise<Run> => {
    const outcomes = new Map<Behaviour, Outcome>()
    const does = wanted.filter(
      (behaviour) =>
        (behaviour === 'list tools' || offers[behaviour] !== undefined) &&
        client.does?.has(behaviour) !== false,
    )
    let peer: Peer
    try {
      peer = await client.connect(target, folder)
    } catch (error) {
      for (const behaviour of does)
        outcomes.set(behaviour, { failed: `It could not connect: ${String(error)}` })
      return { client, era: client.eras === 'legacy' ? 'legacy' : 'modern', outcomes }
    }
    const view = {
      peer,
      name: client.name,
      serverLog: log ?? (async () => peer.stderr()),
      calls: client.does === undefined ? Infinity : 1,
    }
    const observed = async (behaviour: Behaviour): Promise<void> =>
      void outcomes.set(behaviour, await observe(behaviour, offers, view))
    // A client that connects for every command sees no changes of earlier behaviours.
    if (client.does !== undefined) await Promise.all(does.map(observed))
    else for (const behaviour of does) await observed(behaviour)
    closing.push(peer.close())
    return { client, era: peer.era, outcomes }
  }
  const quick: Run[] = []
  for (const client of kinds)
    quick.push(
      await run(
        client,
        behaviours.filter((behaviour) => behaviour !== 'run a task'),
      ),
    )
  const slow =
    offers['run a task'] === undefined
      ? []
      : await Promise.all(kinds.map((client) => run(client, ['run a task'])))
  await Promise.all(closing)
  return quick.map((each, index) => ({
    ...each,
    outcomes: new Map([...each.outcomes, ...(slow[index]?.outcomes ?? [])]),
  }))
}

/** A server without a gateway. On stdio every client starts its own. */
class Direct {
  readonly target: Target
  /** Gives the output of a server that this process started. */
  readonly log: (() => Promise<string>) | undefined
  readonly stop: () => Promise<unknown>

  private constructor(
    target: Target,
    log?: () => Promise<string>,
    stop: () => Promise<unknown> = async () => undefined,
  ) {
    this.target = target
    this.log = log
    this.stop = stop
  }

  static async start({
    transport,
    command: [program = '', ...words],
    environment,
  }: Server): Promise<Direct> {
    if (transport === 'stdio') return new Direct({ command: [program, ...words], environment })
    const port = await freePort()
    const child = spawn(program, words, {
      env: { ...process.env, ...environment, HOST: '127.0.0.1', PORT: String(port) },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const exit = once(child, 'exit')
    let written = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (written += text))
    const url = `http://127.0.0.1:${port}/mcp`
    for (let tries = 0; !(await answers(url)); tries += 1) {
      if (tries > 3000 || hasEnded(child)) throw new Error(`The server did not start: ${written}`)
      await sleep(20)
    }
    return new Direct(
      { url },
      async () => written,
      () => {
        child.kill('SIGKILL')
        return exit
      },
    )
  }
}

async function answers(url: string): Promise<boolean> {
  return fetch(url, { method: 'DELETE' }).then(
    () => true,
    () => false,
  )
}
