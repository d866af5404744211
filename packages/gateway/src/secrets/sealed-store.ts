import { createVault } from '../crypto/vault.ts'
import { openStore, type OpenStoreOptions } from '../store/open.ts'
import { sealStore, type SealedStore } from '../store/sealed.ts'
import { loadVaultKeys } from './vault-keys.ts'

/**
 * Opens the configured store with the keys of its secrets.
 * @throws GatewayError `store_unavailable`, `storage_full`; Error when a kept key is malformed
 */
export async function openSealedStore({
  keys,
  ...options
}: OpenStoreOptions & { readonly keys: readonly string[] }): Promise<SealedStore> {
  const store = await openStore(options)
  try {
    return sealStore(
      store,
      createVault(await loadVaultKeys({ dataDir: options.dataDir, configured: keys })),
    )
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
}
