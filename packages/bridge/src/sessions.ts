import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode, outline } from '@mcp-gateway/protocol'
import { sendRpcError } from './answers.ts'
import { brokenOff, endedByClient, Session, type Link, type SessionEnd } from './session.ts'
import { monotonicNow } from './clock.ts'

export interface SessionsOptions {
  readonly maxSessions: number
  /** Unset: callers are not told apart. Beyond it, a new session takes the place of the one that its caller has not used for the longest time. */
  readonly maxSessionsPerCaller?: number
  readonly sessionIdleMs: number
  readonly sessionMaxMs: number
  readonly eventBufferBytes?: number
  /** How the limit of their number is called where it is set. */
  readonly limitedBy?: string
}

const defaultEventBufferBytes = 1024 * 1024
const sweepMs = 5000

/** The legacy sessions of one server: their number is bounded, and they end by their client, by idleness, or by age. */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #open = new Map<string, Session>()
  readonly #callers = new WeakMap<Session, string>()
  readonly #sweep: NodeJS.Timeout

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#sweep = setInterval(() => this.#tend(), sweepMs).unref()
  }

  /** Opens a session for an `initialize`, which is to be posted to it. Undefined when there may be no more, which is answered. */
  open(
    id: string,
    initialize: Uint8Array,
    response: ServerResponse,
    linkOf: (sessionOf: () => Session) => Link,
    caller = '',
  ): Session | undefined {
    const { maxSessions, limitedBy, eventBufferBytes = defaultEventBufferBytes } = this.#options
    if (!this.#makeRoom(caller)) {
      sendRpcError(
        response,
        429,
        outline(initialize).id,
        errorCode.invalidRequest,
        'All sessions that you may have are in use.',
        {
          'retry-after': '5',
        },
      )
      return undefined
    }
    if (this.#open.size >= maxSessions) {
      const reason = `There are ${maxSessions} sessions, which is the limit${limitedBy === undefined ? '' : ` (${limitedBy})`}.`
      sendRpcError(response, 503, outline(initialize).id, errorCode.internal, reason, {
        'retry-after': '5',
      })
      return undefined
    }
    const session: Session = new Session({
      id,
      link: linkOf(() => session),
      eventBufferBytes,
      now: monotonicNow,
    })
    this.#open.set(id, session)
    this.#callers.set(session, caller)
    return session
  }

  /** Sees to it that a caller may have one more, so that none takes the room of all. */
  #makeRoom(caller: string): boolean {
    const { maxSessionsPerCaller } = this.#options
    if (maxSessionsPerCaller === undefined) return true
    const own = [...this.#open.values()].filter((session) => this.#callers.get(session) === caller)
    if (own.length < maxSessionsPerCaller) return true
    const [first, ...others] = own.filter(({ busy }) => !busy)
    if (first === undefined) return false
    const unused = others.reduce(
      (oldest, session) => (session.lastUsed < oldest.lastUsed ? session : oldest),
      first,
    )
    this.end(unused, 'Another session of the same caller has taken its place.')
    return true
  }

  get(id: string): Session | undefined {
    return this.#open.get(id)
  }

  /** Takes a request of a session's client: POST, GET or DELETE. The body of a POST is valid JSON. */
  take(
    session: Session,
    request: IncomingMessage,
    response: ServerResponse,
    body: Uint8Array,
  ): void {
    switch (request.method ?? '') {
      case 'GET': {
        const { 'last-event-id': last } = request.headers
        return session.get(response, typeof last === 'string' ? last : undefined)
      }
      case 'DELETE':
        this.#end(session, endedByClient)
        return void response.writeHead(200).end()
      default:
        session.post(body, response)
    }
  }

  end(session: Session, reason: string): void {
    this.#end(session, brokenOff(reason))
  }

  #end(session: Session, how: SessionEnd): void {
    this.#open.delete(session.id)
    session.end(how)
  }

  endAll(reason: string): void {
    for (const session of this.#open.values()) this.end(session, reason)
  }

  /** Ends all, and opens no more. */
  close(reason: string): void {
    clearInterval(this.#sweep)
    this.endAll(reason)
  }

  #tend(): void {
    const now = monotonicNow()
    for (const session of this.#open.values()) {
      if (now - session.createdAt > this.#options.sessionMaxMs)
        this.end(session, 'The session has reached its greatest age.')
      else if (!session.busy && now - session.lastUsed > this.#options.sessionIdleMs)
        this.end(session, 'The session was idle for too long.')
      else session.keepAlive(sweepMs)
    }
  }
}
