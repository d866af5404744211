import { spawn, type ChildProcess } from 'node:child_process'
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AdapterStatus } from '@mcp-gateway/contract'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { hasEnded } from './has-ended.ts'
import { programs } from './programs.ts'

export interface GatewayOptions {
  readonly dataDir?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly config?: unknown
  /** The command line. Unset: the gateway that was built here. */
  readonly command?: readonly [string, ...string[]]
  /**
   * The user of the process. Unset: the user of the tests. The data folder then belongs to this
   * user.
   */
  readonly user?: number
  /** Descriptors that the process inherits, from 40 on: Node.js passes on none of the lowest. */
  readonly inherits?: readonly number[]
}

/** A real gateway process with its own data folder. Disposing stops it and removes the folder. */
export class GatewayProcess implements AsyncDisposable {
  readonly dataDir: string
  readonly #options: GatewayOptions
  #child: ChildProcess
  #origin = ''
  #output = ''

  private constructor(options: GatewayOptions, port: number) {
    this.#options = options
    this.dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'mcpgw-e2e-'))
    this.#child = this.#spawn(port)
  }

  static async start(options: GatewayOptions = {}): Promise<GatewayProcess> {
    const gateway = new GatewayProcess(options, await freePort())
    await gateway.#untilReady()
    return gateway
  }

  get origin(): string {
    return this.#origin
  }

  /** The text on standard output and standard error. */
  get output(): string {
    return this.#output
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  /** Sends a request to the REST API and reads the answer. */
  async api(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ status: number; headers: Headers; body: unknown }> {
    const response = await fetch(this.#origin + path, {
      method,
      headers: {
        ...(body === undefined
          ? {}
          : {
              'content-type':
                method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
            }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
    })

    const text = await response.text()
    const json = /json/.test(response.headers.get('content-type') ?? '')
    return {
      status: response.status,
      headers: response.headers,
      body: json ? JSON.parse(text) : text,
    }
  }

  /** Waits for the wanted status of an adapter. Rejects with the last status seen. */
  async untilStatus(
    name: string,
    wanted: (status: AdapterStatus) => boolean,
    timeoutMs = 30_000,
  ): Promise<AdapterStatus> {
    const end = Date.now() + timeoutMs
    for (;;) {
      const { body } = await this.api('GET', `/adapters/${name}/status`)
      if (wanted(body as AdapterStatus)) return body as AdapterStatus
      if (Date.now() > end)
        throw new Error(
          `The status of ${name} did not come to what was wanted: ${JSON.stringify(body)}`,
        )
      await sleep(50)
    }
  }

  /** Ends the process with a signal and resolves with its exit code once it has ended. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (hasEnded(this.#child)) return this.#child.exitCode
    const exit = new Promise<number | null>((resolve) =>
      this.#child.once('exit', (code) => resolve(code)),
    )
    this.#child.kill(signal)
    return exit
  }

  /** Starts the process again, after its end, on the same data folder and port. */
  async startAgain(): Promise<void> {
    this.#child = this.#spawn(Number(new URL(this.#origin).port))
    await this.#untilReady()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGTERM')
    if (this.#options.dataDir === undefined) rmSync(this.dataDir, { recursive: true, force: true })
  }

  #spawn(port: number): ChildProcess {
    const config = join(this.dataDir, 'mcp-gateway.yaml')
    const { user, command = [process.execPath, programs.gateway] } = this.#options
    if (user !== undefined) chownSync(this.dataDir, user, user)

    // JSON is valid YAML.
    writeFileSync(config, JSON.stringify(this.#options.config ?? {}))
    this.#output = ''
    const [program, ...args] = command

    const child = spawn(program, args, {
      env: {
        ...process.env,
        // Servers in these tests read files of the user who runs the tests.
        MCPGW_RUNTIME_SANDBOX: 'none',
        MCPGW_PORT: String(port),
        MCPGW_DATA_DIR: this.dataDir,
        MCPGW_CONFIG: config,
        ...this.#options.environment,
      },
      stdio: [
        'ignore',
        'pipe',
        'pipe',
        ...Array.from({ length: 37 }, () => 'ignore' as const),
        ...(this.#options.inherits ?? []),
      ],
      ...(user === undefined ? {} : { uid: user, gid: user }),
    })

    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    return child
  }

  async #untilReady(): Promise<void> {
    const end = Date.now() + 60_000
    for (;;) {
      // Match the whole line, because output may come in pieces.
      const address = /address +(http:\S+)\s/.exec(this.#output)?.[1]
      if (address !== undefined) {
        this.#origin = address
        return
      }
      if (hasEnded(this.#child) || Date.now() > end)
        throw new Error(`The gateway did not start:\n${this.#output}`)
      await sleep(10)
    }
  }
}

/** Ids of the living processes whose command line contains a text. */
export function processesWith(text: string): number[] {
  return processTable()
    .filter(({ command }) => command.includes(text))
    .map(({ pid }) => pid)
}

/** Kills processes at once. A process that has ended by then is no fault. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids)
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
}

/** The process with this id and everything that descends from it. */
export function familyOf(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const { pid: child, parent } of processTable())
    children.set(parent, [...(children.get(parent) ?? []), child])
  const family = [pid]

  for (const member of family) family.push(...(children.get(member) ?? []))
  return family
}

function processTable(): {
  readonly pid: number
  readonly parent: number
  readonly command: string
}[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [
          {
            pid: Number(name),
            // The name of the program, in brackets, may hold anything.
            parent: Number(
              readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1],
            ),
            command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '),
          },
        ]
      } catch {
        return []
      }
    })
}
