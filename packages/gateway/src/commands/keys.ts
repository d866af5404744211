import { randomBytes } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { createSecret } from '../runtime/open.ts'
import { say, usage } from './say.ts'

/**
 * Creates keys for the `sessions.keys` and `secrets.keys` of all processes. The command never shows
 * them.
 */
export async function createKeys(
  { runtime }: Config,
  [name, ...more]: readonly string[],
): Promise<number> {
  if (name === undefined || more.length > 0)
    return say(`keys create takes the name of one Secret.\n\n${usage}`, 2)
  const key = (): string => randomBytes(32).toString('base64')
  const made = await createSecret(runtime.kubernetes, name, { sessions: key(), secrets: key() })
  return say(
    made ? `The Secret ${name} was made.\n` : `The Secret ${name} is there, and stays as it is.\n`,
  )
}
