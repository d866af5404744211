import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** A claim on a folder by one living process. */
export interface ProcessLock {
  /** The holder before died without releasing. */
  readonly wasAbandoned: boolean
  release(): void
}

/** The pid that holds the lock lives. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld'
  readonly pid: number

  constructor(pid: number) {
    super(`held by process ${pid}`)
    this.pid = pid
  }
}

/**
 * Takes the lock file, also from a holder that is dead. A pid that was given to another process since is told by its start time.
 * Of several that try at once, one succeeds.
 * @throws LockHeld
 */
export function takeProcessLock(file: string): ProcessLock {
  const mine = `${process.pid} ${startTime(process.pid)}\n`
  const release = (): void => {
    if (read(file) === mine) rmSync(file, { force: true })
  }
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, mine, { mode: 0o600 })
  try {
    for (;;) {
      // The file appears with its content or not at all, and for one process only.
      if (linkNew(draft, file)) return { wasAbandoned: false, release }
      const previous = read(file)
      if (previous === undefined) continue
      const [pid = '', start = ''] = previous.trim().split(' ')
      if (Number(pid) !== process.pid && isAlive(Number(pid)) && startTime(Number(pid)) === start)
        throw new LockHeld(Number(pid))
      // Who replaces it holds a lock meanwhile, which would be taken over in the same way.
      const turn = takeProcessLock(`${file}.next`)
      try {
        if (read(file) !== previous) continue
        renameSync(draft, file)
        return { wasAbandoned: true, release }
      } finally {
        turn.release()
      }
    }
  } finally {
    rmSync(draft, { force: true })
  }
}

function linkNew(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isAlive(pid: number): boolean {
  // 0 and negative ones mean process groups (kill(2)); an empty file is what a power failure leaves.
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Field 22 of /proc/[pid]/stat (proc(5)); empty where there is no /proc, or no such process. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
