import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A control group of Linux: all that a process starts stays in it, whatever it does to its parents, session or marks. */
export interface ControlGroup {
  readonly folder: string
  /** Puts a process into it. @throws Error when the process cannot be put there */
  take(pid: number): void
  /** Ends what is left in it, at once, and removes it. */
  end(): Promise<void>
}

/** Control groups of this gateway's processes, one for each. (cgroups(7), version 2) */
export class ControlGroups {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /**
   * Groups below that of this process. The series is the same at each start: what an earlier gateway left in its groups
   * ends. The name is another at each start, because the warden of an earlier gateway may still be at work.
   * A text says why there are none.
   */
  static async open(series: string, name: string): Promise<ControlGroups | string> {
    const parent = ownGroup()
    if (parent === undefined) return 'this machine has no control groups of version 2.'
    const all = join(parent, `mcp-gateway-${series}`)
    const folder = join(all, name)
    try {
      await endGroup(all)
      const probe = join(folder, 'probe')
      mkdirSync(probe, { recursive: true })
      // Linux 5.14.
      if (!existsSync(join(probe, 'cgroup.kill')))
        return 'control groups cannot end processes here.'
      const [command, ...args] = held('/bin/true', [])
      const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] })
      const ended = once(child, 'exit')
      if (child.pid !== undefined) enter(probe, child.pid)
      child.stdin.end('\n')
      const [status] = (await ended) as [number | null]
      await endGroup(probe)
      return status === 0 ? new ControlGroups(folder) : 'no process can be put into control groups.'
    } catch (error) {
      return `control groups cannot be made (${(error as NodeJS.ErrnoException).code}).`
    }
  }

  /** @throws Error when it cannot be made */
  make(name: string): ControlGroup {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    return { folder, take: (pid) => enter(folder, pid), end: () => endGroup(folder) }
  }

  /** Ends what is left in any of them, and removes them. */
  end(): Promise<void> {
    return endGroup(dirname(this.folder))
  }
}

/**
 * A command that waits for a line on its standard input before it becomes the given one. So it can
 * be put into a group first, and starts nothing outside, also as a user who may not enter groups.
 */
export function held(command: string, args: readonly string[]): [string, ...string[]] {
  const wait = 'read -r begin || exit 126; exec "$@" </dev/null'
  return ['/bin/sh', '-c', wait, 'sh', command, ...args]
}

function enter(folder: string, pid: number): void {
  writeFileSync(join(folder, 'cgroup.procs'), String(pid))
}

async function endGroup(folder: string): Promise<void> {
  if (!existsSync(folder)) return
  writeFileSync(join(folder, 'cgroup.kill'), '1')
  // A group can be removed once its last process is gone, which takes a moment.
  for (let tries = 0; ; tries += 1) {
    try {
      return removeGroup(folder)
    } catch (error) {
      if (tries === 100) throw error
      await sleep(10)
    }
  }
}

function removeGroup(folder: string): void {
  for (const each of readdirSync(folder, { withFileTypes: true }))
    if (each.isDirectory()) removeGroup(join(folder, each.name))
  rmdirSync(folder)
}

/** The folder of the group that this process is in. */
function ownGroup(): string | undefined {
  try {
    const path = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
    // proc_pid_mountinfo(5): id, parent, device, root, mount point, …, a dash, type.
    const mount = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((line) => line.includes(' - cgroup2 '))
    const [, , , root, point] = mount?.split(' ') ?? []
    if (path === undefined || root === undefined || point === undefined) return undefined
    return join(point, relative(root, path))
  } catch {
    return undefined
  }
}
