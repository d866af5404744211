import { spawnSync } from 'node:child_process'

const setpriv = '/usr/bin/setpriv'

/** The command prefix that runs a command as another user, who cannot regain rights. */
export function asUser(uid: number): string[] {
  const ids = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups']
  return [setpriv, ...ids, '--inh-caps=-all', '--no-new-privs', '--']
}

/** Tells whether `asUser` works here. It needs root, and BusyBox's setpriv has other options. */
export function hasSetpriv(): boolean {
  const [command = '', ...args] = asUser(0)
  return spawnSync(command, [...args, '/bin/true'], { stdio: 'ignore' }).status === 0
}
