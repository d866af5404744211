import { lookup } from 'node:dns/promises'
import type { ListeningSockets, LocalSocket } from '../../../lib/net/socket-owner.ts'
import type { PortWatch } from './health.ts'

export interface PortOwnerOptions {
  readonly host: string
  /**
   * Tells whether a socket belongs to the replica's process `pid`. Undefined: accept any socket.
   */
  readonly belongs: ((socket: LocalSocket, pid: number) => boolean | Promise<boolean>) | undefined
  /** Finds the process that listens on a port of this machine. */
  readonly listening: ListeningSockets
}

/** Milliseconds between two checks of a replica's port, for which all replicas share a reading. */
const sharedReadingMs = 1000

/**
 * Tells whether a process itself listens on its port. Another server could take the port before the
 * process does, and would receive its calls.
 */
export class PortOwner {
  readonly #options: PortOwnerOptions
  readonly #port: number
  readonly #pid: number | undefined
  /** Inodes of the sockets on which the process takes calls. */
  #known: ReadonlySet<string> = new Set()

  constructor(options: PortOwnerOptions, port: number, pid: number | undefined) {
    this.#options = options
    this.#port = port
    this.#pid = pid
  }

  /** Checks again and again. Undefined where any socket is accepted. */
  get watch(): PortWatch | undefined {
    if (this.#options.belongs === undefined) return undefined
    // A shared reading may be older than a port that the server has just reopened, so read again.
    const isOwn = async (): Promise<boolean> => (await this.isOwn(sharedReadingMs)) || this.isOwn(0)
    return { isOwn, periodMs: sharedReadingMs }
  }

  /** Reads the sockets of the machine, unless there is a reading of at most this age. */
  async isOwn(maxAgeMs: number): Promise<boolean> {
    const { host, belongs, listening } = this.#options
    if (belongs === undefined) return true

    const { address } = await lookup(host)
    const found = (await listening.at(address, this.#port, maxAgeMs)) ?? []
    // The owner of a socket never changes, and a look-up may read all processes of the machine.
    const unknown = found.filter(({ inode }) => !this.#known.has(inode))
    for (const socket of unknown)
      if (this.#pid === undefined || !(await belongs(socket, this.#pid))) return false

    this.#known = new Set(found.map(({ inode }) => inode))
    return true
  }
}
