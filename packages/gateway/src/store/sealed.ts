import { mapSecrets, mapValues, type Secret } from '../core/secret.ts'
import type { Holdings } from '../core/access.ts'
import type { BoundSessions } from '../core/virtual-servers/bound-sessions.ts'
import type { ApiKey } from '../core/api-key.ts'
import type { KeptLists, VirtualServer } from '../core/virtual-servers/virtual-server.ts'
import { GatewayError } from '../core/errors.ts'
import type { Resource, SecretText, Stored } from '../core/resource.ts'
import type { Vault } from '../crypto/vault.ts'
import { defined } from '../lib/defined.ts'
import { each } from './each.ts'
import type { Admit, Change, Collection, ListQuery, Store } from './store.ts'

/**
 * Wraps a store and seals its secrets. Users of the wrapper see the values in clear. Disposing the
 * wrapper disposes the inner store.
 */
export interface SealedStore extends Store {
  /**
   * Secrets stay sealed when read, and are sealed when written. For callers that need no values,
   * and for whom a hidden secret must not take longer than a missing one.
   */
  readonly sealedSecrets: Collection<Secret>
  /** Adapters and tools with their secrets sealed. */
  readonly sealedResources: Pick<Collection<Resource>, 'list'>
  /**
   * Seals values from before there was a vault, and renews seals of earlier keys. Versions stay, as
   * no value changes. Values that cannot be opened stay as they are.
   */
  renewSeals(): Promise<Renewal>
}

export interface Renewal {
  /** Number of resources written. */
  readonly renewed: number
  /**
   * Names of resources with a secret that cannot be opened: it was changed, or its key is unknown.
   */
  readonly unreadable: readonly string[]
}

export function sealStore(store: Store, vault: Vault): SealedStore {
  return new SealedStoreOver(store, vault)
}

type MapTexts<R> = (resource: R, change: (text: SecretText, place: string) => SecretText) => R

class SealedCollection<R extends Stored, Held> implements Collection<R, Held> {
  readonly #inner: Collection<R, Held>
  readonly #vault: Vault
  readonly #map: MapTexts<R>

  constructor(inner: Collection<R, Held>, vault: Vault, map: MapTexts<R>) {
    this.#inner = inner
    this.#vault = vault
    this.#map = map
  }

  create(resource: R, admit?: Admit<Held>): Promise<void> {
    return this.#inner.create(this.#sealed(resource), admit)
  }

  async get(name: string): Promise<R | undefined> {
    const stored = await this.#inner.get(name)
    return stored === undefined ? undefined : this.#opened(stored)
  }

  async list(query: ListQuery<R>): Promise<readonly R[]> {
    return (await this.#inner.list(query)).map((stored) => this.#opened(stored))
  }

  replace(resource: R, expectedVersion: number, admit?: Admit<Held>): Promise<void> {
    return this.#inner.replace(this.#sealed(resource), expectedVersion, admit)
  }

  delete(name: string, uid: string, expectedVersion: number): Promise<void> {
    return this.#inner.delete(name, uid, expectedVersion)
  }

  async *watch(signal: AbortSignal): AsyncIterable<Change<R>> {
    for await (const { resource, ...change } of this.#inner.watch(signal)) {
      const opened = resource === undefined ? undefined : this.#opened(resource)
      yield { ...change, ...defined({ resource: opened }) }
    }
  }

  /** See `SealedStore.renewSeals`. */
  async renew(): Promise<Renewal> {
    let renewed = 0
    const unreadable: string[] = []

    for await (const stored of each(this.#inner, {})) {
      let readable = true
      let stale = false
      const fresh = this.#map(stored, (text, place) => {
        const { value, sealed } = text
        const next =
          sealed === undefined ? this.#vault.seal(value, place) : this.#vault.renew(sealed, place)
        readable &&= next !== undefined
        if (next === undefined || next === sealed) return text

        stale = true
        return { value: '', sealed: next }
      })

      if (!readable) unreadable.push(stored.name)
      if (!stale) continue

      try {
        await this.#inner.replace(fresh, stored.version)
        renewed += 1
      } catch (error) {
        // Another writer has changed or removed the record, and has sealed it, too.
        if (
          !(error instanceof GatewayError) ||
          !['precondition_failed', 'not_found'].includes(error.code)
        )
          throw error
      }
    }

    return { renewed, unreadable }
  }

  #sealed(resource: R): R {
    return this.#map(resource, (text, place) =>
      text.sealed === undefined ? { value: '', sealed: this.#vault.seal(text.value, place) } : text,
    )
  }

  #opened(resource: R): R {
    return this.#map(resource, (text, place) => {
      const value = text.sealed === undefined ? undefined : this.#vault.open(text.sealed, place)
      return value === undefined ? text : { value }
    })
  }
}

class SealedStoreOver extends SealedCollection<Resource, Holdings> implements SealedStore {
  readonly apiKeys: Collection<ApiKey>
  readonly servers: Collection<VirtualServer>
  readonly lists: Collection<KeptLists>
  readonly sessions: Collection<BoundSessions>
  readonly secrets: SealedCollection<Secret, number>
  readonly sealedSecrets: Collection<Secret>
  readonly sealedResources: Pick<Collection<Resource>, 'list'>
  readonly #store: Store

  constructor(store: Store, vault: Vault) {
    super(store, vault, mapSecrets)
    this.#store = store
    this.apiKeys = store.apiKeys
    this.servers = store.servers
    this.lists = store.lists
    this.sessions = store.sessions
    this.sealedResources = { list: (query) => store.list(query) }
    const secrets = (this.secrets = new SealedCollection(store.secrets, vault, mapValues))
    this.sealedSecrets = {
      create: (secret, admit) => secrets.create(secret, admit),
      replace: (secret, expectedVersion, admit) => secrets.replace(secret, expectedVersion, admit),
      get: (name) => store.secrets.get(name),
      list: (query) => store.secrets.list(query),
      delete: (name, uid, expectedVersion) => store.secrets.delete(name, uid, expectedVersion),
      watch: (signal) => store.secrets.watch(signal),
    }
  }

  async renewSeals(): Promise<Renewal> {
    const [resources, secrets] = [await this.renew(), await this.secrets.renew()]
    return {
      renewed: resources.renewed + secrets.renewed,
      unreadable: [...resources.unreadable, ...secrets.unreadable],
    }
  }

  ping(): Promise<void> {
    return this.#store.ping()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]()
  }
}
