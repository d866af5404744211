import { spawn, type ChildProcess } from 'node:child_process'
import { newMark, type Mark } from '@mcp-gateway/warden'
import { defined } from '../../../lib/defined.ts'
import type { Log } from '../../../telemetry/log.ts'
import { held, type ControlGroup, type ControlGroups } from '../control-groups.ts'
import type { Launch, Start } from '../launch.ts'
import { mustBeExecutable } from './executable.ts'

export interface StartOptions {
  readonly name: string
  readonly host: string
  /** Called for each start, with that start's variables and mark. @throws Error */
  readonly launch: (own: Pick<Start, 'environment' | 'marks'>) => Launch
  /** Holds the replica's processes together; undefined where the machine has no control groups. */
  readonly groups: ControlGroups | undefined
  /** Replacements for descriptors that the gateway inherited, from the fourth on. */
  readonly covers: readonly ('ignore' | number)[]
  readonly log: Log
}

/** All that a start needs, before anything runs. */
export interface Prepared {
  readonly launch: Launch
  readonly mark: Mark
}

/** @throws Error that the system would give for a missing command */
export function prepare({ name, host, launch, groups }: StartOptions, port: number): Prepared {
  const mark = newMark('MCPGW_REPLICA')
  const prepared = launch({
    environment: { HOST: host, PORT: String(port), MCPGW_REPLICA_NAME: name },
    marks: { [mark.name]: mark.value },
  })

  // The shell that waits for its group would report a missing command only in the log.
  if (groups !== undefined) mustBeExecutable(prepared.command, prepared.environment['PATH'] ?? '')
  return { launch: prepared, mark }
}

/** @throws Error if the system refuses the process */
export function start(
  { user, workingDirectory, environment, ...launch }: Launch,
  group: ControlGroup | undefined,
  options: Pick<StartOptions, 'name' | 'covers' | 'log'>,
): ChildProcess {
  const [command, ...args] =
    group === undefined ? [launch.command, ...launch.args] : held(launch.command, launch.args)

  const child = spawn(command, args, {
    // A process group of its own lets the gateway signal all of it at once.
    detached: true,
    stdio: [group === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...options.covers],
    ...user,
    ...defined({ cwd: workingDirectory }),
    env: environment,
  })

  if (group !== undefined) begin(child, group, options)
  return child
}

/** Lets a held process begin once it is in its control group. If it cannot enter, it ends. */
function begin(
  { pid, stdin }: ChildProcess,
  group: ControlGroup,
  { name, log }: Pick<StartOptions, 'name' | 'log'>,
): void {
  // The process may have ended already.
  stdin?.on('error', () => undefined)
  try {
    if (pid !== undefined) group.take(pid)
    stdin?.end('\n')
  } catch (error) {
    stdin?.destroy()
    log.error({ replica: name, err: error }, 'a process could not enter its control group')
  }
}
