import { mayUse } from '../core/permission.ts'
import { samePrincipal } from '../core/principal.ts'
import type { SecretReference } from '../core/resource.ts'
import type { Secret } from '../core/secret.ts'
import type { Collection } from '../store/store.ts'
import type { Found, SecretSource } from './sources.ts'

/** The secrets of `/secrets`. */
export function storeSource(secrets: Collection<Secret>): SecretSource {
  return {
    async admits(principal, { name }) {
      const secret = await secrets.get(name)
      return secret !== undefined && mayUse(principal, secret)
    },
    ownerOf: async ({ name }) => (await secrets.get(name))?.owner,
    read: async (reference) => valueIn(await secrets.get(reference.name), reference),
  }
}

/** Returns the value that a reference selects from the secret of its name. */
export function valueIn(secret: Secret | undefined, { name, key, owner }: SecretReference): Found {
  if (secret === undefined)
    return { reason: 'SecretMissing', message: `There is no secret '${name}'.` }
  if (owner !== undefined && !samePrincipal(owner, secret.owner))
    return {
      reason: 'SecretMissing',
      message:
        `The secret '${name}' is another owner's than the one that was referred to. To use ` +
        'it, give the reference again.',
    }
  const values = new Map(Object.entries(secret.spec.values))
  if (key === undefined && values.size > 1)
    return {
      reason: 'SecretMissing',
      message: `The secret '${name}' has several values, so a reference to it must name a key.`,
    }
  const text = key === undefined ? [...values.values()][0] : values.get(key)
  if (text === undefined)
    return {
      reason: 'SecretMissing',
      message: `The secret '${name}' has no value by the key '${String(key)}'.`,
    }
  if (text.sealed === undefined) return { value: text.value }
  return {
    reason: 'SecretUnreadable',
    message:
      `The secret '${name}' cannot be decrypted: it was changed in the store, or its key ` +
      '(secrets.keys) is gone. Give its value again.',
  }
}
