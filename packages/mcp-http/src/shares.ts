/** Why a caller gets no more: it holds its share, or all callers together hold all. */
export type Shortage = 'caller' | 'all'

/** A caller and all that it holds. */
interface Party {
  readonly caller: string
  held: number
  /** Those that can be given up, the oldest first. Most parties never have any. */
  spare: Set<Share> | undefined
}

/** Callers that hold nothing are forgotten when there are more than so many. */
const mostIdle = 1024

/**
 * One pool of things that callers hold: connections, bytes, open requests. A caller gets more as
 * long as it then holds no more than is free, so one caller alone gets half of the pool, and the
 * next caller still finds room. Beyond that, the caller that holds the most gives something up for
 * one that holds less.
 */
export class Shares {
  readonly most: number
  readonly #parties = new Map<string, Party>()
  #forgetAt = mostIdle
  #held = 0

  constructor(most: number) {
    this.most = most
  }

  /** What all callers hold. */
  get held(): number {
    return this.#held
  }

  /** How many callers are remembered. */
  get size(): number {
    return this.#parties.size
  }

  heldBy(caller: string): number {
    return this.#parties.get(caller)?.held ?? 0
  }

  /** Begins a holding, of nothing yet. */
  open(caller: string): Share {
    return new Share(this, caller)
  }

  /** It is remembered as long as it holds something. */
  party(caller: string): Party {
    let party = this.#parties.get(caller)
    if (party === undefined) {
      if (this.#parties.size >= this.#forgetAt) this.#forgetIdle()
      party = { caller, held: 0, spare: undefined }
      this.#parties.set(caller, party)
    }
    return party
  }

  /** Counts what a party takes or gives back. It is refused when there is no room for more. */
  change(party: Party, more: number): Shortage | undefined {
    if (more > 0 && !this.#fits(party, more)) {
      const shortage = this.#makeRoom(party, more)
      if (shortage !== undefined) return shortage
      // While others gave something up, a party that holds nothing yet may have been forgotten.
      this.#parties.set(party.caller, party)
    }
    party.held += more
    this.#held += more
    return undefined
  }

  #fits({ held }: Party, more: number): boolean {
    const free = this.most - this.#held
    // The first thing of a caller gets in wherever it fits.
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

  /** Whether callers can give so much up. Each gives only while it holds more than `limit`. */
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

  /** The caller that holds the most of those that can give something up. */
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

/** What one thing, such as a request or a stream, holds of a pool for its caller. */
export class Share {
  readonly caller: string
  readonly #shares: Shares
  /** Known while it holds something. */
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

  /** Holds so much from now on. When there is no room for more, it holds what it held before. */
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

  /** Gives all that it holds to another caller, so that the pool holds as much as before. */
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

  /** How it is given up when another caller needs the room; undefined: never. */
  spare(end: (() => void) | undefined): void {
    if (end === this.#end) return
    this.#end = end
    if (this.#party === undefined) return
    if (end === undefined) this.#party.spare?.delete(this)
    else (this.#party.spare ??= new Set()).add(this)
  }

  /** Gives it up. */
  end(): void {
    const end = this.#end
    this.#end = undefined
    this.release()
    end?.()
  }
}
