import { join } from 'node:path'
import { keptKey } from '../crypto/key-file.ts'

/**
 * Loads the keys for session ids; the first seals. If none is configured, the first start creates
 * one in the data folder, so that sessions survive a restart.
 */
export async function loadSessionKeys(options: {
  readonly dataDir: string
  readonly configured: readonly string[]
}): Promise<readonly Buffer[]> {
  if (options.configured.length > 0)
    return options.configured.map((key) => Buffer.from(key, 'base64'))
  return [await keptKey(join(options.dataDir, 'session.key'), 'open sessions end then')]
}
