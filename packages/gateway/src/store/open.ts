import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import type { Store } from './store.ts'

/**
 * Opens the configured store. Drivers are imported here alone, and only the one that is used.
 * @throws GatewayError `store_unavailable`, `storage_full`
 */
export async function openStore({ dataDir }: { readonly dataDir: string }): Promise<Store> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    throw new GatewayError(error.code === 'ENOSPC' ? 'storage_full' : 'store_unavailable', {
      detail: `The data folder ${dataDir} can not be made: ${error.message}`,
      cause: error,
    })
  })
  const { openSqliteStore } = await import('./sqlite.ts')
  return openSqliteStore({ file: join(dataDir, 'gateway.db') })
}
