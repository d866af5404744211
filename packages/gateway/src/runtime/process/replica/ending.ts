import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { lastWords } from '@mcp-gateway/warden'
import type { ProgramConfig } from '../../../config/config.ts'
import type { Replica } from '../../../core/workload.ts'
import { defined } from '../../../lib/defined.ts'
import type { Ailment, HealthSettings } from './health.ts'
import type { LogBuffer } from './log-buffer.ts'

export type LastExit = NonNullable<Replica['lastExit']>

/** The end of one instance, in words for people. */
export interface Ending {
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

/** The end of a process, by the system. */
export interface Exit {
  readonly code?: number
  readonly signal?: string
  readonly error?: NodeJS.ErrnoException
}

/** One instance, from its start to its end. */
export interface Run {
  readonly exit: Exit
  readonly logs: Pick<LogBuffer, 'last'>
  readonly tooLate: Ailment | 'StartTimeout' | undefined
  readonly readyMs: number
  readonly wasReady: boolean
}

export interface EndingOptions {
  readonly program: ProgramConfig
  readonly startTimeoutMs: number
  readonly health: HealthSettings
}

export function endingOf(run: Run, options: EndingOptions): Ending {
  const { exit, logs, tooLate, readyMs, wasReady } = run
  if (exit.error !== undefined) return notStarted(exit.error, options.program)
  if (tooLate !== undefined) return endingByGateway({ ...run, tooLate }, options)

  const early = wasReady ? '' : ' before it listened on its PORT'
  const message =
    exit.signal === undefined
      ? `The process exited with code ${exit.code}${early}.`
      : `The process was ended by ${exit.signal}${early}.`

  return {
    reason: exit.signal === undefined ? 'Exited' : 'Killed',
    ...textsOf(run, message),
    readyMs,
    portTaken: logs.last(20).some((line) => /EADDRINUSE|address (already )?in use/i.test(line)),
  }
}

function endingByGateway(
  run: Run & { readonly tooLate: NonNullable<Run['tooLate']> },
  { startTimeoutMs, health }: EndingOptions,
): Ending {
  const { tooLate, readyMs } = run
  const messages = {
    PortTaken: 'A process of somebody else listens on its PORT.',
    StartTimeout: `The process did not listen on its PORT within ${startTimeoutMs / 1000} s.`,
    NotResponding: `The process did not answer ${health.restartAfter} times in a row.`,
  }

  return {
    reason: tooLate,
    ...textsOf(run, messages[tooLate]),
    readyMs,
    portTaken: tooLate === 'PortTaken',
  }
}

function textsOf(
  { exit, logs }: Run,
  message: string,
): Pick<Ending, 'message' | 'output' | 'lastExit'> {
  const last = lastWords(logs.last(50))
  const output = last === '' ? {} : { output: `It said last: ${last}` }
  const codes = defined({ code: exit.code, signal: exit.signal })
  return { message, ...output, lastExit: { ...codes, message, ...output } }
}

/** The ending of a process that the system did not start. */
export function notStarted(
  error: NodeJS.ErrnoException,
  { command, workingDirectory }: ProgramConfig,
): Ending {
  const [program = ''] = command
  const named = `program '${basename(program)}'`

  // The system answers ENOENT for all three causes.
  if (error.code === 'ENOENT') {
    if (workingDirectory !== undefined && !existsSync(workingDirectory))
      return failed(
        'WorkingDirectoryNotFound',
        'The working directory of the image does not exist.',
        `It is '${workingDirectory}'.`,
      )

    const interpreter = program.includes('/') && existsSync(program)
    return failed(
      'CommandNotFound',
      `The ${interpreter ? 'interpreter of the ' : ''}${named} does not exist.`,
      `It is '${program}'.`,
    )
  }

  if (error.code === 'EACCES')
    return failed(
      'CommandNotExecutable',
      `The ${named} may not be executed.`,
      `It is '${program}'.`,
    )

  return startFailed(error)
}

export function startFailed(error: unknown): Ending {
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
  const text = sentence(error instanceof Error ? error.message : String(error))
  // The system names paths. Other errors repeat an argument, which may be a token.
  const isOfSystem = error instanceof Error && 'syscall' in error
  return {
    ...failed('StartFailed', `The process could not be started${code}.`),
    ...(isOfSystem ? { internals: text } : { output: text }),
  }
}

/** The ending of an instance that was never ready, and wrote nothing. */
export function failed(reason: string, message: string, internals?: string): Ending {
  const texts = defined({ message, internals })
  return { reason, ...texts, lastExit: texts, readyMs: 0, portTaken: false }
}

/** Adds a full stop where the text of a process has none. */
export function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}
