import { readdirSync, readFileSync } from 'node:fs'

const closedOnExec = 0o2000000

/**
 * Descriptors beyond the standard three that this process inherited, and that its child processes
 * would inherit too. (Linux, proc_pid_fdinfo(5))
 */
export function inheritedDescriptors(): number[] {
  try {
    return readdirSync('/proc/self/fdinfo')
      .map(Number)
      .filter((descriptor) => descriptor > 2 && descriptor < 1024 && isPassedOn(descriptor))
  } catch {
    return []
  }
}

function isPassedOn(descriptor: number): boolean {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1')
    const flags = /^flags:\s*([0-7]+)$/m.exec(info)?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & closedOnExec) === 0
  } catch {
    // This descriptor listed the folder, and is closed now.
    return false
  }
}
