import { Listeners } from '../lib/async/listeners.ts'

/** Another gateway process, as those know it that hand requests to it. */
export interface Peer {
  /** Where it listens: `http://10.0.0.7:8000`. */
  readonly origin: string
  /** Whether it takes what is new. One that is about to go, or not up yet, is asked for nothing but what it holds. */
  readonly ready: boolean
}

/** Where other gateway processes are, by their names: as it was configured, or as it is heard of. Requests read it without I/O. */
export class PeerDirectory {
  #peers: ReadonlyMap<string, Peer> = new Map()
  readonly #listeners = new Listeners()

  /** Peers that neither come nor go, by the origins at which they listen. */
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

  /** Replaces all that is known. */
  set(peers: ReadonlyMap<string, Peer>): void {
    this.#peers = peers
    this.#listeners.tell()
  }

  /** Calls back after each change until the returned function is called. */
  onChange(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }
}

/** Peers that are known for as long as this is open. */
export interface Peers extends AsyncDisposable {
  readonly directory: PeerDirectory
}
