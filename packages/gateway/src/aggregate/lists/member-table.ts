import type { RawObject } from '@mcp-gateway/protocol'
import type { Shares } from '@mcp-gateway/mcp-http'
import type { ReplicaDirectory } from '../../core/directories/directory.ts'
import { partyOf } from '../../core/principal.ts'
import type { Adapter } from '../../core/resource.ts'
import type { ServerRequests } from '../../servers/server-requests.ts'
import type { KeptLists } from './kept-lists.ts'
import { MemberLists } from './member-lists.ts'

export interface MemberTableOptions {
  readonly servers: Pick<ServerRequests, 'ask' | 'listen'>
  readonly adapter: (name: string) => Adapter | undefined
  readonly directory: Pick<ReplicaDirectory, 'get' | 'onChange'>
  readonly kept: Pick<KeptLists, 'read' | 'write' | 'forget'>
  /** Counts the characters of lists for the owners of the adapters. */
  readonly room: Shares
  /** The lists of an adapter have changed. */
  readonly changed: (name: string) => void
  /** Readings of an adapter begin to fail, or to succeed again. */
  readonly turned: (name: string) => void
  /** Milliseconds that only grow. */
  readonly now: () => number
}

/** The changes of which a member's server tells the gateway. */
const filter = '{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}'
/**
 * Pauses before a lost stream is opened again, in milliseconds: at first, at most, and for a server
 * that has no such streams.
 */
const pauseMs = { first: 1000, longest: 5000, refused: 60_000 }
const noRoom =
  'There is no room for its lists, because the lists of all members take the room that there is.'

interface Entry {
  readonly uid: string
  readonly generation: number
  readonly lists: MemberLists
  stopListening: () => void
  /** Gives the room of the lists back. */
  readonly release: () => void
  timer: NodeJS.Timeout | undefined
  pauseMs: number
}

/** The lists of all adapters that are members of virtual servers: read once for all of them. */
export class MemberTable implements Disposable {
  readonly #options: MemberTableOptions
  readonly #entries = new Map<string, Entry>()
  readonly #stopWatching: () => void

  constructor(options: MemberTableOptions) {
    this.#options = options
    this.#stopWatching = options.directory.onChange((workload) => this.#replicasChanged(workload))
  }

  /** The lists of an adapter, which are read from now on. */
  listsOf(adapter: Adapter): MemberLists {
    const { name, uid, generation } = adapter
    const known = this.#entries.get(name)
    if (known?.uid === uid && known.generation === generation) return known.lists
    // Until the changed server has been read, clients keep the lists that they know.
    const kept = known?.uid === uid ? known.lists.snapshot : undefined
    if (known !== undefined) this.#close(known)
    const share = this.#options.room.open(partyOf(adapter.owner))
    const giveUp = (): void => lists.drop(noRoom)
    const lists: MemberLists = new MemberLists(
      {
        ask: (method, params, signal) => this.#ask(name, method, params, signal),
        changed: () => this.#changed(name),
        turned: () => this.#options.turned(name),
        hold: (length) => {
          if (share.hold(length) !== undefined) return noRoom
          share.spare(giveUp)
          return undefined
        },
        now: this.#options.now,
      },
      kept,
    )
    const entry: Entry = {
      uid,
      generation,
      lists,
      stopListening: () => undefined,
      release: () => share.release(),
      timer: undefined,
      pauseMs: pauseMs.first,
    }
    this.#entries.set(name, entry)
    void this.#begin(adapter, entry)
    return lists
  }

  /** Reads the kept lists and the member itself side by side, and hears of changes afterwards. */
  async #begin(adapter: Adapter, entry: Entry): Promise<void> {
    const { lists } = entry
    const reading = lists.refresh()
    const kept = lists.snapshot === undefined ? await this.#options.kept.read(adapter) : undefined
    if (kept !== undefined) lists.restore(kept)
    await reading
    this.#listen(adapter.name, entry)
  }

  #changed(name: string): void {
    const adapter = this.#options.adapter(name)
    const lists = this.#entries.get(name)?.lists
    if (adapter !== undefined && lists?.snapshot !== undefined && lists.failure === undefined)
      this.#options.kept.write(adapter, lists.snapshot)
    this.#options.changed(name)
  }

  /** Forgets the adapters that are no members any more. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const [name, entry] of this.#entries) {
      if (names.has(name)) continue
      this.#entries.delete(name)
      this.#close(entry)
    }
  }

  /** An adapter has been removed. */
  forget(name: string): void {
    void this.#options.kept.forget(name)
  }

  #close(entry: Entry): void {
    clearTimeout(entry.timer)
    entry.stopListening()
    entry.lists.close()
    entry.release()
  }

  async #ask(
    name: string,
    method: string,
    params: RawObject,
    signal: AbortSignal,
  ): Promise<RawObject> {
    const adapter = this.#options.adapter(name)
    if (adapter === undefined) throw new Error('The adapter has been removed.')
    return this.#options.servers.ask(adapter, method, params, signal)
  }

  /** Hears of changed lists. A server without such streams is asked by time. */
  #listen(name: string, entry: Entry): void {
    const adapter = this.#options.adapter(name)
    if (adapter === undefined || this.#entries.get(name) !== entry) return
    const { now, servers } = this.#options
    let ended = false
    let stoodAt = Number.POSITIVE_INFINITY
    entry.stopListening = servers.listen(
      adapter,
      filter,
      (method) => {
        if (method.endsWith('/list_changed')) entry.lists.doubt()
        if (method !== 'notifications/subscriptions/acknowledged') return
        stoodAt = now()
        // Changes before now were told to nobody.
        if (entry.lists.failure === undefined) entry.lists.doubt()
        else entry.lists.retry()
      },
      (refused) => {
        if (ended || this.#entries.get(name) !== entry) return
        ended = true
        if (now() - stoodAt > pauseMs.longest) entry.pauseMs = pauseMs.first
        const waitMs = refused ? pauseMs.refused : entry.pauseMs
        entry.timer = setTimeout(() => this.#listenAgain(name, entry), waitMs).unref()
        entry.pauseMs = Math.min(entry.pauseMs * 2, pauseMs.longest)
      },
    )
  }

  #listenAgain(name: string, entry: Entry): void {
    void entry.lists.refresh()
    this.#listen(name, entry)
  }

  /** A server that could not be read may be there now. */
  #replicasChanged(name: string): void {
    const lists = this.#entries.get(name)?.lists
    if (lists === undefined || (lists.snapshot !== undefined && lists.failure === undefined)) return
    const replicas = this.#options.directory.get(name)?.replicas ?? []
    if (replicas.some(({ phase }) => phase === 'ready')) lists.retry()
  }

  [Symbol.dispose](): void {
    this.#stopWatching()
    for (const entry of this.#entries.values()) this.#close(entry)
    this.#entries.clear()
  }
}
