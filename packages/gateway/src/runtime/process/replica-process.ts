import { spawn, type ChildProcess } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { constants } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endMarked, lastWords, newMark, type WardenOptions } from '@mcp-gateway/warden'
import type { ProgramConfig } from '../../config/config.ts'
import type { Replica, ReplicaPhase } from '../../core/workload.ts'
import { spreadBackoffMs } from '../../lib/async/backoff.ts'
import { defined } from '../../lib/defined.ts'
import { LineCutter } from '../../lib/line-cutter.ts'
import type { ListeningSockets, LocalSocket } from '../../lib/net/socket-owner.ts'
import { timeoutOr } from '../../lib/async/timeout-signal.ts'
import type { Log } from '../../telemetry/log.ts'
import type { LogBuffer, ReplicaLogs } from './log-buffer.ts'
import { held, type ControlGroup, type ControlGroups } from './control-groups.ts'
import { mustBeExecutable } from './executable.ts'
import { watchHealth, type Ailment, type HealthSettings } from './health.ts'
import type { OutputPace } from './output-pace.ts'
import { givePortBack, takePort } from './ports.ts'
import { monotonicNow } from '../../lib/clock.ts'
import type { Launch, Start } from './launch.ts'

export interface ReplicaOptions {
  readonly name: string
  readonly index: number
  readonly program: ProgramConfig
  /** Called for each start, with that start's variables and mark. @throws Error */
  readonly launch: (own: Pick<Start, 'environment' | 'marks'>) => Launch
  /**
   * Tells whether a socket belongs to the replica's process `pid`. Undefined: accept any socket.
   */
  readonly belongs: ((socket: LocalSocket, pid: number) => boolean | Promise<boolean>) | undefined
  /** Finds the process that listens on a port of this machine. */
  readonly listening: ListeningSockets
  /** Holds the replica's processes together; undefined where the machine has no control groups. */
  readonly groups: ControlGroups | undefined
  readonly host: string
  readonly startTimeoutMs: number
  readonly stopGraceMs: number
  readonly backoff: {
    readonly firstSeconds: number
    readonly maxSeconds: number
    /** A run of this length resets the back-off. */
    readonly resetAfterSeconds: number
  }
  readonly health: HealthSettings
  /** Replacements for descriptors that the gateway inherited, from the fourth on. */
  readonly covers: readonly ('ignore' | number)[]
  /** Limits how fast the gateway reads the replica's output. */
  readonly pace: OutputPace
  /** Receives the output. Lives on when the replica is replaced. */
  readonly logs: ReplicaLogs
  readonly log: Log
  /** Called when something that `snapshot` shows has changed. */
  readonly changed: () => void
}

type LastExit = NonNullable<Replica['lastExit']>

/** The end of one instance, in words for people. */
interface Ending {
  readonly reason: string
  readonly message: string
  /** Text that may hold secrets: see `Replica`. */
  readonly output?: string | undefined
  /** Paths of the machine: see `Replica`. */
  readonly internals?: string | undefined
  readonly lastExit: Omit<LastExit, 'at'>
  /** Milliseconds for which the instance was ready. */
  readonly readyMs: number
  /** Another process had the port; the replica may start with another port. */
  readonly portTaken: boolean
}

interface Exit {
  readonly code?: number
  readonly signal?: string
  readonly error?: NodeJS.ErrnoException
}

/** A process of the replica. */
interface Instance {
  readonly child: ChildProcess
  readonly port: number
  /** Name and value of the variable by which its processes are found. */
  readonly mark: string
  readonly launch: Launch
  readonly group: ControlGroup | undefined
}

/** One instance, from its start to its end. */
interface Run {
  readonly exit: Exit
  readonly logs: LogBuffer
  readonly tooLate: Ailment | 'StartTimeout' | undefined
  readonly readyMs: number
  readonly wasReady: boolean
}

/**
 * Keeps one replica running as a process: starts it, probes it, restarts it with back-off, and ends
 * it with all processes that it forked.
 */
export class ReplicaProcess {
  readonly index: number
  readonly name: string
  readonly #options: ReplicaOptions
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  #sweep: Promise<boolean> | undefined
  #phase: ReplicaPhase = 'pending'
  #origin: string | undefined
  #startedAt: number | undefined
  #restarts = 0
  #reason: string | undefined
  #message: string | undefined
  #output: string | undefined
  #internals: string | undefined
  #lastExit: LastExit | undefined
  /** Inodes of the sockets on which the process takes calls. */
  #ownSockets: ReadonlySet<string> = new Set()

  constructor(options: ReplicaOptions) {
    this.#options = options
    this.index = options.index
    this.name = options.name
    this.#running = this.#run()
  }

  get ready(): boolean {
    return this.#phase === 'ready'
  }

  snapshot(generation: number): Replica {
    return defined({
      name: this.name,
      index: this.index,
      phase: this.#phase,
      path: this.#options.program.path,
      generation,
      restarts: this.#restarts,
      origin: this.#origin,
      startedAt: this.#startedAt,
      reason: this.#reason,
      message: this.#message,
      output: this.#output,
      internals: this.#internals,
      lastExit: this.#lastExit,
    })
  }

  /**
   * Takes the replica out of use at once, and resolves when its process and all that it forked are
   * gone. `sweep` ends all marked processes at once, which costs less than one by one.
   */
  async stop(sweep?: Promise<boolean>): Promise<void> {
    if (!this.#stop.signal.aborted) {
      this.#sweep = sweep
      this.#set('terminating', 'Stopping')
      this.#stop.abort()
    }
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { backoff, log } = this.#options
    const steps = { firstMs: backoff.firstSeconds * 1000, maxMs: backoff.maxSeconds * 1000 }
    let failures = 0
    let otherPorts = 0

    while (!signal.aborted) {
      const ending = await this.#runOnce()
      if (signal.aborted) break

      this.#restarts += 1
      this.#lastExit = { at: new Date().toISOString(), ...ending.lastExit }

      if (ending.portTaken && otherPorts < 3) {
        otherPorts += 1
        this.#set(
          'starting',
          'PortTaken',
          'Somebody else took its port. It is being started with another one.',
        )
        continue
      }

      failures = ending.readyMs > backoff.resetAfterSeconds * 1000 ? 1 : failures + 1
      const wait = Math.round(spreadBackoffMs(steps, failures))
      log.warn(
        defined({
          replica: this.name,
          reason: ending.reason,
          detail: ending.internals,
          waitMs: wait,
        }),
        'replica ended, starting it again',
      )

      this.#set(
        'backoff',
        ending.reason,
        `${sentence(ending.message)} Next start in ${(wait / 1000).toFixed(1)} s.`,
        ending,
      )

      await sleep(wait, undefined, { signal }).catch(() => undefined)
      // The last reason holds until the replica is ready.
      if (!signal.aborted)
        this.#set(
          'starting',
          ending.reason,
          `${sentence(ending.message)} It is being started again.`,
          ending,
        )
    }

    this.#set('terminating', 'Stopping')
  }

  /** Runs one instance from start to end. Never rejects: a failed start is an ending, too. */
  async #runOnce(): Promise<Ending> {
    const { host } = this.#options
    let port: number | undefined
    let group: ControlGroup | undefined

    try {
      port = await takePort(host)
      if (this.#stop.signal.aborted) return this.#failed('Stopping', 'It was stopped.')

      const mark = newMark('MCPGW_REPLICA')
      const launch = this.#launch({
        environment: { HOST: host, PORT: String(port), MCPGW_REPLICA_NAME: this.name },
        marks: { [mark.name]: mark.value },
      })
      if (!('command' in launch)) return launch

      const { user, workingDirectory, environment } = launch
      group = this.#options.groups?.make(mark.value)
      const [command, ...args] =
        group === undefined ? [launch.command, ...launch.args] : held(launch.command, launch.args)

      const child = spawn(command, args, {
        // A process group of its own lets the gateway signal all of it at once.
        detached: true,
        stdio: [group === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...this.#options.covers],
        ...user,
        ...defined({ cwd: workingDirectory }),
        env: environment,
      })

      if (group !== undefined) this.#begin(child, group)
      return await this.#watch({ child, port, mark: `${mark.name}=${mark.value}`, launch, group })
    } catch (error) {
      // No port is free, or the system refuses the process (E2BIG, ENOMEM, a NUL in an argument).
      return this.#startFailed(error)
    } finally {
      await group?.end().catch((error: unknown) => this.#groupLeft(error))
      if (port !== undefined) givePortBack(port)
    }
  }

  /** Lets a held process begin once it is in its control group. If it cannot enter, it ends. */
  #begin({ pid, stdin }: ChildProcess, group: ControlGroup): void {
    // The process may have ended already.
    stdin?.on('error', () => undefined)
    try {
      if (pid !== undefined) group.take(pid)
      stdin?.end('\n')
    } catch (error) {
      stdin?.destroy()
      const { log } = this.#options
      log.error({ replica: this.name, err: error }, 'a process could not enter its control group')
    }
  }

  #groupLeft(error: unknown): void {
    const { log } = this.#options
    log.error({ replica: this.name, err: error }, 'the control group could not be removed')
  }

  /** Reports a missing command before the start. */
  #launch(own: Pick<Start, 'environment' | 'marks'>): Launch | Ending {
    try {
      const launch = this.#options.launch(own)
      // The shell that waits for its group would report a missing command only in the log.
      if (this.#options.groups !== undefined)
        mustBeExecutable(launch.command, launch.environment['PATH'] ?? '')
      return launch
    } catch (error) {
      return this.#notStarted(error as NodeJS.ErrnoException)
    }
  }

  async #watch({ child, port, mark, launch, group }: Instance): Promise<Ending> {
    const { host, startTimeoutMs, log } = this.#options
    const { tellsSignalsByCode } = launch
    const { signal } = this.#stop
    const ended = whenEnded(child, tellsSignalsByCode)

    this.#startedAt = Date.now()
    this.#ownSockets = new Set()
    const startedAt = monotonicNow()
    if (this.#restarts === 0)
      this.#set('starting', 'Starting', 'The process has been started and does not listen yet.')

    const logs = this.#options.logs.begin()
    const cutters = this.#readOutput(child, logs)

    const over = new AbortController()
    void ended.then(() => over.abort())
    const leaving = AbortSignal.any([over.signal, signal])
    let readyAt: number | undefined
    let ailment: Ailment | undefined

    const accepted = await accepts(host, port, timeoutOr(leaving, startTimeoutMs))
    if (accepted && !(await this.#isOwn(port, child, 0).catch(() => false))) ailment = 'PortTaken'
    else if (accepted) {
      readyAt = monotonicNow()
      this.#origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`
      this.#set('ready')
      log.debug({ replica: this.name, ms: readyAt - startedAt }, 'replica is ready')
      ailment = await this.#watchHealth(port, child, leaving)
    }

    const readyMs = readyAt === undefined ? 0 : monotonicNow() - readyAt
    const tooLate = ailment ?? (leaving.aborted ? undefined : 'StartTimeout')
    this.#origin = undefined

    // Set this at once, so that the replica gets no more callers.
    if (!signal.aborted) this.#set('terminating', tooLate ?? 'Exited')
    const exit = await this.#end(
      child,
      ended,
      { mark, group: group?.folder, isServer: !tellsSignalsByCode },
      tooLate !== undefined || signal.aborted,
    )

    for (const cutter of cutters) cutter.end()
    logs.close()
    return this.#ending({ exit, logs, tooLate, readyMs, wasReady: readyAt !== undefined })
  }

  /** Cuts the output of a process into lines of its log. */
  #readOutput(child: ChildProcess, logs: LogBuffer): LineCutter[] {
    // Streams are missing when the gateway has no file descriptors left.
    return [child.stdout, child.stderr].flatMap((stream) => {
      let lines = 0
      const cutter = new LineCutter((line) => {
        lines += 1
        logs.push(line, Date.now())
      })
      const meter = stream === null ? undefined : this.#options.pace.meter(stream)

      stream?.setEncoding('utf8').on('data', (text: string) => {
        cutter.write(text)
        if (child.exitCode === null && child.signalCode === null) meter?.(text.length, lines)
        lines = 0
      })

      return stream === null || stream === undefined ? [] : [cutter]
    })
  }

  /**
   * Tells whether this process listens. Another server could take the port between `takePort` and
   * the start, and would receive this replica's calls.
   */
  async #isOwn(port: number, { pid }: ChildProcess, maxAgeMs: number): Promise<boolean> {
    const { host, belongs, listening } = this.#options
    if (belongs === undefined) return true

    const { address } = await lookup(host)
    const found = (await listening.at(address, port, maxAgeMs)) ?? []
    // The owner of a socket never changes, and a look-up may read all processes of the machine.
    const unknown = found.filter(({ inode }) => !this.#ownSockets.has(inode))
    for (const socket of unknown)
      if (pid === undefined || !(await belongs(socket, pid))) return false

    this.#ownSockets = new Set(found.map(({ inode }) => inode))
    return true
  }

  /** Takes a replica out of use while it does not answer. Resolves when it must be restarted. */
  #watchHealth(
    port: number,
    child: ChildProcess,
    leaving: AbortSignal,
  ): Promise<Ailment | undefined> {
    const { host, health, belongs, log } = this.#options
    // A shared reading may be older than a port that the server has just reopened, so read again.
    const isOwn = async (): Promise<boolean> =>
      (await this.#isOwn(port, child, sharedReadingMs)) || this.#isOwn(port, child, 0)
    const watch = belongs && { isOwn, periodMs: sharedReadingMs }
    return watchHealth({ host, port }, health, watch, leaving, (failures) => {
      if (failures === 0 && this.#phase === 'lost') {
        log.info({ replica: this.name }, 'replica answers again')
        this.#set('ready')
      } else if (failures === health.unreadyAfter) {
        log.warn({ replica: this.name, failures }, 'replica does not answer')
        this.#set('lost', 'NotResponding', `It did not answer ${failures} times in a row.`)
      }
    })
  }

  /** Ends the process and all that it forked, which may hold its pipes. */
  async #end(
    child: ChildProcess,
    ended: Promise<Exit>,
    { isServer, ...all }: Pick<WardenOptions, 'mark' | 'group'> & { readonly isServer: boolean },
    leaving: boolean,
  ): Promise<Exit> {
    const { stopGraceMs, log } = this.#options
    if (child.pid === undefined) return ended

    const graceSeconds = leaving ? stopGraceMs / 1000 : 1
    // End marked processes first: while parents live, they lead to their children. Without /proc
    // the sweep finds nothing. A process id is valid only while its process runs.
    const running = isServer && child.exitCode === null && child.signalCode === null
    const pid = running ? child.pid : undefined

    const none = await (this.#sweep ?? endMarked({ ...all, pid, graceSeconds }))
    if (!none) log.error({ replica: this.name }, 'processes of the replica could not be ended')
    // A process that has overwritten its environment has lost its mark.
    const over = none && (await endsWithin(ended, 100))
    if (!over || process.platform !== 'linux') {
      signalGroup(child.pid, 'SIGTERM')
      if (leaving) await endsWithin(ended, stopGraceMs)
      signalGroup(child.pid, 'SIGKILL')
    }

    const exit = await ended
    // The last output is still in the pipes.
    child.stdout?.resume()
    child.stderr?.resume()

    if (child.stdout?.readableEnded === false || child.stderr?.readableEnded === false)
      await Promise.race([
        new Promise<void>((resolve) => child.once('close', () => resolve())),
        sleep(200, undefined, { ref: false }),
      ])

    child.stdout?.destroy()
    child.stderr?.destroy()
    return exit
  }

  #ending({ exit, logs, tooLate, readyMs, wasReady }: Run): Ending {
    const last = lastWords(logs.last(50))
    const output = last === '' ? {} : { output: `It said last: ${last}` }
    if (exit.error !== undefined) return this.#notStarted(exit.error)

    const codes = defined({ code: exit.code, signal: exit.signal })
    if (tooLate !== undefined) {
      const { startTimeoutMs, health } = this.#options
      const messages = {
        PortTaken: 'A process of somebody else listens on its PORT.',
        StartTimeout: `The process did not listen on its PORT within ${startTimeoutMs / 1000} s.`,
        NotResponding: `The process did not answer ${health.restartAfter} times in a row.`,
      }
      const message = messages[tooLate]

      return {
        reason: tooLate,
        message,
        ...output,
        lastExit: { ...codes, message, ...output },
        readyMs,
        portTaken: tooLate === 'PortTaken',
      }
    }

    const early = wasReady ? '' : ' before it listened on its PORT'
    const message =
      exit.signal === undefined
        ? `The process exited with code ${exit.code}${early}.`
        : `The process was ended by ${exit.signal}${early}.`

    return {
      reason: exit.signal === undefined ? 'Exited' : 'Killed',
      message,
      ...output,
      lastExit: { ...codes, message, ...output },
      readyMs,
      portTaken: logs.last(20).some((line) => /EADDRINUSE|address (already )?in use/i.test(line)),
    }
  }

  #notStarted(error: NodeJS.ErrnoException): Ending {
    const { command, workingDirectory } = this.#options.program
    const [program = ''] = command
    const named = `program '${basename(program)}'`

    // The system answers ENOENT for all three causes.
    if (error.code === 'ENOENT') {
      if (workingDirectory !== undefined && !existsSync(workingDirectory))
        return this.#failed(
          'WorkingDirectoryNotFound',
          'The working directory of the image does not exist.',
          `It is '${workingDirectory}'.`,
        )

      const interpreter = program.includes('/') && existsSync(program)
      return this.#failed(
        'CommandNotFound',
        `The ${interpreter ? 'interpreter of the ' : ''}${named} does not exist.`,
        `It is '${program}'.`,
      )
    }

    if (error.code === 'EACCES')
      return this.#failed(
        'CommandNotExecutable',
        `The ${named} may not be executed.`,
        `It is '${program}'.`,
      )

    return this.#startFailed(error)
  }

  #startFailed(error: unknown): Ending {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    const text = sentence(error instanceof Error ? error.message : String(error))
    // The system names paths. Other errors repeat an argument, which may be a token.
    const isOfSystem = error instanceof Error && 'syscall' in error
    return {
      ...this.#failed('StartFailed', `The process could not be started${code}.`),
      ...(isOfSystem ? { internals: text } : { output: text }),
    }
  }

  #failed(reason: string, message: string, internals?: string): Ending {
    const texts = defined({ message, internals })
    return { reason, ...texts, lastExit: texts, readyMs: 0, portTaken: false }
  }

  #set(
    phase: ReplicaPhase,
    reason?: string,
    message?: string,
    more?: Pick<Ending, 'output' | 'internals'>,
  ): void {
    this.#phase = phase
    this.#reason = reason
    this.#message = message
    this.#output = more?.output
    this.#internals = more?.internals
    this.#options.changed()
  }
}

/** Milliseconds between two checks of a replica's port, for which all replicas share a reading. */
const sharedReadingMs = 1000

/** Adds a full stop where the text of a process has none. */
function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

function whenEnded(child: ChildProcess, tellsSignalsByCode: boolean): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ error }))
    child.once('exit', (code, killedBy) => {
      const signal = killedBy ?? (tellsSignalsByCode ? signalOf(code) : undefined)
      if (signal !== undefined) resolve({ signal })
      else resolve(code === null ? {} : { code })
    })
  })
}

/** The signal that an exit code of a shell or `bwrap` stands for (128 + n). */
function signalOf(code: number | null): string | undefined {
  if (code === null || code <= 128) return undefined
  return Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0]
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // The group is gone already.
  }
}

async function endsWithin(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController()
  const late = sleep(ms, false, { signal: timer.signal }).catch(() => false)
  const inTime = await Promise.race([ended.then(() => true), late])
  timer.abort()
  return inTime
}

/**
 * Tells whether the port accepts connections before the signal aborts. Polls often at first,
 * because good servers start in a moment.
 */
async function accepts(host: string, port: number, signal: AbortSignal): Promise<boolean> {
  for (let wait = 10; !signal.aborted; wait = Math.min(wait * 1.3, 250)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port })
      // TCP lets a socket connect to itself when the system assigns it the very port that it calls.
      socket.once('connect', () => resolve(socket.localPort !== port))
      socket.once('connect', () => socket.destroy())
      socket.once('error', () => resolve(false))
    })
    if (open) return !signal.aborted
    await sleep(wait, undefined, { signal }).catch(() => undefined)
  }
  return false
}
