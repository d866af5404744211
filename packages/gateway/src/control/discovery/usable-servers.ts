import { authorize, mayConnect } from '../../core/permission.ts'
import type { Principal } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { VirtualServer } from '../../core/virtual-servers/virtual-server.ts'
import { each } from '../../store/each.ts'
import type { Collection } from '../../store/store.ts'
import { keyOf, type Connectable } from './descriptions.ts'

type Readable<R extends Connectable> = Pick<Collection<R>, 'get' | 'list'>

export interface UsableServersOptions {
  readonly adapters: Readable<Adapter>
  readonly servers: Readable<VirtualServer>
}

/** The MCP servers of the gateway, as far as a caller may use them. */
export class UsableServers {
  readonly #options: UsableServersOptions

  constructor(options: UsableServersOptions) {
    this.#options = options
  }

  /**
   * The server of a key.
   * @throws GatewayError as `authorize`
   */
  async get(principal: Principal, key: string): Promise<Connectable> {
    const [, collection, name = ''] = /^(adapters|servers)\.([a-z0-9-]{1,52})$/.exec(key) ?? []
    const { adapters, servers } = this.#options
    const found = collection === 'servers' ? await servers.get(name) : await adapters.get(name)
    return authorize<'use', Connectable>(principal, 'use', found).resource
  }

  /** All that the caller may use after a key, in order of the keys. */
  async *list(principal: Principal, after = ''): AsyncIterable<Connectable> {
    const { adapters, servers } = this.#options
    for (const [start, collection] of [
      ['adapters.', adapters],
      ['servers.', servers],
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
