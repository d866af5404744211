import { existsSync } from 'node:fs'

const prlimit = '/usr/bin/prlimit'
const choom = '/usr/bin/choom'

/** When memory runs out, the kernel ends servers before the gateway. (proc_pid_oom_score_adj(5)) */
const endedFirst = '500'

/**
 * What gives the command that follows its bounds, which it cannot lift again: so many processes and
 * threads of its user. Both programs are of util-linux.
 */
export function bounded(processes: number): string[] {
  return [
    ...(existsSync(prlimit) ? [prlimit, `--nproc=${processes}`, '--'] : []),
    ...(existsSync(choom) ? [choom, '-n', endedFirst, '--'] : []),
  ]
}
