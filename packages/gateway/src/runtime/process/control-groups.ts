import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A Linux control group. All that a process starts stays in its group, even if it changes its
 * parent, session or marks.
 */
export interface ControlGroup {
  readonly folder: string
  /** Puts a process into the group. @throws Error when this fails */
  take(pid: number): void
  /** Kills the remaining processes of the group at once, and removes the group. */
  end(): Promise<void>
}

/** Control groups of this gateway's processes, one for each process. (cgroups(7), version 2) */
export class ControlGroups {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /**
   * Opens groups below this process's own, or returns why it cannot. A constant `series` ends an
   * earlier gateway's processes; `name` is new, as that gateway's warden may still work.
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

      // cgroup.kill exists since Linux 5.14.
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

  /** @throws Error when the group cannot be created */
  make(name: string): ControlGroup {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    return { folder, take: (pid) => enter(folder, pid), end: () => endGroup(folder) }
  }

  /** Kills the remaining processes of all groups, and removes the groups. */
  end(): Promise<void> {
    return endGroup(dirname(this.folder))
  }
}

/**
 * Wraps a command so that it waits for a line on standard input. The process can then enter a group
 * before the command starts anything, even as a user who may not enter groups.
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
  // A group can be removed only once its last process is gone, which takes a moment.
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

/** The folder of this process's control group. */
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
