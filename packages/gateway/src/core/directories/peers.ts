import { Listeners } from '../../lib/async/listeners.ts'

/** Another gateway process, as seen by the processes that hand requests to it. */
export interface Peer {
  /** Its listening address: `http://10.0.0.7:8000`. */
  readonly origin: string
  /**
   * True if the peer takes new work. A peer that starts or stops serves only what it already holds.
   */
  readonly ready: boolean
}

/**
 * Addresses of the other gateway processes by name, from the configuration or from discovery.
 * Requests read it without I/O.
 */
export class PeerDirectory {
  #peers: ReadonlyMap<string, Peer> = new Map()
  readonly #listeners = new Listeners()

  /** A fixed set of peers, given by their listening origins. */
  static of(origins: Readonly<Record<string, string>>): PeerDirectory {
    const directory = new PeerDirectory()
    directory.set(
      new Map(Object.entries(origins).map(([name, origin]) => [name, { origin, ready: true }])),
    )
    return directory
  }

  get(name: string): Peer | undefined {
    return this.#peers.get(name)
  }

  entries(): Iterable<readonly [string, Peer]> {
    return this.#peers.entries()
  }

  /** Replaces all peers. */
  set(peers: ReadonlyMap<string, Peer>): void {
    this.#peers = peers
    this.#listeners.tell()
  }

  /** Calls back after each change until the returned function is called. */
  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }
}

/** A directory of peers that stays current until it is disposed. */
export interface Peers extends AsyncDisposable {
  readonly directory: PeerDirectory
}
