import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from './store.ts'

/** Opens the configured store. Drivers are imported here alone, and only the one that is used. */
export async function openStore(options: { readonly dataDir: string }): Promise<Store> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 })
  const { openSqliteStore } = await import('./sqlite.ts')
  return openSqliteStore({ file: join(options.dataDir, 'gateway.db') })
}
