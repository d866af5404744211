import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * Checks the command, because a sandbox would start anyway and report a missing command only in the
 * log.
 * @throws Error that the system would give: ENOENT or EACCES
 */
export function mustBeExecutable(command: string, path: string): void {
  const folders = command.includes('/') ? [''] : path.split(delimiter)
  let failure: unknown
  for (const folder of folders)
    try {
      return accessSync(join(folder, command), constants.X_OK)
    } catch (error) {
      failure = error
    }
  throw failure
}
