import type { ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { endMarked, type WardenOptions } from '@mcp-gateway/warden'
import type { Exit } from './ending.ts'

/** A process of a replica that runs, or has ended and left others behind. */
export interface Running extends Pick<WardenOptions, 'mark' | 'group'> {
  readonly child: ChildProcess
  readonly ended: Promise<Exit>
  /** False if the child is a helper such as `bwrap`, which runs the server. */
  readonly isServer: boolean
}

export interface EndOptions {
  /** Milliseconds for the processes to end by themselves, once they are asked to. */
  readonly graceMs: number
  /** True if the processes must leave; false if the child has ended already. */
  readonly leaving: boolean
  /** A sweep that ends all marked processes at once, if one is under way. */
  readonly sweep: Promise<boolean> | undefined
  /** Called if marked processes are left. */
  readonly onLeft: () => void
}

/** Ends the process and all that it forked, which may hold its pipes. */
export async function endAll(
  { child, ended, isServer, mark, group }: Running,
  { graceMs, leaving, sweep, onLeft }: EndOptions,
): Promise<Exit> {
  if (child.pid === undefined) return ended

  const graceSeconds = leaving ? graceMs / 1000 : 1
  // End marked processes first: while parents live, they lead to their children. Without /proc
  // the sweep finds nothing. A process id is valid only while its process runs.
  const running = isServer && child.exitCode === null && child.signalCode === null
  const pid = running ? child.pid : undefined

  const none = await (sweep ?? endMarked({ mark, group, pid, graceSeconds }))
  if (!none) onLeft()
  // A process that has overwritten its environment has lost its mark.
  const over = none && (await endsWithin(ended, 100))
  if (!over || process.platform !== 'linux') {
    signalGroup(child.pid, 'SIGTERM')
    if (leaving) await endsWithin(ended, graceMs)
    signalGroup(child.pid, 'SIGKILL')
  }

  const exit = await ended
  await closeOutput(child)
  return exit
}

/** The last output is still in the pipes. */
async function closeOutput(child: ChildProcess): Promise<void> {
  child.stdout?.resume()
  child.stderr?.resume()

  if (child.stdout?.readableEnded === false || child.stderr?.readableEnded === false)
    await Promise.race([
      new Promise<void>((resolve) => child.once('close', () => resolve())),
      sleep(200, undefined, { ref: false }),
    ])

  child.stdout?.destroy()
  child.stderr?.destroy()
}

export function whenEnded(child: ChildProcess, tellsSignalsByCode: boolean): Promise<Exit> {
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
