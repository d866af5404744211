import { existsSync } from 'node:fs'

const prlimit = '/usr/bin/prlimit'
const choom = '/usr/bin/choom'

/** When memory runs out, the kernel ends servers before the gateway. (proc_pid_oom_score_adj(5)) */
const endedFirst = '500'

/**
 * The command prefix that limits the processes and threads of the command's user. The command
 * cannot lift the limits again. Both programs belong to util-linux.
 */
export function bounded(processes: number): string[] {
  return [
    ...(existsSync(prlimit) ? [prlimit, `--nproc=${processes}`, '--'] : []),
    ...(existsSync(choom) ? [choom, '-n', endedFirst, '--'] : []),
  ]
}
