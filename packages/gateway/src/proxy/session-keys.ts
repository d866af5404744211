import { randomBytes } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The keys that seal session ids, the first of which seals. When none is configured, one is made at the first start and
 * kept in the data folder, so that sessions survive a restart.
 */
export async function loadSessionKeys(options: {
  readonly dataDir: string
  readonly configured: readonly string[]
}): Promise<readonly Buffer[]> {
  if (options.configured.length > 0) return options.configured.map((key) => Buffer.from(key, 'base64'))
  const file = join(options.dataDir, 'session.key')
  try {
    // `wx`: of two processes that start at once, one makes the key and the other reads it.
    const handle = await open(file, 'wx', 0o600)
    const key = randomBytes(32)
    await handle.writeFile(`${key.toString('base64')}\n`)
    await handle.sync()
    await handle.close()
    return [key]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const key = Buffer.from((await readFile(file, 'utf8')).trim(), 'base64')
  if (key.length !== 32)
    throw new Error(`${file} does not hold a key of 32 bytes in base64. Remove it to make a new one; open sessions end then.`)
  return [key]
}
