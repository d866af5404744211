import { spawn, type ChildProcess } from 'node:child_process'
import { connect, createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { endMarked, newMark } from '@mcp-gateway/bridge'
import type { ProgramConfig } from '../../config/config.ts'
import type { Replica, ReplicaPhase } from '../../core/workload.ts'
import type { Log } from '../../telemetry/log.ts'
import { backoffMs, type BackoffSettings } from './backoff.ts'
import { LogBuffer } from './log-buffer.ts'

export interface ReplicaOptions {
  readonly name: string
  readonly index: number
  readonly program: ProgramConfig
  /** The whole environment but for address, names and marks. */
  readonly environment: Readonly<Record<string, string>>
  readonly host: string
  readonly startTimeoutMs: number
  readonly stopGraceMs: number
  readonly backoff: BackoffSettings
  readonly logLines: number
  readonly log: Log
  /** Something that `snapshot` shows is different now. */
  readonly changed: () => void
}

type LastExit = NonNullable<Replica['lastExit']>

/** One replica as a process that is kept running: started, probed, restarted with back-off, ended with all it forked. */
export class ReplicaProcess {
  readonly index: number
  readonly name: string
  readonly #options: ReplicaOptions
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  #phase: ReplicaPhase = 'pending'
  #origin: string | undefined
  #startedAt: number | undefined
  #restarts = 0
  #reason: string | undefined
  #message: string | undefined
  #lastExit: LastExit | undefined
  #logs: LogBuffer
  #previousLogs: LogBuffer | undefined

  constructor(options: ReplicaOptions) {
    this.#options = options
    this.index = options.index
    this.name = options.name
    this.#logs = new LogBuffer(options.logLines)
    this.#running = this.#run()
  }

  get ready(): boolean {
    return this.#phase === 'ready'
  }

  snapshot(generation: number): Replica {
    return {
      name: this.name,
      index: this.index,
      phase: this.#phase,
      path: this.#options.program.path,
      generation,
      restarts: this.#restarts,
      ...(this.#origin === undefined ? {} : { origin: this.#origin }),
      ...(this.#startedAt === undefined ? {} : { startedAt: this.#startedAt }),
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
      ...(this.#message === undefined ? {} : { message: this.#message }),
      ...(this.#lastExit === undefined ? {} : { lastExit: this.#lastExit }),
    }
  }

  logs(previous: boolean): LogBuffer | undefined {
    return previous ? this.#previousLogs : this.#logs
  }

  /** Ends the process and all that it forked; resolves when nothing is left. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    let failures = 0
    while (!signal.aborted) {
      const startedAt = Date.now()
      const exit = await this.#runOnce(startedAt)
      if (signal.aborted) break
      failures = Date.now() - startedAt > this.#options.backoff.resetAfterSeconds * 1000 ? 1 : failures + 1
      this.#restarts += 1
      this.#lastExit = { at: new Date().toISOString(), ...exit.lastExit }
      const wait = backoffMs(this.#options.backoff, failures, Math.random)
      this.#options.log.warn({ replica: this.name, reason: exit.reason, waitMs: wait }, 'replica ended, starting it again')
      this.#set('backoff', exit.reason, `${exit.message} Next start in ${(wait / 1000).toFixed(1)} s.`)
      await sleep(wait, undefined, { signal }).catch(() => undefined)
    }
    this.#set('terminating')
  }

  /** From start to end of one instance. */
  async #runOnce(startedAt: number): Promise<{ reason: string; message: string; lastExit: Omit<LastExit, 'at'> }> {
    const { program, host, environment, log } = this.#options
    const { signal } = this.#stop
    const port = await freePort(host)
    const mark = newMark('MCPGW_REPLICA')
    const [command = '', ...args] = program.command
    if (this.#restarts > 0 || this.#logs.last(1).length > 0) this.#previousLogs = this.#logs
    const logs = (this.#logs = new LogBuffer(this.#options.logLines))
    const child = spawn(command, args, {
      // A process group of its own, so that all of it can be signalled at once.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(program.workingDirectory === undefined ? {} : { cwd: program.workingDirectory }),
      env: { ...environment, HOST: host, PORT: String(port), MCPGW_REPLICA_NAME: this.name, [mark.name]: mark.value },
    })
    this.#startedAt = startedAt
    this.#set('starting', 'Starting', 'The process has been started and does not listen yet.')
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => logs.write(text, Date.now()))
    }
    const ended = new Promise<{ code?: number; signal?: string; error?: Error }>((resolve) => {
      child.once('error', (error) => resolve({ error }))
      child.once('exit', (code, killedBy) =>
        resolve({ ...(code === null ? {} : { code }), ...(killedBy === null ? {} : { signal: killedBy }) }),
      )
    })
    const over = new AbortController()
    const stopping = (): void => over.abort()
    signal.addEventListener('abort', stopping)
    void ended.then(() => over.abort())
    const timeout = AbortSignal.timeout(this.#options.startTimeoutMs)
    const probing = AbortSignal.any([over.signal, timeout])
    if (await accepts(host, port, probing)) {
      this.#origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`
      this.#set('ready')
      log.debug({ replica: this.name, ms: Date.now() - startedAt }, 'replica is ready')
    }
    const late = timeout.aborted && !over.signal.aborted && this.#phase !== 'ready'
    if (!late && !signal.aborted)
      await Promise.race([ended, new Promise<void>((resolve) => over.signal.addEventListener('abort', () => resolve(), { once: true }))])
    signal.removeEventListener('abort', stopping)
    const leaving = late || signal.aborted
    if (leaving) this.#set('terminating', late ? 'StartTimeout' : 'Stopping')
    this.#origin = undefined
    await this.#end(child, ended, leaving, `${mark.name}=${mark.value}`)
    logs.close(Date.now())
    const exit = await ended
    const last = logs.last(3).join(' | ').slice(0, 500)
    if (exit.error !== undefined) {
      const missing = (exit.error as NodeJS.ErrnoException).code === 'ENOENT'
      return {
        reason: missing ? 'CommandNotFound' : 'StartFailed',
        message: missing ? `The program '${command}' does not exist.` : exit.error.message,
        lastExit: { message: exit.error.message },
      }
    }
    if (late) {
      const message = `The process did not listen on its PORT within ${this.#options.startTimeoutMs / 1000} s.`
      return { reason: 'StartTimeout', message: said(message, last), lastExit: { message } }
    }
    const message = exit.signal === undefined ? `The process exited with code ${exit.code}.` : `The process was ended by ${exit.signal}.`
    return {
      reason: exit.signal === undefined ? 'Exited' : 'Killed',
      message: said(message, last),
      lastExit: {
        ...(exit.code === undefined ? {} : { code: exit.code }),
        ...(exit.signal === undefined ? {} : { signal: exit.signal }),
        message: last,
      },
    }
  }

  async #end(child: ChildProcess, ended: Promise<unknown>, leaving: boolean, mark: string): Promise<void> {
    if (leaving && child.pid !== undefined) {
      signalGroup(child.pid, 'SIGTERM')
      const inTime = await Promise.race([ended.then(() => true), sleep(this.#options.stopGraceMs, false, { ref: false })])
      if (!inTime) signalGroup(child.pid, 'SIGKILL')
    }
    await ended
    if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL')
    // What left the group: grandchildren in sessions of their own.
    await endMarked({ mark, graceSeconds: 1 })
  }

  #set(phase: ReplicaPhase, reason?: string, message?: string): void {
    this.#phase = phase
    this.#reason = reason
    this.#message = message
    this.#options.changed()
  }
}

function said(message: string, last: string): string {
  return last === '' ? message : `${message} It said last: ${last}`
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // The group is gone already.
  }
}

/** Ports that were handed out just now and may not be listened on yet. */
const recent = new Set<number>()

/** A port that nobody listens on. Somebody may take it before the replica does; then it fails to start and gets another. */
async function freePort(host: string): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer()
      server.once('error', reject)
      server.listen({ host, port: 0 }, () => {
        const { port: free } = server.address() as AddressInfo
        server.close(() => resolve(free))
      })
    })
    if (recent.has(port)) continue
    recent.add(port)
    setTimeout(() => recent.delete(port), 10_000).unref()
    return port
  }
}

/** Whether the port accepts connections before the signal aborts. Looks often at first, because good servers start in a moment. */
async function accepts(host: string, port: number, signal: AbortSignal): Promise<boolean> {
  for (let wait = 10; !signal.aborted; wait = Math.min(wait * 1.3, 250)) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port })
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('close', () => socket.destroy())
      socket.once('connect', () => socket.destroy())
    })
    if (open) return !signal.aborted
    await sleep(wait, undefined, { signal }).catch(() => undefined)
  }
  return false
}
