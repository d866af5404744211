import { readObject, readString, type RawObject } from '@mcp-gateway/protocol'
import { timeoutOr } from '../lib/async/timeout-signal.ts'
import { allListKinds, listKinds, type ListKind } from './list-kinds.ts'
import { ListCollector, type MemberList } from './member-list.ts'

/** All that a member lists and says of itself, as of one moment. */
export interface MemberSnapshot {
  readonly lists: Readonly<Record<ListKind, MemberList>>
  /** `title`, or else `name`, of the server; undefined if the server gives none. */
  readonly title: string | undefined
  readonly instructions: string | undefined
  /** True if the server completes arguments. */
  readonly completes: boolean
}

export interface MemberListsOptions {
  /**
   * Sends a request of the gateway's own, and resolves with the result. @throws Error whose message
   * says why there is none
   */
  readonly ask: (method: string, params: RawObject, signal: AbortSignal) => Promise<RawObject>
  /** The snapshot, or the failure, has changed. */
  readonly changed: () => void
  /** Milliseconds that only grow. */
  readonly now: () => number
}

/** How long a snapshot counts as fresh, in milliseconds, if no notice of a change comes. */
const freshMs = 60_000
/** Pauses after failures, in milliseconds: at first, and at most. */
const pauseMs = { first: 1000, longest: 30_000 }
/** Bound for reading all lists of one member, in milliseconds. */
const readMs = 60_000

/**
 * The lists of one member, read in the background. Readers always get the latest complete snapshot
 * at once: a member that fails keeps its lists, so that the tools of clients do not flicker.
 */
export class MemberLists {
  readonly #options: MemberListsOptions
  #snapshot: MemberSnapshot | undefined
  #failure: string | undefined
  #reading: Promise<void> | undefined
  #again = false
  #readAt = Number.NEGATIVE_INFINITY
  #retryAt = Number.NEGATIVE_INFINITY
  #pauseMs = pauseMs.first
  readonly #closed = new AbortController()

  /** `kept` is what the member listed before. */
  constructor(options: MemberListsOptions, kept?: MemberSnapshot) {
    this.#options = options
    this.#snapshot = kept
  }

  /** Takes what another process has kept, unless the member itself was read meanwhile. */
  restore(kept: MemberSnapshot): void {
    if (this.#snapshot !== undefined) return
    this.#snapshot = kept
    this.#options.changed()
  }

  get snapshot(): MemberSnapshot | undefined {
    return this.#snapshot
  }

  /** Why the last reading failed; undefined if it succeeded, or if there was none. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** Reads the lists unless they are fresh. Resolves when they have been read, or could not be. */
  refresh(): Promise<void> {
    const { now } = this.#options
    const due = now() - this.#readAt >= freshMs && now() >= this.#retryAt
    return due || this.#reading !== undefined ? this.#read() : Promise.resolve()
  }

  /** The lists have changed, or may have: reads them now, or once more after the present reading. */
  doubt(): void {
    this.#readAt = Number.NEGATIVE_INFINITY
    this.#again = this.#reading !== undefined
    if (this.#options.now() >= this.#retryAt) void this.#read()
  }

  /** Reads at once, because the member has become ready. */
  retry(): void {
    this.#retryAt = Number.NEGATIVE_INFINITY
    this.#pauseMs = pauseMs.first
    this.doubt()
  }

  close(): void {
    this.#closed.abort(new Error('The member has been removed.'))
  }

  /** One reading at a time. */
  #read(): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined
      const again = this.#again && !this.#closed.signal.aborted
      this.#again = false
      if (again) void this.#read()
    })
    return this.#reading
  }

  async #readAll(): Promise<void> {
    const { changed, now } = this.#options
    const signal = timeoutOr(this.#closed.signal, readMs)
    try {
      this.#snapshot = await this.#take(signal)
      this.#failure = undefined
      this.#readAt = now()
      this.#pauseMs = pauseMs.first
    } catch (error) {
      this.#failure = (error as Error).message
      this.#retryAt = now() + this.#pauseMs
      this.#pauseMs = Math.min(this.#pauseMs * 2, pauseMs.longest)
    }
    if (!this.#closed.signal.aborted) changed()
  }

  async #take(signal: AbortSignal): Promise<MemberSnapshot> {
    const { ask } = this.#options
    const discovered = await ask('server/discover', new Map(), signal)
    const capabilities = readObject(discovered.get('capabilities')) ?? new Map<string, string>()
    const lists: Partial<Record<ListKind, MemberList>> = {}
    for (const kind of allListKinds)
      lists[kind] = capabilities.has(capabilityOf[kind])
        ? await this.#list(kind, signal)
        : { items: [], mistakes: [] }
    return {
      lists: lists as Record<ListKind, MemberList>,
      title: titleOf(discovered),
      instructions: readString(discovered.get('instructions')),
      completes: capabilities.has('completions'),
    }
  }

  async #list(kind: ListKind, signal: AbortSignal): Promise<MemberList> {
    const collector = new ListCollector(kind)
    let cursor: string | undefined
    do {
      const params: RawObject = new Map(cursor === undefined ? [] : [['cursor', cursor]])
      cursor = collector.take(await this.#options.ask(listKinds[kind].method, params, signal))
    } while (cursor !== undefined)
    return collector.end()
  }
}

const capabilityOf: Readonly<Record<ListKind, string>> = {
  tools: 'tools',
  prompts: 'prompts',
  resources: 'resources',
  templates: 'resources',
}

function titleOf(discovered: RawObject): string | undefined {
  const meta = readObject(discovered.get('_meta'))
  const info = readObject(meta?.get('io.modelcontextprotocol/serverInfo'))
  const title = readString(info?.get('title')) ?? readString(info?.get('name'))
  return title === undefined || title.trim() === '' ? undefined : title.slice(0, 100)
}
