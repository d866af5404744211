import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { endMarked, markOf, newMark, startWarden, type Warden } from '@mcp-gateway/warden'
import { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Workload, WorkloadStatus } from '../../core/workload.ts'
import { LockHeld, takeProcessLock, type ProcessLock } from '../../lib/process-lock.ts'
import type { OpenRuntimeOptions } from '../open-options.ts'
import type { LogQuery, Runtime, WorkloadRef } from '../runtime.ts'
import { RunningWorkload } from './running-workload.ts'
import { openSurroundings, type Surroundings } from './surroundings.ts'

/**
 * Runs replicas as processes of this machine. Ends leftover processes of an earlier gateway that
 * was killed together with its warden.
 * @throws Error when another gateway uses the data folder
 */
export async function openProcessRuntime(options: OpenRuntimeOptions): Promise<Runtime> {
  const lock = takeLock(options.dataDir)
  // The mark names the real folder, whichever path the configuration uses.
  const digest = createHash('sha256')
    .update(realpathSync(options.dataDir))
    .digest('hex')
    .slice(0, 32)
  const data = markOf('MCPGW_DATA', digest)
  if (lock.wasAbandoned && !(await endMarked({ mark: data.text, graceSeconds: 1 })))
    options.log.error('processes that an earlier gateway left could not be ended')

  const owner = newMark('MCPGW_OWNER')
  const surroundings = await openSurroundings(options, { data, owner })
  const warden = startWarden({
    mark: owner.text,
    graceSeconds: options.settings.stopGraceSeconds,
    group: surroundings.groups?.folder,
  })

  return new ProcessRuntime(options, surroundings, { ownerMark: owner.text, warden, lock })
}

function takeLock(dataDir: string): ProcessLock {
  try {
    return takeProcessLock(join(dataDir, 'gateway.lock'))
  } catch (error) {
    if (error instanceof LockHeld)
      throw new Error(
        `Another gateway (process ${error.pid}) uses the data folder ${dataDir}. Stop it, ` +
          'or set MCPGW_DATA_DIR.',
        {
          cause: error,
        },
      )
    throw error
  }
}

/** All that the runtime holds until it ends. */
interface Held {
  /** Marks all processes of this gateway. */
  readonly ownerMark: string
  readonly warden: Warden
  readonly lock: ProcessLock
}

class ProcessRuntime implements Runtime {
  readonly name = 'process'
  readonly directory = new ReplicaDirectory()
  readonly isWorkload?: NonNullable<Runtime['isWorkload']>
  readonly #options: OpenRuntimeOptions
  readonly #surroundings: Surroundings
  readonly #held: Held
  readonly #workloads = new Map<string, RunningWorkload>()

  constructor(options: OpenRuntimeOptions, surroundings: Surroundings, held: Held) {
    this.#options = options
    this.#surroundings = surroundings
    const { sandbox } = surroundings
    if (sandbox.kind !== 'none') this.isWorkload = (socket) => sandbox.holds(socket)
    this.#held = held
  }

  /** Only this gateway uses the data folder, so a single term lasts all the time. */
  async *terms(signal: AbortSignal): AsyncGenerator<AbortSignal> {
    if (!signal.aborted) yield signal
  }

  /** Nobody else changes these processes, so there is no drift to report. */
  onDrift(): () => void {
    return () => undefined
  }

  async apply(workload: Workload): Promise<void> {
    let running = this.#workloads.get(workload.name)
    if (running !== undefined && running.uid !== workload.uid) {
      await this.#remove(running)
      running = undefined
    }
    if (running === undefined) {
      running = new RunningWorkload(workload, this.#options, this.#surroundings, this.directory)
      this.#workloads.set(workload.name, running)
    } else running.want(workload)
  }

  async remove({ name, uid }: WorkloadRef): Promise<void> {
    const running = this.#workloads.get(name)
    if (running?.uid === uid) await this.#remove(running)
  }

  async list(): Promise<readonly WorkloadRef[]> {
    return [...this.#workloads.values()].map(({ name, uid }) => ({ name, uid }))
  }

  async status(name: string): Promise<WorkloadStatus | undefined> {
    return this.#workloads.get(name)?.status()
  }

  async logs(
    { name, uid }: WorkloadRef,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string> | undefined> {
    const running = this.#workloads.get(name)
    // A process has no containers.
    return running?.uid === uid && query.container === undefined
      ? running.logs(query.replica)?.read(query, signal)
      : undefined
  }

  async #remove(running: RunningWorkload, sweep?: Promise<boolean>): Promise<void> {
    await running.stop(sweep)
    if (this.#workloads.get(running.name) === running) {
      this.#workloads.delete(running.name)
      this.directory.delete(running.name)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { ownerMark, warden, lock } = this.#held
    // No replica starts after `stop`, which is called before the sweep looks.
    const sweep = Promise.resolve().then(() =>
      endMarked({
        mark: ownerMark,
        graceSeconds: this.#options.settings.stopGraceSeconds,
        group: this.#surroundings.groups?.folder,
      }),
    )
    await Promise.all([
      sweep,
      ...[...this.#workloads.values()].map((running) => this.#remove(running, sweep)),
    ])
    await this.#surroundings.groups?.end().catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'the control groups could not be removed')
    })
    warden.release()
    lock.release()
  }
}
