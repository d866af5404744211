import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Share, Shares } from './shares.ts'

/** A client connection and its share of the pool. */
interface Connection {
  readonly socket: Socket
  readonly party: string
  share: Share
  /** Requests that have no complete answer yet. */
  open: number
  /** Bytes received when the last answer was complete. Any later byte begins a request. */
  bytes: number
}

/** Requests of one connection that may wait for their answers. Few clients send ahead at all. */
const mostPipelined = 100

/** Milliseconds that a refused client has to read the reason. */
const graceMs = 1000

const refusal = JSON.stringify({
  type: 'about:blank',
  title: 'Too many connections are open',
  status: 503,
  code: 'no_room',
  retryable: true,
})

/**
 * The connections of one HTTP server, bounded per party (an address) and in total. At a bound, the
 * longest idle one of that party, or else of the heaviest, closes. Timeouts bound the busy ones.
 */
export class Connections {
  readonly #shares: Shares
  readonly #partyOf: (address: string) => string | undefined
  readonly #open = new Map<Socket, Connection>()
  readonly #idle = new Map<string, Set<Connection>>()
  readonly #refused = new WeakSet<Socket>()
  readonly #ended: (this: ServerResponse) => void

  /** `partyOf` returns undefined for an address whose connections are not counted. */
  constructor(shares: Shares, partyOf: (address: string) => string | undefined) {
    this.#shares = shares
    this.#partyOf = partyOf
    const answered = (socket: Socket): void => this.#answered(socket)
    this.#ended = function ended() {
      answered(this.req.socket)
    }
  }

  /** Admits a new connection, or refuses and closes it. */
  admit(socket: Socket): void {
    // Node forgets the address when a connection ends, unless the address was read before.
    const party = this.#partyOf(socket.remoteAddress ?? '')
    if (party === undefined) return
    const share = this.#room(party)
    if (share === undefined) return this.#refuse(socket)

    const connection: Connection = { socket, party, share, open: 0, bytes: -1 }
    this.#open.set(socket, connection)
    socket.once('close', () => this.#forget(connection))
  }

  /**
   * Records a request. Returns false if its connection was refused or has closed, so the request
   * must not run. A client that sends many requests ahead loses its connection.
   */
  begin(response: ServerResponse): boolean {
    const { socket } = response.req
    // The parser also gives the requests that it has read ahead of a connection that closed.
    if (socket.destroyed) return false
    const connection = this.#open.get(socket)
    if (connection === undefined) return !this.#refused.has(socket)
    if (connection.open >= mostPipelined) {
      socket.destroy()
      return false
    }
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

  /** Returns room for one more connection, if necessary by closing an idle one. */
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

  /** Closes the longest idle connection of a party and returns its share. */
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

  /** The heaviest party with idle connections, unless the newcomer would then hold more. */
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

  /** Refuses a connection before any request, with a single answer that says why. */
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

/**
 * Writes the last bytes to a connection, then closes it after a grace even if the client does not.
 */
export function endSoon(socket: Socket, text: string): void {
  socket.end(text)
  setTimeout(() => socket.destroy(), graceMs).unref()
}

/**
 * The response that is being written to a connection, ended or not. Node has no public name for it.
 */
export function responseOn(socket: Socket): ServerResponse | null | undefined {
  return (socket as Socket & { readonly _httpMessage?: ServerResponse | null })._httpMessage
}

/**
 * Cuts the connection of a client that takes no byte of a waiting answer for so long. Other answers
 * have no such limit. Idle connections end as before, by `keepAliveTimeout`.
 */
export function cutUnread(server: Server, afterMs: number): void {
  server.setTimeout(afterMs, (socket) => {
    const isComing = (responseOn(socket) ?? null) !== null && socket.writableLength === 0
    if (!isComing) socket.destroy()
  })
}
