import { join } from 'node:path'
import { keptKey, readKey } from '../crypto/key-file.ts'

/**
 * Loads the keys that seal secrets in the store; the first one seals. Without configured keys, the
 * first start creates one in the data folder. It still opens secrets after keys are configured.
 */
export async function loadVaultKeys(options: {
  readonly dataDir: string
  readonly configured: readonly string[]
}): Promise<readonly Buffer[]> {
  const file = join(options.dataDir, 'secrets.key')
  const loss = 'stored secrets cannot be read then, and must be given again'
  if (options.configured.length === 0) return [await keptKey(file, loss)]
  const kept = await readKey(file, loss)
  return [
    ...options.configured.map((key) => Buffer.from(key, 'base64')),
    ...(kept === undefined ? [] : [kept]),
  ]
}
