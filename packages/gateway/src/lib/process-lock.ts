import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** A claim on a folder by one living process. */
export interface ProcessLock {
  /** The holder before died without a release. */
  readonly wasAbandoned: boolean
  release(): void
}

/** A living process holds the lock. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld'
  readonly pid: number

  constructor(pid: number) {
    super(`held by process ${pid}`)
    this.pid = pid
  }
}

/**
 * Takes the lock file, even from a dead holder. The start time reveals a reused pid. If several
 * processes try at once, one succeeds.
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
      // linkSync creates the file with its content or not at all, and for one process only.
      if (linkNew(draft, file)) return { wasAbandoned: false, release }

      const previous = read(file)
      if (previous === undefined) continue

      const [pid = '', start = ''] = previous.trim().split(' ')
      if (Number(pid) !== process.pid && isAlive(Number(pid)) && startTime(Number(pid)) === start)
        throw new LockHeld(Number(pid))

      // A process that replaces the file holds a second lock meanwhile, which can be taken over in
      // the same way.
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
  // 0 and negative pids mean process groups (kill(2)). A power failure leaves an empty file.
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Field 22 of /proc/[pid]/stat (proc(5)); empty without /proc or without such a process. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
