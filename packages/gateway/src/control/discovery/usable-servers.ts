import { authorize, mayConnect } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import { each } from '../../store/each.ts'
import type { PermittedStore } from '../../store/permitted.ts'
import type { Collection, Store } from '../../store/store.ts'
import { listOfKind, ofKind } from '../kinds/kind.ts'
import type { ResourceKinds } from '../kinds/kinds.ts'
import { keyOf, type Connectable } from './descriptions.ts'

type Readable<R extends Connectable> = Pick<Collection<R>, 'get' | 'list'>

export interface UsableServersOptions {
  readonly kinds: ResourceKinds
  readonly store: PermittedStore
  /** The store with sealed secrets. Lists show no secrets, and read far more than they show. */
  readonly sealedResources: Pick<Store, 'list'>
  readonly servers: Readable<VirtualServer>
}

/** The MCP servers of the gateway, as far as a caller may use them. */
export class UsableServers {
  readonly #adapters: Readable<Adapter>
  readonly #servers: Readable<VirtualServer>

  constructor({ kinds, sealedResources, servers, store }: UsableServersOptions) {
    this.#servers = servers
    this.#adapters = {
      get: ofKind(store, kinds.adapter).get,
      list: listOfKind(sealedResources, kinds.adapter).list,
    }
  }

  /**
   * The server of a key.
   * @throws GatewayError as `authorize`
   */
  async get(principal: Principal, key: string): Promise<Connectable> {
    const [, collection, name = ''] = /^(adapters|servers)\.([a-z0-9-]{1,52})$/.exec(key) ?? []
    const servers = collection === 'servers' ? this.#servers : this.#adapters
    const found = await servers.get(name)
    return authorize<'use', Connectable>(principal, 'use', found).resource
  }

  /** All that the caller may use after a key, in order of the keys. */
  async *list(principal: Principal, after = ''): AsyncIterable<Connectable> {
    for (const [start, collection] of [
      ['adapters.', this.#adapters],
      ['servers.', this.#servers],
    ] as const) {
      if (after > `${start}~`) continue
      const name = after.startsWith(start) ? after.slice(start.length) : ''
      for await (const server of each<Connectable>(collection as Readable<Connectable>, {
        after: name,
      }))
        if (mayConnect(principal, server)) yield server
    }
  }

  /** A page of the servers that fit. `next` is the key that the page ends with, if more follow. */
  async page(
    principal: Principal,
    { after, limit }: { readonly after: string | undefined; readonly limit: number },
    fits: (server: Connectable) => boolean,
  ): Promise<{ readonly shown: readonly Connectable[]; readonly next: string | undefined }> {
    const shown: Connectable[] = []
    for await (const server of this.list(principal, after)) {
      if (!fits(server)) continue
      const last = shown.at(-1)
      if (last !== undefined && shown.length === limit) return { shown, next: keyOf(last) }
      shown.push(server)
    }
    return { shown, next: undefined }
  }
}
