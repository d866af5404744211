import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

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

/** Takes the lock file, also from a holder that is dead. A pid that was given to another process since is told by its start time. @throws LockHeld */
export function takeProcessLock(file: string): ProcessLock {
  const mine = `${process.pid} ${startTime(process.pid)}\n`
  const previous = read(file)
  if (previous !== undefined && previous !== mine) {
    const [pid = '', start = ''] = previous.trim().split(' ')
    if (Number(pid) !== process.pid && isAlive(Number(pid)) && startTime(Number(pid)) === start) throw new LockHeld(Number(pid))
  }
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, mine, { mode: 0o600 })
  renameSync(draft, file)
  return {
    wasAbandoned: previous !== undefined,
    release: () => {
      if (read(file) === mine) rmSync(file, { force: true })
    },
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Field 22 of /proc/[pid]/stat (proc(5)); empty where there is no /proc. */
function startTime(pid: number): string {
  const stat = read(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
