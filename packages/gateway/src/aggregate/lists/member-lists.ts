import { readObject, readString, type RawObject } from '@mcp-gateway/protocol'
import { timeoutOr } from '../../lib/async/timeout-signal.ts'
import { allListKinds, listKinds, type ListKind } from './list-kinds.ts'
import { ListCollector, newRoom, unshared, type MemberList, type Room } from './member-list.ts'

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
  /** The snapshot has changed. */
  readonly changed: () => void
  /** Readings begin to fail, or to succeed again. */
  readonly turned: () => void
  /** Counts the characters of the snapshot. Returns why there is no room for them. */
  readonly hold: (length: number) => string | undefined
  /** Milliseconds that only grow. */
  readonly now: () => number
}

/** A time before all others. */
const never = Number.NEGATIVE_INFINITY
/** How long a snapshot counts as fresh, in milliseconds, if no notice of a change comes. */
const freshMs = 60_000
/** Pauses after failures, in milliseconds: at first, and at most. */
const pauseMs = { first: 1000, longest: 5000 }
/** Pauses between readings while notices of changes keep coming, in milliseconds. */
const restMs = { first: 250, longest: 30_000 }
/** Bound for reading all lists of one member, in milliseconds. */
const readMs = 60_000
/** Bounds of texts that a member gives, in characters. */
const longest = { failure: 300, instructions: 16 * 1024, title: 100 }
/** Counted for each item besides its text. */
const itemCost = 100

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
  #readAt = never
  /** No reading begins before. */
  #notBefore = never
  #pauseMs = pauseMs.first
  #restMs = restMs.first
  /** True if the next reading had to wait for the end of the rest. */
  #hasWaited = false
  #length = 0
  #timer: NodeJS.Timeout | undefined
  readonly #closed = new AbortController()

  /** `kept` is what the member listed before. */
  constructor(options: MemberListsOptions, kept?: MemberSnapshot) {
    this.#options = options
    if (kept !== undefined && this.#held(kept)) this.#snapshot = kept
  }

  /** Takes what another process has kept, unless the member itself was read meanwhile. */
  restore(kept: MemberSnapshot): void {
    if (this.#snapshot !== undefined || this.#closed.signal.aborted || !this.#held(kept)) return
    this.#snapshot = kept
    this.#options.changed()
  }

  #held(snapshot: MemberSnapshot): boolean {
    const length = lengthOf(snapshot)
    if (this.#options.hold(length) !== undefined) return false
    this.#length = length
    return true
  }

  /** Gives the lists up, because others need the room. They are read again when there is some. */
  drop(reason: string): void {
    this.#snapshot = undefined
    this.#length = 0
    this.#fails(reason, freshMs)
    this.#options.changed()
  }

  get snapshot(): MemberSnapshot | undefined {
    return this.#snapshot
  }

  /** The characters of the snapshot. */
  get length(): number {
    return this.#length
  }

  /** Why the last reading failed; undefined if it succeeded, or if there was none. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** Reads the lists unless they are fresh. Resolves when they have been read, or could not be. */
  refresh(): Promise<void> {
    const { now } = this.#options
    const due = now() - this.#readAt >= freshMs && now() >= this.#notBefore
    return due || this.#reading !== undefined ? this.#read() : Promise.resolve()
  }

  /**
   * The lists have changed, or may have. Reads them at once if they were quiet, and else after a
   * pause, which grows while notices keep coming.
   */
  doubt(): void {
    if (this.#closed.signal.aborted) return
    this.#readAt = never
    if (this.#reading === undefined) this.#readSoon()
    else this.#again = true
  }

  /** Reads at once, because the member has become ready. */
  retry(): void {
    this.#notBefore = never
    this.#pauseMs = pauseMs.first
    this.doubt()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#closed.abort(new Error('The member has been removed.'))
  }

  #readSoon(): void {
    const waitMs = this.#notBefore - this.#options.now()
    if (waitMs <= 0) return void this.#read()
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      if (this.#readAt !== never || this.#reading !== undefined) return
      this.#hasWaited = true
      this.#readSoon()
    }, waitMs).unref()
  }

  /** One reading at a time. */
  #read(): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined
      const again = this.#again
      this.#again = false
      if (again) this.doubt()
    })
    return this.#reading
  }

  async #readAll(): Promise<void> {
    const { hold, now } = this.#options
    const begunAt = now()
    const signal = timeoutOr(this.#closed.signal, readMs)
    try {
      const read = await this.#take(signal)
      if (this.#closed.signal.aborted) return
      const length = lengthOf(read)
      const shortage = hold(length)
      if (shortage !== undefined) return this.#fails(shortage, freshMs)
      this.#length = length
      this.#turn(undefined)
      this.#readAt = now()
      this.#pauseMs = pauseMs.first
      this.#rest(begunAt)
      this.#show(read)
    } catch (error) {
      this.#fails((error as Error).message)
    }
  }

  /** Each reading that had to wait doubles the rest, and quiet afterwards soon forgets it. */
  #rest(begunAt: number): void {
    const quietMs = Math.min(begunAt - this.#notBefore, restMs.longest)
    const quarters = Math.floor(quietMs / restMs.first)
    const next = this.#hasWaited ? this.#restMs * 2 : this.#restMs / 2 ** quarters
    this.#hasWaited = false
    this.#restMs = Math.min(Math.max(next, restMs.first), restMs.longest)
    this.#notBefore = this.#options.now() + this.#restMs
  }

  #fails(reason: string, waitMs = this.#pauseMs): void {
    const beginning = reason.slice(0, longest.failure).replaceAll(/\p{Cc}+/gu, ' ')
    this.#turn(reason.length > longest.failure ? `${beginning}…` : beginning)
    this.#notBefore = this.#options.now() + waitMs
    this.#pauseMs = Math.min(this.#pauseMs * 2, pauseMs.longest)
  }

  #turn(failure: string | undefined): void {
    const hasTurned = (failure === undefined) !== (this.#failure === undefined)
    this.#failure = failure
    if (hasTurned) this.#options.turned()
  }

  /** Equal lists change nothing, so that nobody makes their views anew. */
  #show(read: MemberSnapshot): void {
    if (this.#snapshot !== undefined && isSame(this.#snapshot, read)) return
    this.#snapshot = read
    this.#options.changed()
  }

  async #take(signal: AbortSignal): Promise<MemberSnapshot> {
    const { ask } = this.#options
    const room = newRoom()
    const discovered = await ask('server/discover', new Map(), signal)
    const capabilities = readObject(discovered.get('capabilities')) ?? new Map<string, string>()
    const lists: Partial<Record<ListKind, MemberList>> = {}
    for (const kind of allListKinds)
      lists[kind] = capabilities.has(capabilityOf[kind])
        ? await this.#list(kind, room, signal)
        : { items: [], mistakes: [] }
    return {
      lists: lists as Record<ListKind, MemberList>,
      title: titleOf(discovered),
      instructions: beginningOf(discovered.get('instructions'), longest.instructions),
      completes: capabilities.has('completions'),
    }
  }

  async #list(kind: ListKind, room: Room, signal: AbortSignal): Promise<MemberList> {
    const collector = new ListCollector(kind, room)
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

function lengthOf({ lists }: MemberSnapshot): number {
  let length = longest.instructions
  for (const { items } of Object.values(lists))
    for (const { key, json } of items) length += key.length + json.length + itemCost
  return length
}

function isSame(a: MemberSnapshot, b: MemberSnapshot): boolean {
  return (
    a.title === b.title &&
    a.instructions === b.instructions &&
    a.completes === b.completes &&
    allListKinds.every((kind) => isSameList(a.lists[kind], b.lists[kind]))
  )
}

function isSameList(a: MemberList, b: MemberList): boolean {
  return (
    a.items.length === b.items.length &&
    a.mistakes.length === b.mistakes.length &&
    a.mistakes.every((mistake, index) => mistake === b.mistakes[index]) &&
    // The keys are parts of the texts.
    a.items.every(({ json }, index) => json === b.items[index]?.json)
  )
}

function titleOf(discovered: RawObject): string | undefined {
  const meta = readObject(discovered.get('_meta'))
  const info = readObject(meta?.get('io.modelcontextprotocol/serverInfo'))
  const title = beginningOf(info?.get('title') ?? info?.get('name'), longest.title)
  return title?.trim() === '' ? undefined : title
}

function beginningOf(raw: string | undefined, length: number): string | undefined {
  const text = readString(raw)
  return text === undefined ? undefined : unshared(text.slice(0, length))
}
