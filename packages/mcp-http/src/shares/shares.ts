/** `caller`: the caller already holds its share. `all`: all callers together hold everything. */
export type Shortage = 'caller' | 'all'

/** A caller and its holdings. */
interface Party {
  readonly caller: string
  held: number
  /** Shares that can be given up, the oldest first. Most parties never have any. */
  spare: Set<Share> | undefined
}

/** Above this number of callers, those that hold nothing are forgotten. */
const mostIdle = 1024

/**
 * One pool, such as connections or bytes. A caller may hold as much as is then free: one alone gets
 * half, and the next finds room. Beyond that, the heaviest caller gives up some for a lighter one.
 */
export class Shares {
  readonly most: number
  readonly #parties = new Map<string, Party>()
  #forgetAt = mostIdle
  #held = 0

  constructor(most: number) {
    this.most = most
  }

  /** The amount that all callers hold. */
  get held(): number {
    return this.#held
  }

  /** The number of remembered callers. */
  get size(): number {
    return this.#parties.size
  }

  heldBy(caller: string): number {
    return this.#parties.get(caller)?.held ?? 0
  }

  /** Opens an empty share for a caller. */
  open(caller: string): Share {
    return new Share(this, caller)
  }

  /** The record of a caller, which is kept while the caller holds something. */
  party(caller: string): Party {
    let party = this.#parties.get(caller)
    if (party === undefined) {
      if (this.#parties.size >= this.#forgetAt) this.#forgetIdle()
      party = { caller, held: 0, spare: undefined }
      this.#parties.set(caller, party)
    }
    return party
  }

  /**
   * Counts an amount that a party takes or gives back. Returns the shortage if there is no room.
   */
  change(party: Party, more: number): Shortage | undefined {
    if (more > 0 && !this.#fits(party, more)) {
      const shortage = this.#makeRoom(party, more)
      if (shortage !== undefined) return shortage
      // While other parties gave up shares, this party may have been forgotten, if it holds
      // nothing.
      this.#parties.set(party.caller, party)
    }
    party.held += more
    this.#held += more
    return undefined
  }

  #fits({ held }: Party, more: number): boolean {
    const free = this.most - this.#held
    // A caller's first holding is accepted wherever it fits.
    return held === 0 ? more <= free : held + more <= free - more
  }

  #makeRoom(party: Party, more: number): Shortage | undefined {
    const shortage = party.held === 0 ? 'all' : 'caller'
    const lacking = more - (this.most - this.#held)
    if (!this.#canGive(lacking, party.held + more)) return shortage

    for (;;) {
      const heaviest = this.#heaviest()
      if (heaviest === undefined || heaviest.held <= party.held + more) return shortage
      const [oldest] = heaviest.spare ?? []
      oldest?.end()
      if (more <= this.most - this.#held) return undefined
    }
  }

  /** True if callers can give up `lacking`. Each gives only while it holds more than `limit`. */
  #canGive(lacking: number, limit: number): boolean {
    let given = 0
    for (const { held, spare = [] } of this.#parties.values()) {
      let left = held
      for (const share of spare) {
        if (left <= limit || given >= lacking) break
        left -= share.held
        given += share.held
      }
    }
    return given >= lacking
  }

  /** The heaviest caller among those that can give something up. */
  #heaviest(): Party | undefined {
    let found: Party | undefined
    for (const party of this.#parties.values())
      if ((party.spare?.size ?? 0) > 0 && party.held > (found?.held ?? 0)) found = party
    return found
  }

  #forgetIdle(): void {
    for (const [caller, { held }] of this.#parties) if (held === 0) this.#parties.delete(caller)
    this.#forgetAt = mostIdle + 2 * this.#parties.size
  }
}

/** The holding of one thing, such as a request or a stream, for its caller. */
export class Share {
  readonly caller: string
  readonly #shares: Shares
  /** Set while the share holds something. */
  #party: Party | undefined
  #held = 0
  #end: (() => void) | undefined

  constructor(shares: Shares, caller: string) {
    this.#shares = shares
    this.caller = caller
  }

  get held(): number {
    return this.#held
  }

  /** Sets the held amount. If there is no room for more, the old amount stays. */
  hold(amount: number): Shortage | undefined {
    const more = amount - this.#held
    if (more === 0) return undefined
    const party = this.#party ?? this.#shares.party(this.caller)
    const shortage = this.#shares.change(party, more)
    if (shortage !== undefined) return shortage

    this.#held = amount
    if (amount === 0) {
      party.spare?.delete(this)
      this.#party = undefined
    } else {
      if (this.#end !== undefined) (party.spare ??= new Set()).add(this)
      this.#party = party
    }
    return undefined
  }

  release(): void {
    this.hold(0)
  }

  /** Moves the whole holding to another caller. The total of the pool stays the same. */
  passTo(caller: string): Share {
    const given = new Share(this.#shares, caller)
    const party = this.#shares.party(caller)
    party.held += this.#held
    if (this.#party !== undefined) this.#party.held -= this.#held
    this.#party?.spare?.delete(this)
    given.#party = party
    given.#held = this.#held
    this.#party = undefined
    this.#held = 0
    return given
  }

  /** Sets the callback that gives up the share for another caller. Undefined: never given up. */
  spare(end: (() => void) | undefined): void {
    if (end === this.#end) return
    this.#end = end
    if (this.#party === undefined) return
    if (end === undefined) this.#party.spare?.delete(this)
    else (this.#party.spare ??= new Set()).add(this)
  }

  /** Gives up the share. */
  end(): void {
    const end = this.#end
    this.#end = undefined
    this.release()
    end?.()
  }
}
