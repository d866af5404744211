import type { Holdings } from '../core/access.ts'
import type { ApiKey } from '../core/api-key.ts'
import type { Action, Permit } from '../core/permission.ts'
import type { Resource, Stored } from '../core/resource.ts'
import type { Admit, Collection, Store } from './store.ts'

/** The actions that change a record. */
export type Change = Extract<Action, 'write' | 'offer' | 'decline' | 'transfer'>

/**
 * A collection as the control plane gets it: each write takes the permit of its caller, so a write
 * without authorization does not compile.
 */
export interface PermittedCollection<R extends Stored, Held = number> extends Pick<
  Collection<R, Held>,
  'get' | 'list'
> {
  /** Stores a new record. @throws as `Collection.create` */
  create(permit: Permit<'create', R['kind']>, record: R, admit?: Admit<Held>): Promise<void>
  /**
   * Replaces the permitted record if it is still the one that the permit was made for.
   * @throws as `Collection.replace`
   */
  replace(permit: Permit<Change, R>, record: R, admit?: Admit<Held>): Promise<void>
  /**
   * Deletes the permitted record if it is still the one that the permit was made for.
   * @throws as `Collection.delete`
   */
  delete(permit: Permit<'write', R>): Promise<void>
}

/** The store as the control plane gets it. */
export interface PermittedStore extends PermittedCollection<Resource, Holdings> {
  /** API keys by id. */
  readonly apiKeys: PermittedCollection<ApiKey>
}

export function permittedStore(store: Store): PermittedStore {
  return { ...permittedCollection(store), apiKeys: permittedCollection(store.apiKeys) }
}

export function permittedCollection<R extends Stored, Held>(
  collection: Collection<R, Held>,
): PermittedCollection<R, Held> {
  return {
    get: (name) => collection.get(name),
    list: (query) => collection.list(query),
    create: (_permit, record, admit) => collection.create(record, admit),
    async replace({ resource }, record, admit) {
      if (record.uid !== resource.uid) throw new Error('The permit is for another record.')
      await collection.replace(record, resource.version, admit)
    },
    delete: ({ resource }) => collection.delete(resource.name, resource.uid, resource.version),
  }
}
