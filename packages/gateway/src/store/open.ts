import { access, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import { defined } from '../lib/defined.ts'
import type { Store } from './store.ts'

/** The settings of the store (`store`). */
export interface StoreSettings {
  readonly url?: string | undefined
  readonly passwordFile?: string | undefined
  readonly schema: string
  readonly poolSize: number
  readonly timeoutSeconds: number
  readonly startTimeoutSeconds: number
}

export interface OpenStoreOptions {
  readonly dataDir: string
  /** Absent: the embedded store. */
  readonly settings?: StoreSettings
  /** Ends the wait for a store that is away. */
  readonly signal?: AbortSignal
  /** Receives why the store is away; undefined once it is back. */
  readonly report?: (problem: Error | undefined) => void
}

/**
 * Opens the configured store. Only this module imports drivers, and only the configured one is
 * loaded.
 * @throws GatewayError `store_unavailable`, `storage_full`
 */
export async function openStore({
  dataDir,
  settings,
  signal,
  report,
}: OpenStoreOptions): Promise<Store> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    throw new GatewayError(error.code === 'ENOSPC' ? 'storage_full' : 'store_unavailable', {
      detail: `The data folder ${dataDir} cannot be made: ${error.message}`,
      cause: error,
    })
  })

  if (settings?.url !== undefined) {
    const { openPostgresStore } = await import('./postgres/postgres-store.ts')
    const { url, passwordFile, schema, poolSize, timeoutSeconds, startTimeoutSeconds } = settings
    return openPostgresStore(
      defined({
        url,
        passwordFile,
        schema,
        poolSize,
        timeoutMs: Math.ceil(timeoutSeconds * 1000),
        startTimeoutMs: startTimeoutSeconds * 1000,
        signal,
        report,
      }),
    )
  }

  const { openSqliteStore } = await import('./sqlite.ts')
  return openSqliteStore({ file: join(dataDir, 'gateway.db') })
}

/**
 * Opens an embedded store by its file.
 * @throws GatewayError `store_unavailable`, also when an `expected` file is missing; `storage_full`
 */
export async function openStoreFile(file: string, expected: boolean): Promise<Store> {
  if (expected)
    await access(file).catch((error: unknown) => {
      throw new GatewayError('store_unavailable', {
        detail: `There is no store ${file}.`,
        cause: error,
      })
    })
  const { openSqliteStore } = await import('./sqlite.ts')
  return openSqliteStore({ file })
}
