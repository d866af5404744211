import { join } from 'node:path'
import { keptKey, readKey } from '../crypto/key-file.ts'

/**
 * The keys that seal secrets in the store, the first of which seals. When none is configured, one is made at the first start and kept in the
 * data folder. It goes on opening when others are configured later, so that these can take over.
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
