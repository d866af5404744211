import type { ProgramConfig } from '../../config/config.ts'
import type { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Condition, Replica, Workload, WorkloadStatus } from '../../core/workload.ts'
import type { Backoff } from '../../lib/async/backoff.ts'
import { supervise } from '../../lib/async/supervise.ts'
import { defined } from '../../lib/defined.ts'
import { judge } from '../conditions.ts'
import type { OpenRuntimeOptions } from '../open-options.ts'
import { ReplicaLogs } from './replica/log-buffer.ts'
import { ReplicaProcess } from './replica/replica-process.ts'
import { nextStep } from './rolling.ts'
import type { Surroundings } from './surroundings.ts'

/** One workload: its desired state, its replicas, and the loop that converges them. */
export class RunningWorkload {
  readonly name: string
  readonly uid: string
  readonly #options: OpenRuntimeOptions
  readonly #surroundings: Surroundings
  readonly #directory: ReplicaDirectory
  readonly #replicas = new Map<
    number,
    { readonly process: ReplicaProcess; readonly template: string; generation: number }
  >()
  readonly #logs = new Map<number, ReplicaLogs>()
  readonly #conditions = new Map<Condition['type'], Condition>()
  #wanted: Workload
  readonly #stop = new AbortController()
  #converging = false
  #converged: Promise<void> = Promise.resolve()
  #wake: (() => void) | undefined

  constructor(
    workload: Workload,
    options: OpenRuntimeOptions,
    surroundings: Surroundings,
    directory: ReplicaDirectory,
  ) {
    this.name = workload.name
    this.uid = workload.uid
    this.#wanted = workload
    this.#options = options
    this.#surroundings = surroundings
    this.#directory = directory
    this.want(workload)
  }

  want(workload: Workload): void {
    this.#wanted = workload
    const template = this.#template()
    for (const replica of this.#replicas.values()) {
      // A secret that a workload refers to can change while the generation stays the same.
      const { generation } = workload
      replica.generation =
        replica.template === template ? generation : Math.min(replica.generation, generation - 1)
    }
    this.#publish()
    if (this.#converging) return
    this.#converging = true
    this.#converged = supervise(() => this.#converge(), {
      signal: this.#stop.signal,
      retry: this.#retry(),
      failed: (error) => this.#failed(error),
    })
  }

  logs(index: number): ReplicaLogs | undefined {
    return this.#logs.get(index)
  }

  async stop(sweep?: Promise<boolean>): Promise<void> {
    this.#stop.abort()
    this.#wake?.()
    await Promise.all([...this.#replicas.values()].map(({ process }) => process.stop(sweep)))
    await this.#converged
    this.#replicas.clear()
    for (const logs of this.#logs.values()) logs.end()
  }

  status(): WorkloadStatus {
    const { name, uid, image, replicas, generation } = this.#wanted
    return {
      name,
      uid,
      observedGeneration: generation,
      image: `${image.name}:${image.version}`,
      sandbox: this.#surroundings.sandbox.kind,
      desiredReplicas: replicas,
      replicas: this.#snapshots(),
      conditions: [...this.#conditions.values()],
    }
  }

  /**
   * One loop runs at a time, and sees changes by `want` at its next step. A replaced replica is
   * then missing, and the loop starts it.
   */
  async #converge(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const program = this.#program()
      const template = this.#template()
      const states = [...this.#replicas].map(([index, { process, template: own }]) => ({
        index,
        current: own === template,
        ready: process.ready,
      }))

      const step = nextStep(states, this.#desired())
      if (step.do === 'nothing') break
      if (step.do === 'wait') await new Promise<void>((resolve) => (this.#wake = resolve))
      else if (step.do === 'start') {
        if (program !== undefined) this.#start(step.index, program, template)
      } else {
        await this.#replicas.get(step.index)?.process.stop()
        this.#replicas.delete(step.index)
        // Keep a replaced replica in the directory: its sessions may live on.
        if (step.index >= this.#desired()) this.#gone(step.index)
      }
    }

    // Cleared in the same turn as the last check, so that no change falls between the two.
    this.#converging = false
  }

  #start(index: number, program: ProgramConfig, template: string): void {
    const { settings, log } = this.#options
    const { inherited, marks, sandbox, groups, listening, pace, covers } = this.#surroundings
    const { owner, environment } = this.#wanted
    const belongs = sandbox.belongs?.bind(sandbox)
    const logs = this.#logs.get(index) ?? new ReplicaLogs(settings.logLines)

    this.#logs.set(index, logs)
    const process = new ReplicaProcess({
      name: `${this.name}-${index}`,
      index,
      program,
      launch: (own) => {
        const [command = '', ...args] = program.command
        return sandbox.launch({
          owner,
          command,
          args,
          workingDirectory: program.workingDirectory,
          environment: {
            ...sandbox.environment(owner, inherited),
            ...environment,
            // The operator's values override those of callers.
            ...program.environment,
            ...own.environment,
          },
          marks: { ...marks, ...own.marks },
        })
      },
      belongs: belongs && ((socket, pid) => belongs(socket, owner, pid)),
      listening,
      groups,
      host: settings.host,
      startTimeoutMs: settings.startTimeoutSeconds * 1000,
      stopGraceMs: settings.stopGraceSeconds * 1000,
      backoff: settings.backoff,
      health: settings.health,
      covers,
      pace,
      logs,
      log,
      changed: () => this.#changed(),
    })

    this.#replicas.set(index, { process, template, generation: this.#wanted.generation })
    this.#publish()
  }

  /** An error of those who hear of replicas must not end the one whose process has changed. */
  #changed(): void {
    try {
      this.#publish()
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    this.#options.log.error({ workload: this.name, err: error }, 'a step of a workload failed')
  }

  #retry(): Backoff {
    const { firstSeconds, maxSeconds } = this.#options.settings.backoff
    return { firstMs: firstSeconds * 1000, maxMs: maxSeconds * 1000 }
  }

  #gone(index: number): void {
    this.#logs.get(index)?.end()
    this.#logs.delete(index)
    this.#publish()
  }

  #desired(): number {
    return this.#refusal() === undefined ? this.#wanted.replicas : 0
  }

  #program(): ProgramConfig | undefined {
    const { programs } = this.#options
    const { name } = this.#wanted.image
    // An inherited name such as `constructor` is no program.
    return Object.hasOwn(programs, name) ? programs[name] : undefined
  }

  /** The parts of a workload that a replica starts from. Equal templates need no restart. */
  #template(): string {
    const { image, environment, useWorkloadIdentity, restartedAt, owner } = this.#wanted
    return JSON.stringify([
      image,
      Object.entries(environment).toSorted(([a], [b]) => (a < b ? -1 : 1)),
      useWorkloadIdentity,
      restartedAt,
      // A new owner has another user and another home, so the replica must restart.
      this.#surroundings.sandbox.kind === 'none' ? undefined : owner,
    ])
  }

  #snapshots(): Replica[] {
    return [...this.#replicas.values()]
      .map(({ process, generation }) => process.snapshot(generation))
      .toSorted((a, b) => a.index - b.index)
  }

  #publish(): void {
    const replicas = this.#snapshots()
    const refused = this.#refusal()?.reason
    this.#directory.set(
      this.name,
      defined({ uid: this.uid, desiredReplicas: this.#wanted.replicas, replicas, refused }),
    )
    this.#judge(replicas)
    this.#wake?.()
  }

  /** Returns why the workload cannot or must not run here. */
  #refusal(): { readonly reason: string; readonly message: string } | undefined {
    if (this.#program() !== undefined) return this.#wanted.withheld
    const known = Object.keys(this.#options.programs).toSorted().join(', ')
    const message =
      `No program stands for the image '${this.#wanted.image.name}'. Known ` +
      `images: ${known}. ` +
      'runtime.images of the configuration adds more.'
    return { reason: 'ImageNotFound', message }
  }

  #judge(replicas: readonly Replica[]): void {
    const { replicas: desired, generation } = this.#wanted
    const refused = this.#refusal()
    for (const judged of judge(defined({ desired, generation, replicas, refused }))) {
      const before = this.#conditions.get(judged.type)
      const lastTransitionAt =
        before?.status === judged.status ? before.lastTransitionAt : new Date().toISOString()
      this.#conditions.set(judged.type, { ...judged, lastTransitionAt })
    }
  }
}
