import type { ChildProcess } from 'node:child_process'
import { monotonicNow } from '../../../lib/clock.ts'
import { timeoutOr } from '../../../lib/async/timeout-signal.ts'
import type { ControlGroup } from '../control-groups.ts'
import { endAll, whenEnded } from './end.ts'
import {
  endingOf,
  failed,
  notStarted,
  startFailed,
  type Ending,
  type EndingOptions,
} from './ending.ts'
import { accepts, watchHealth, type Ailment } from './health.ts'
import { Output, type OutputOptions } from './output.ts'
import { PortOwner, type PortOwnerOptions } from './port-owner.ts'
import { givePortBack, takePort } from './ports.ts'
import { prepare, start, type Prepared, type StartOptions } from './start.ts'

export interface InstanceOptions
  extends StartOptions, PortOwnerOptions, OutputOptions, EndingOptions {
  readonly stopGraceMs: number
}

/** The replica, as far as its process tells it something or asks it. */
export interface InstanceOwner {
  begun(): void
  ready(origin: string): void
  /** Receives each change of the number of times in a row that the process did not answer. */
  failing(failures: number): void
  /** The process takes no more calls. */
  leaving(reason: string): void
  /** The sweep that ends all marked processes at once, if one is under way. */
  sweep(): Promise<boolean> | undefined
}

/** A process that runs. */
interface Started extends Prepared {
  readonly child: ChildProcess
  readonly port: number
  readonly group: ControlGroup | undefined
}

/** One process of a replica, from its start to its end. */
export class Instance {
  readonly #options: InstanceOptions
  readonly #owner: InstanceOwner
  readonly #stop: AbortSignal

  constructor(options: InstanceOptions, owner: InstanceOwner, stop: AbortSignal) {
    this.#options = options
    this.#owner = owner
    this.#stop = stop
  }

  /** Never rejects: a failed start is an ending, too. */
  async run(): Promise<Ending> {
    const options = this.#options
    let port: number | undefined
    let group: ControlGroup | undefined

    try {
      port = await takePort(options.host)
      if (this.#stop.aborted) return failed('Stopping', 'It was stopped.')

      const prepared = this.#prepare(port)
      if (!('launch' in prepared)) return prepared

      group = options.groups?.make(prepared.mark.value)
      const child = start(prepared.launch, group, options)
      return await this.#watch({ ...prepared, child, port, group })
    } catch (error) {
      // No port is free, or the system refuses the process (E2BIG, ENOMEM, a NUL in an argument).
      return startFailed(error)
    } finally {
      await group?.end().catch((error: unknown) => this.#groupLeft(error))
      if (port !== undefined) givePortBack(port)
    }
  }

  #groupLeft(error: unknown): void {
    const { log, name } = this.#options
    log.error({ replica: name, err: error }, 'the control group could not be removed')
  }

  /** Reports a missing command before the start. */
  #prepare(port: number): Prepared | Ending {
    try {
      return prepare(this.#options, port)
    } catch (error) {
      return notStarted(error as NodeJS.ErrnoException, this.#options.program)
    }
  }

  async #watch(started: Started): Promise<Ending> {
    const { child, launch } = started
    const ended = whenEnded(child, launch.tellsSignalsByCode)
    this.#owner.begun()

    const output = new Output(child, this.#options)
    const over = new AbortController()
    void ended.then(() => over.abort())
    const leaving = AbortSignal.any([over.signal, this.#stop])

    const { ailment, readyAt } = await this.#serve(started, leaving)
    const readyMs = readyAt === undefined ? 0 : monotonicNow() - readyAt
    const tooLate = ailment ?? (leaving.aborted ? undefined : 'StartTimeout')
    this.#owner.leaving(tooLate ?? 'Exited')

    const exit = await this.#end(started, ended, tooLate !== undefined || this.#stop.aborted)
    output.close()

    const wasReady = readyAt !== undefined
    return endingOf({ exit, logs: output.logs, tooLate, readyMs, wasReady }, this.#options)
  }

  /** Resolves when the process must end, or has ended. */
  async #serve(
    { child, port }: Started,
    leaving: AbortSignal,
  ): Promise<{ readonly ailment: Ailment | undefined; readonly readyAt?: number }> {
    const { host, name, startTimeoutMs, health, log } = this.#options
    const startedAt = monotonicNow()
    const address = { host, port }
    const portOwner = new PortOwner(this.#options, port, child.pid)

    const accepted = await accepts(address, timeoutOr(leaving, startTimeoutMs))
    if (!accepted) return { ailment: undefined }
    if (!(await portOwner.isOwn(0).catch(() => false))) return { ailment: 'PortTaken' }

    const readyAt = monotonicNow()
    this.#owner.ready(`http://${host.includes(':') ? `[${host}]` : host}:${port}`)
    log.debug({ replica: name, ms: readyAt - startedAt }, 'replica is ready')

    const watched = { address, watch: portOwner.watch }
    const ailment = await watchHealth(watched, health, leaving, (failures) =>
      this.#owner.failing(failures),
    )
    return { ailment, readyAt }
  }

  #end(
    { child, mark, group, launch }: Started,
    ended: ReturnType<typeof whenEnded>,
    leaving: boolean,
  ): ReturnType<typeof endAll> {
    const { name, stopGraceMs, log } = this.#options
    const running = {
      child,
      ended,
      isServer: !launch.tellsSignalsByCode,
      mark: mark.text,
      group: group?.folder,
    }

    return endAll(running, {
      graceMs: stopGraceMs,
      leaving,
      sweep: this.#owner.sweep(),
      onLeft: () => log.error({ replica: name }, 'processes of the replica could not be ended'),
    })
  }
}
