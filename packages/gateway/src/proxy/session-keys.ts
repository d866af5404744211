import { randomBytes } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'
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
  const kept = await read(file)
  if (kept !== undefined) return [kept]
  // Whole before it has its name, so that neither a crash nor a full disk leaves half a key; of two processes that start at once,
  // one gives its key the name and the other reads it.
  const draft = `${file}.${randomBytes(4).toString('hex')}`
  try {
    const handle = await open(draft, 'wx', 0o600)
    try {
      await handle.writeFile(`${randomBytes(32).toString('base64')}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await link(draft, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(draft, { force: true })
  }
  const made = await read(file)
  if (made === undefined) throw new Error(`${file} was removed while it was made.`)
  return [made]
}

async function read(file: string): Promise<Buffer | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== 32)
    throw new Error(`${file} does not hold a key of 32 bytes in base64. Remove it to make a new one; open sessions end then.`)
  return key
}
