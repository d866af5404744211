import { randomBytes, randomUUID } from 'node:crypto'
import {
  type Backlog,
  deaf,
  maxUnread,
  type ModernServer,
  monotonicNow,
  type Places,
  translationLimits,
} from '@mcp-gateway/mcp-http'
import type { Child } from './children/child.ts'
import {
  type ConnectionListener,
  errorAnswer,
  errorCode,
  type Exchange,
  type LegacyConnection,
  type ModernEndpoint,
  ModernMultiplexer,
  type ModernRequest,
  ModernToLegacy,
  type ServerEras,
} from '@mcp-gateway/protocol'

export interface StdioModernOptions {
  /** The eras of the server, which are probed once. */
  readonly eras: () => Promise<ServerEras>
  /** Returns a child that no session uses. @throws Error if no more children may start */
  readonly child: () => Child
  /** Each legacy child takes one of these places, as a session does. */
  readonly places: Places
  /** The error message if all places are busy. */
  readonly crowded: string
  /** The name of this replica among the replicas of its workload. */
  readonly replica: string
  readonly clientInfo: { readonly name: string; readonly version: string }
  /**
   * Milliseconds without an answer of the server, after which the client gets the text of `slow`.
   */
  readonly handshakeMs: number
  /** The reason why there is no answer. */
  readonly slow: () => string
}

/**
 * Modern requests for a stdio server: one modern child for all, or legacy children by translation.
 */
export class StdioModernServer implements ModernServer<string>, Backlog {
  readonly #options: StdioModernOptions
  readonly #toLegacy: ModernToLegacy
  readonly #tick: NodeJS.Timeout
  readonly #gone = new WeakSet<Exchange>()
  /** Bytes of requests that wait to be sent. */
  #waiting = 0
  #modern: { readonly child: Child; readonly multiplexer: ModernMultiplexer } | undefined

  constructor(options: StdioModernOptions) {
    this.#options = options
    this.#toLegacy = new ModernToLegacy(
      {
        connect: (principal, listener) => this.#connect(principal, listener),
        tellsVia: false,
        now: monotonicNow,
        // A gateway reads from the state which replica holds the call.
        newState: () => `${options.replica}~${randomBytes(24).toString('base64url')}`,
      },
      {
        ...translationLimits,
        clientInfo: options.clientInfo,
        openMs: options.handshakeMs,
        slow: options.slow,
      },
    )
    this.#tick = setInterval(() => this.#toLegacy.tick(), 1000).unref()
  }

  /** Opens a legacy child for the calls of one caller. @throws Error if every place is busy */
  #connect(principal: string, listener: ConnectionListener): LegacyConnection {
    const { places, crowded, child: spawn } = this.#options
    if (places.makeRoom(principal) !== undefined) throw new Error(crowded)

    const child = spawn()
    const place = {
      get state() {
        return listener.idle ? ('idle' as const) : ('working' as const)
      },
      lastUsed: monotonicNow(),
      end: (reason: string) => {
        lost(reason)
        void child.stop()
      },
    }

    const free = places.add(principal, place)

    const lost = (reason: string): void => {
      free()
      listener.lost(reason)
    }

    child.listen({ line: (line) => listener.receive(textOf(line)), ended: lost })

    return {
      send: (message) => {
        place.lastUsed = monotonicNow()
        if (child.unread <= maxUnread) return child.send(Buffer.from(message))
        lost(deaf)
        void child.stop()
      },
      close: () => {
        free()
        void child.stop()
      },
    }
  }

  request(principal: string, request: ModernRequest, exchange: Exchange): void {
    const impatience = setTimeout(() => {
      if (this.#gone.has(exchange)) return

      this.#gone.add(exchange)
      exchange.answer(504, errorAnswer(request.id, errorCode.internal, this.#options.slow()))
    }, this.#options.handshakeMs).unref()

    this.#options.eras().then(
      (eras) => {
        clearTimeout(impatience)
        if (this.#gone.has(exchange)) return

        try {
          if (eras === 'legacy') this.#toLegacy.request(principal, request, exchange)
          else this.#toModern(principal, request, exchange)
        } catch (error) {
          exchange.answer(
            503,
            errorAnswer(request.id, errorCode.internal, (error as Error).message),
          )
        }
      },
      (error: Error) =>
        exchange.answer(502, errorAnswer(request.id, errorCode.internal, error.message)),
    )
  }

  gone(exchange: Exchange): void {
    this.#gone.add(exchange)
    this.#toLegacy.gone(exchange)
    this.#modern?.multiplexer.gone(exchange)
  }

  /** The modern server itself, for requests that the bridge makes for a caller. */
  endpoint(principal: string): ModernEndpoint {
    return {
      request: (request, exchange) => this.#toModern(principal, request, exchange),
      gone: (exchange) => this.#modern?.multiplexer.gone(exchange),
    }
  }

  /** Bytes that the modern child has not read, or that wait for one of its answers to be sent. */
  get unread(): number {
    return (this.#modern?.child.unread ?? 0) + this.#waiting
  }

  waits(bytes: number): void {
    this.#waiting += bytes
  }

  #toModern(principal: string, request: ModernRequest, exchange: Exchange): void {
    const multiplexer = this.#multiplexer()
    if (this.unread <= maxUnread) return multiplexer.request(principal, request, exchange)
    exchange.answer(503, errorAnswer(request.id, errorCode.internal, deaf))
  }

  /** The only modern child, started when it is needed. */
  #multiplexer(): ModernMultiplexer {
    if (this.#modern === undefined) {
      const child = this.#options.child()
      const multiplexer = new ModernMultiplexer(
        (message) => child.send(Buffer.from(message)),
        randomUUID,
      )
      this.#modern = { child, multiplexer }
      child.listen({
        line: (line) => multiplexer.receive(textOf(line)),
        ended: (reason) => {
          this.#modern = undefined
          multiplexer.lost(reason)
        },
      })
    }
    return this.#modern.multiplexer
  }

  close(reason: string): void {
    clearInterval(this.#tick)
    this.#toLegacy.close(reason)
    this.#modern?.multiplexer.lost(reason)
    void this.#modern?.child.stop()
  }
}

function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString()
}
