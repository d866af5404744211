import { randomBytes } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'

/** The key of 32 bytes that a file keeps, in base64; made at the first call. `loss` says what is lost with it. */
export async function keptKey(file: string, loss: string): Promise<Buffer> {
  const kept = await readKey(file, loss)
  if (kept !== undefined) return kept
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
  const made = await readKey(file, loss)
  if (made === undefined) throw new Error(`${file} was removed while it was made.`)
  return made
}

/** The key that a file keeps, or undefined when there is no such file. */
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
