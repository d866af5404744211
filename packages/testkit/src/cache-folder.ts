import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * The folder of the user's cache for the programs that tests build or install. All clones share it,
 * so its name changes with every file of `inputs`, which are files and folders.
 */
export function cacheFolder(name: string, ...inputs: readonly string[]): string {
  const root = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const hash = createHash('sha256')
  for (const input of inputs) for (const file of filesIn(input)) hash.update(readFileSync(file))
  return join(root, 'mcp-gateway', `${name}-${hash.digest('hex').slice(0, 16)}`)
}

function filesIn(input: string): string[] {
  if (statSync(input).isFile()) return [input]
  return readdirSync(input, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()
}
