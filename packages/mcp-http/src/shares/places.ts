import type { Shortage } from './shares.ts'

/** One thing that a caller holds: a session, or a child for modern requests. */
export interface Place {
  /** `working`: a request is open. `listening`: the client only waits for notifications. */
  readonly state: 'idle' | 'listening' | 'working'
  /** Milliseconds of a monotonic clock. */
  readonly lastUsed: number
  /** Ends the session or child, and frees its place before this returns. */
  end(reason: string): void
}

/**
 * The places of one server, shared fairly: when all are taken, the heaviest caller gives one up. A
 * working place goes only to a caller without any, and only from a caller with several.
 */
export class Places {
  readonly most: number
  readonly #mostPerCaller: number
  readonly #held = new Map<string, Set<Place>>()
  #size = 0

  constructor(most: number, mostPerCaller = Number.POSITIVE_INFINITY) {
    this.most = most
    this.#mostPerCaller = mostPerCaller
  }

  get size(): number {
    return this.#size
  }

  /** Makes room for one more place of a caller. Returns the shortage if this fails. */
  makeRoom(caller: string): Shortage | undefined {
    const own = this.#held.get(caller) ?? new Set()
    const crowded = own.size >= this.#mostPerCaller
    if (!crowded && this.#size < this.most) return undefined

    const place = crowded
      ? oldest(own, 'idle')
      : (this.#leastNeeded(caller, own.size) ?? (own.size === 0 ? this.#ofHeaviest() : undefined))
    if (place === undefined) return crowded ? 'caller' : 'all'
    place.end('The place of this session was needed. Initialize again.')
    return this.#size < this.most ? undefined : 'all'
  }

  /** Counts a place for a caller. Returns the function that frees the place. */
  add(caller: string, place: Place): () => void {
    const own = this.#held.get(caller) ?? new Set()
    this.#held.set(caller, own.add(place))
    this.#size += 1

    return () => {
      if (!own.delete(place)) return
      this.#size -= 1
      if (own.size === 0 && this.#held.get(caller) === own) this.#held.delete(caller)
    }
  }

  /** The working place that the heaviest caller used least recently. */
  #ofHeaviest(): Place | undefined {
    let heaviest: ReadonlySet<Place> = new Set()
    for (const places of this.#held.values()) if (places.size > heaviest.size) heaviest = places
    return heaviest.size > 1 ? oldest(heaviest, 'working') : undefined
  }

  /**
   * The place to end for a caller that holds `own`. Other callers lose none unless they hold more.
   */
  #leastNeeded(caller: string, own: number): Place | undefined {
    let found: { readonly place: Place; readonly holds: number } | undefined
    for (const [holder, places] of this.#held) {
      const holds = places.size
      if ((holder !== caller && holds <= own) || holds < (found?.holds ?? 0)) continue
      // A listening client is connected, so its session ends only if that makes shares fairer.
      const fairer = holds > own + 1 ? oldest(places, 'listening') : undefined
      const place = oldest(places, 'idle') ?? fairer
      if (place === undefined) continue
      if (found?.holds === holds && found.place.lastUsed <= place.lastUsed) continue
      found = { place, holds }
    }
    return found?.place
  }
}

function oldest(places: ReadonlySet<Place>, state: Place['state']): Place | undefined {
  let found: Place | undefined
  for (const place of places)
    if (place.state === state && (found === undefined || place.lastUsed < found.lastUsed))
      found = place
  return found
}
