import { randomBytes } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'

/**
 * Returns the 32-byte key in a file (base64), and makes the file on the first call. `loss` tells
 * people the result of losing the key.
 * @throws Error if the file holds no such key
 */
export async function keptKey(file: string, loss: string): Promise<Buffer> {
  const kept = await readKey(file, loss)
  if (kept !== undefined) return kept

  // Writes a whole draft first, so that a crash or a full disk leaves no half key. If two processes
  // start at once, one links its draft, and the other reads that key.
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

  const made = await readKey(file, loss)
  if (made === undefined) throw new Error(`${file} was removed while it was made.`)

  return made
}

/**
 * Returns the key in a file, or undefined if the file does not exist.
 * @throws Error if the file holds no such key
 */
export async function readKey(file: string, loss: string): Promise<Buffer | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== 32)
    throw new Error(
      `${file} does not hold a key of 32 bytes in base64. Remove it to make a new one; ${loss}.`,
    )
  return key
}
