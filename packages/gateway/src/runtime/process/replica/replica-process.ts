import { setTimeout as sleep } from 'node:timers/promises'
import type { Replica, ReplicaPhase } from '../../../core/workload.ts'
import { spreadBackoffMs } from '../../../lib/async/backoff.ts'
import { defined } from '../../../lib/defined.ts'
import { sentence, type Ending, type LastExit } from './ending.ts'
import { Instance, type InstanceOptions, type InstanceOwner } from './instance.ts'

export interface ReplicaOptions extends InstanceOptions {
  readonly index: number
  readonly backoff: {
    readonly firstSeconds: number
    readonly maxSeconds: number
    /** A run of this length resets the back-off. */
    readonly resetAfterSeconds: number
  }
  /** Called when something that `snapshot` shows has changed. */
  readonly changed: () => void
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
    const owner = this.#owner()
    let failures = 0
    let otherPorts = 0

    while (!signal.aborted) {
      const ending = await new Instance(this.#options, owner, signal).run()
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

  #owner(): InstanceOwner {
    const { log, health } = this.#options
    return {
      begun: () => {
        this.#startedAt = Date.now()
        if (this.#restarts > 0) return
        this.#set('starting', 'Starting', 'The process has been started and does not listen yet.')
      },
      ready: (origin) => {
        this.#origin = origin
        this.#set('ready')
      },
      failing: (failures) => {
        if (failures === 0 && this.#phase === 'lost') {
          log.info({ replica: this.name }, 'replica answers again')
          this.#set('ready')
        } else if (failures === health.unreadyAfter) {
          log.warn({ replica: this.name, failures }, 'replica does not answer')
          this.#set('lost', 'NotResponding', `It did not answer ${failures} times in a row.`)
        }
      },
      // Set this at once, so that the replica gets no more callers.
      leaving: (reason) => {
        this.#origin = undefined
        if (!this.#stop.signal.aborted) this.#set('terminating', reason)
      },
      sweep: () => this.#sweep,
    }
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
