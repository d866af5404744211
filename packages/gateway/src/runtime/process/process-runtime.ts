import { createHash } from 'node:crypto'
import { openSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { endMarked, newMark, startWarden, type Warden } from '@mcp-gateway/warden'
import type { ProgramConfig } from '../../config/config.ts'
import { ReplicaDirectory } from '../../core/directories/directory.ts'
import type { Condition, Replica, Workload, WorkloadStatus } from '../../core/workload.ts'
import { defined } from '../../lib/defined.ts'
import { inheritedDescriptors } from '../../lib/inherited-descriptors.ts'
import { ListeningSockets } from '../../lib/net/socket-owner.ts'
import { LockHeld, takeProcessLock, type ProcessLock } from '../../lib/process-lock.ts'
import type { OpenRuntimeOptions } from '../open-options.ts'
import { judge } from '../conditions.ts'
import type { LogQuery, Runtime, WorkloadRef } from '../runtime.ts'
import { ControlGroups } from './control-groups.ts'
import { ReplicaLogs } from './replica/log-buffer.ts'
import { OutputPace } from './replica/output-pace.ts'
import { ReplicaProcess } from './replica/replica-process.ts'
import { nextStep } from './rolling.ts'
import type { Sandbox } from './launch.ts'
import { openSandbox } from './sandbox/sandbox.ts'

/**
 * Runs replicas as processes of this machine. Ends leftover processes of an earlier gateway that
 * was killed together with its warden.
 * @throws Error when another gateway uses the data folder
 */
export async function openProcessRuntime(options: OpenRuntimeOptions): Promise<Runtime> {
  const lock = takeLock(options.dataDir)
  // The mark names the real folder, whichever path the configuration uses.
  const dataMark = {
    name: 'MCPGW_DATA',
    value: createHash('sha256').update(realpathSync(options.dataDir)).digest('hex').slice(0, 32),
  }
  if (
    lock.wasAbandoned &&
    !(await endMarked({ mark: `${dataMark.name}=${dataMark.value}`, graceSeconds: 1 }))
  )
    options.log.error('processes that an earlier gateway left could not be ended')

  const environment = inherited(options.environment)
  const { settings, programs } = options
  const sandbox = openSandbox({
    sandbox: settings.sandbox,
    homes: settings.homes,
    users: settings.sandboxUsers,
    processes: settings.ownerProcesses,
    dataDir: options.dataDir,
    mounts: settings.mounts,
    privateFiles: options.privateFiles,
    privateFolders: options.privateFolders,
    readableFiles: fileVariables.flatMap((name) => environment[name] ?? []),
    userHome: options.environment['HOME'],
    program: programs['mcp-proxy']?.command.at(-1) ?? process.execPath,
    programs: Object.values(programs),
    path: options.environment['PATH'] ?? '',
    log: options.log,
  })

  const owner = newMark('MCPGW_OWNER')
  const groups = await openGroups(sandbox, [dataMark.value, owner.value], options.log)
  const warden = startWarden({
    mark: `${owner.name}=${owner.value}`,
    graceSeconds: settings.stopGraceSeconds,
    group: groups?.folder,
  })
  const marks = { [dataMark.name]: dataMark.value, [owner.name]: owner.value }

  return new ProcessRuntime(
    options,
    {
      inherited: environment,
      marks,
      sandbox,
      groups,
      listening: new ListeningSockets(),
      pace: new OutputPace(),
      covers: coversOf(inheritedDescriptors()),
    },
    owner,
    warden,
    lock,
  )
}

/** Passes inherited values to processes, and keeps the processes apart. */
interface Surroundings {
  readonly inherited: Readonly<Record<string, string>>
  /** Variables by which all processes of this gateway are found again. */
  readonly marks: Readonly<Record<string, string>>
  readonly sandbox: Sandbox
  /** Undefined where the machine has no usable groups, or `bwrap` makes them unnecessary. */
  readonly groups: ControlGroups | undefined
  readonly listening: ListeningSockets
  readonly pace: OutputPace
  readonly covers: readonly ('ignore' | number)[]
}

/** Processes in `bwrap` end with it, so they need no control group. */
async function openGroups(
  sandbox: Sandbox,
  [series, name]: readonly [string, string],
  log: OpenRuntimeOptions['log'],
): Promise<ControlGroups | undefined> {
  if (sandbox.kind === 'bwrap' || process.platform !== 'linux') return undefined
  const groups = await ControlGroups.open(series, name)
  if (typeof groups !== 'string') return groups

  log.info({ reason: groups }, 'a server that hides its processes may leave some behind')
  return undefined
}

/** A server's descriptors from the fourth on: none leads to files that the gateway inherited. */
function coversOf(inherited: readonly number[]): ('ignore' | number)[] {
  if (inherited.length === 0) return []
  const nothing = openSync('/dev/null', 'r+')
  return Array.from({ length: Math.max(...inherited) - 2 }, (_, index) =>
    inherited.includes(index + 3) ? nothing : 'ignore',
  )
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

/**
 * Variables that workloads need to find programs, registries and certificates. Workloads get no
 * other variable of the gateway.
 */
const inheritedNames =
  /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|XDG_\w+|npm_config_(registry|cache)|PIP_INDEX_URL|UV_\w+|DOTNET_ROOT|JAVA_HOME|SYSTEMROOT|APPDATA|LOCALAPPDATA)$/i

/** Inherited variables that name files which servers read. */
const fileVariables = [
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
]

function inherited(environment: OpenRuntimeOptions['environment']): Record<string, string> {
  const entries = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && inheritedNames.test(entry[0]),
  )
  return Object.fromEntries(entries)
}

type Mark = ReturnType<typeof newMark>

class ProcessRuntime implements Runtime {
  readonly name = 'process'
  readonly directory = new ReplicaDirectory()
  readonly isWorkload?: NonNullable<Runtime['isWorkload']>
  readonly #options: OpenRuntimeOptions
  readonly #surroundings: Surroundings
  readonly #owner: Mark
  readonly #warden: Warden
  readonly #lock: ProcessLock
  readonly #workloads = new Map<string, RunningWorkload>()

  constructor(
    options: OpenRuntimeOptions,
    surroundings: Surroundings,
    owner: Mark,
    warden: Warden,
    lock: ProcessLock,
  ) {
    this.#options = options
    this.#surroundings = surroundings
    const { sandbox } = surroundings
    if (sandbox.kind !== 'none') this.isWorkload = (socket) => sandbox.holds(socket)
    this.#owner = owner
    this.#warden = warden
    this.#lock = lock
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
    // No replica starts after `stop`, which is called before the sweep looks.
    const sweep = Promise.resolve().then(() =>
      endMarked({
        mark: `${this.#owner.name}=${this.#owner.value}`,
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
    this.#warden.release()
    this.#lock.release()
  }
}

/** One workload: its desired state, its replicas, and the loop that converges them. */
class RunningWorkload {
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
  #stopped = false
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
    if (!this.#converging) this.#converged = this.#converge()
  }

  logs(index: number): ReplicaLogs | undefined {
    return this.#logs.get(index)
  }

  async stop(sweep?: Promise<boolean>): Promise<void> {
    this.#stopped = true
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
    this.#converging = true
    while (!this.#stopped) {
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
      changed: () => this.#publish(),
    })

    this.#replicas.set(index, { process, template, generation: this.#wanted.generation })
    this.#publish()
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
