import { spawnSync } from 'node:child_process'

const setpriv = '/usr/bin/setpriv'

/** What starts the command that follows as another user, who cannot get more rights again. */
export function asUser(uid: number): string[] {
  const ids = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups']
  return [setpriv, ...ids, '--inh-caps=-all', '--no-new-privs', '--']
}

/** Whether this process, as root, can do that here. The setpriv of BusyBox has other options. */
export function hasSetpriv(): boolean {
  const [command = '', ...args] = asUser(0)
  return spawnSync(command, [...args, '/bin/true'], { stdio: 'ignore' }).status === 0
}
