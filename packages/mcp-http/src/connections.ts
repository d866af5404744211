import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Share, Shares } from './shares.ts'

/** A connection of a client, and what it holds of the room of all. */
interface Connection {
  readonly socket: Socket
  readonly party: string
  share: Share
  /** Requests that have no whole answer. */
  open: number
  /** Bytes that it had sent when its last answer was whole. Later ones begin a request. */
  bytes: number
}

/** So long a refused client may take for reading why. */
const graceMs = 1000

const refusal = JSON.stringify({
  type: 'about:blank',
  title: 'Too many connections are open',
  status: 503,
  code: 'no_room',
  retryable: true,
})

/**
 * The connections of one HTTP server. Their number is bounded, for each party (an address) and for
 * all together. Beyond the bound, a connection that waits for its next request makes room for a new
 * one: the longest idle one of the same party, or else of the party that holds the most. One that
 * has not sent a whole request yet is not idle, but its time for doing so is bounded.
 */
export class Connections {
  readonly #shares: Shares
  readonly #partyOf: (address: string) => string | undefined
  readonly #open = new Map<Socket, Connection>()
  readonly #idle = new Map<string, Set<Connection>>()
  readonly #refused = new WeakSet<Socket>()
  readonly #ended: (this: ServerResponse) => void

  /** `partyOf` gives undefined for an address whose connections are not counted. */
  constructor(shares: Shares, partyOf: (address: string) => string | undefined) {
    this.#shares = shares
    this.#partyOf = partyOf
    const answered = (socket: Socket): void => this.#answered(socket)
    this.#ended = function ended() {
      answered(this.req.socket)
    }
  }

  /** Takes a new connection in, or refuses and closes it. */
  admit(socket: Socket): void {
    // Node knows the address of a connection that has ended only if it was asked for before.
    const party = this.#partyOf(socket.remoteAddress ?? '')
    if (party === undefined) return
    const share = this.#room(party)
    if (share === undefined) return this.#refuse(socket)

    const connection: Connection = { socket, party, share, open: 0, bytes: -1 }
    this.#open.set(socket, connection)
    socket.once('close', () => this.#forget(connection))
  }

  /** Takes note of a request. False: its connection was refused, and it must not run. */
  begin(response: ServerResponse): boolean {
    const { socket } = response.req
    const connection = this.#open.get(socket)
    if (connection === undefined) return !this.#refused.has(socket)
    connection.open += 1
    this.#busy(connection)
    response.on('close', this.#ended)
    return true
  }

  #answered(socket: Socket): void {
    const connection = this.#open.get(socket)
    if (connection === undefined || (connection.open -= 1) > 0) return
    connection.bytes = socket.bytesRead
    const idle = this.#idle.get(connection.party)
    if (idle === undefined) this.#idle.set(connection.party, new Set([connection]))
    else idle.add(connection)
  }

  #busy(connection: Connection): void {
    const idle = this.#idle.get(connection.party)
    if (idle?.delete(connection) === true && idle.size === 0) this.#idle.delete(connection.party)
  }

  #forget(connection: Connection): void {
    if (!this.#open.delete(connection.socket)) return
    this.#busy(connection)
    connection.share.release()
  }

  /** The room for one more connection of a party, which an idle one may have to give. */
  #room(party: string): Share | undefined {
    const share = this.#shares.open(party)
    const shortage = share.hold(1)
    if (shortage === undefined) return share

    for (let from: string | undefined = party; from !== undefined; from = this.#heaviest(party)) {
      const given = this.#takeIdle(from)
      if (given !== undefined) return given.passTo(party)
    }
    return undefined
  }

  /** Ends the longest idle connection of a party. Gives the room that it held. */
  #takeIdle(party: string): Share | undefined {
    for (const connection of this.#idle.get(party) ?? []) {
      this.#busy(connection)
      if (connection.socket.bytesRead !== connection.bytes) continue
      this.#open.delete(connection.socket)
      connection.socket.destroy()
      return connection.share
    }
    return undefined
  }

  /** The party with idle connections that holds the most, unless the newcomer would then hold more. */
  #heaviest(newcomer: string): string | undefined {
    const held = this.#shares.heldBy(newcomer)
    let found: string | undefined
    let most = held === 0 ? 0 : held + 1
    for (const party of this.#idle.keys()) {
      const holds = this.#shares.heldBy(party)
      if (holds <= most) continue
      found = party
      most = holds
    }
    return found
  }

  /** Nothing was read, so one answer without a request says why. */
  #refuse(socket: Socket): void {
    this.#refused.add(socket)
    const head = [
      'HTTP/1.1 503 Service Unavailable',
      'content-type: application/problem+json',
      `content-length: ${refusal.length}`,
      'retry-after: 5',
      'connection: close',
    ]
    endSoon(socket, `${head.join('\r\n')}\r\n\r\n${refusal}`)
  }
}

/** Writes the last words of a connection, and closes it also when its client does not. */
export function endSoon(socket: Socket, text: string): void {
  socket.end(text)
  setTimeout(() => socket.destroy(), graceMs).unref()
}
