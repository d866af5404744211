import { GatewayError } from '../../core/errors.ts'
import { gatewayItself } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { KeptLists as Kept } from '../../core/virtual-servers/virtual-server.ts'
import type { Collection } from '../../store/store.ts'
import type { MemberSnapshot } from './member-lists.ts'

export interface KeptListsOptions {
  readonly store: Pick<Collection<Kept>, 'get' | 'create' | 'replace' | 'delete'>
  /** Receives a failure of the store. The lists then come from the member alone. */
  readonly failed: (error: unknown) => void
  readonly now: () => number
}

/** Longer lists are read again after a restart, and are not kept. In UTF-16 units. */
const longestKept = 1024 * 1024

/** Keeps what members listed last in the store, so that all gateways know it from their start. */
export class KeptLists {
  readonly #options: KeptListsOptions
  /** The write in progress, by adapter: the newest snapshot is written last. */
  readonly #writing = new Map<string, Promise<void>>()

  constructor(options: KeptListsOptions) {
    this.#options = options
  }

  async read({ name, uid }: Adapter): Promise<MemberSnapshot | undefined> {
    try {
      const record = await this.#options.store.get(name)
      if (record?.uid !== uid) return undefined
      return JSON.parse(record.spec.snapshot) as MemberSnapshot
    } catch (error) {
      this.#options.failed(error)
      return undefined
    }
  }

  /** Writes a snapshot unless the store has the same. */
  write(adapter: Adapter, snapshot: MemberSnapshot): void {
    const { instructions = '', lists } = snapshot
    const items = Object.values(lists).flatMap((list) => list.items)
    const length = items.reduce((sum, { json }) => sum + json.length, instructions.length)
    const text = length > longestKept ? undefined : JSON.stringify(snapshot)
    if (text === undefined || text.length > longestKept) return
    const before = this.#writing.get(adapter.name) ?? Promise.resolve()
    const writing = before
      .then(() => this.#write(adapter, text))
      .catch((error: unknown) => {
        // Another gateway wrote at the same moment, and it has read the same server.
        const isRace = error instanceof GatewayError && races.has(error.code)
        if (!isRace) this.#options.failed(error)
      })
      .finally(() => {
        if (this.#writing.get(adapter.name) === writing) this.#writing.delete(adapter.name)
      })
    this.#writing.set(adapter.name, writing)
  }

  async #write({ name, uid }: Adapter, snapshot: string): Promise<void> {
    const { now, store } = this.#options
    const stored = await store.get(name)
    if (stored?.uid === uid && stored.spec.snapshot === snapshot) return

    const at = new Date(now()).toISOString()
    const record: Kept = {
      kind: 'lists',
      name,
      uid,
      version: stored?.uid === uid ? stored.version + 1 : 1,
      owner: { id: gatewayItself.id, issuer: gatewayItself.issuer },
      createdAt: stored?.createdAt ?? at,
      lastUpdatedAt: at,
      spec: { snapshot },
    }
    if (stored?.uid === uid) return store.replace(record, stored.version)
    // The lists of an earlier adapter of this name are nobody's.
    if (stored !== undefined) await store.delete(name, stored.uid, stored.version)
    await store.create(record)
  }

  /** Forgets the lists of an adapter that has been removed. */
  async forget(name: string): Promise<void> {
    const { failed, store } = this.#options
    try {
      const stored = await store.get(name)
      if (stored !== undefined) await store.delete(name, stored.uid, stored.version)
    } catch (error) {
      if (!(error instanceof GatewayError && races.has(error.code))) failed(error)
    }
  }
}

const races: ReadonlySet<string> = new Set(['name_taken', 'not_found', 'precondition_failed'])
