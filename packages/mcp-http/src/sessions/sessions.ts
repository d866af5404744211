import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode, outline } from '@mcp-gateway/protocol'
import { sendRpcError } from '../answers.ts'
import { brokenOff, endedByClient, Session, type Link, type SessionEnd } from './session.ts'
import { monotonicNow } from '../clock.ts'
import { Places } from '../shares/places.ts'
import type { Shares, Shortage } from '../shares/shares.ts'

export interface SessionsOptions {
  readonly maxSessions: number
  /** At this number, a new session replaces the oldest idle session of its caller. */
  readonly maxSessionsPerCaller?: number
  /** Shared with other holders of places. Unset: these sessions have places of their own. */
  readonly places?: Places
  readonly sessionIdleMs: number
  readonly sessionMaxMs: number
  readonly eventBufferBytes?: number
  /** Milliseconds that the server may be silent about a request. Unset: no bound. */
  readonly answerTimeoutMs?: number
  /** Milliseconds until the server must have answered `initialize`. Unset: no bound. */
  readonly handshakeMs?: number
  /**
   * The error message for a server that has not answered `initialize` in time; undefined to wait
   * longer.
   */
  readonly silent?: (session: Session) => string | undefined
  /** Bounds the bytes of events kept for each caller. Unset: bounded per session only. */
  readonly events?: Shares
  /** The name of the setting that limits the number of sessions. */
  readonly limitedBy?: string
}

const defaultEventBufferBytes = 1024 * 1024
const sweepMs = 5000
const allOwnBusy =
  'All sessions that you may have are busy. End one of them, ' +
  'or try again when a request is answered.'

const neverAnswered = 'The server has not answered initialize. Look into its log, or ask its owner.'

/** The error message when no place is free for another session or child. */
export function allBusy(most: number, limitedBy: string | undefined): string {
  const setting = limitedBy === undefined ? '' : ` (${limitedBy})`
  return (
    `All ${most} sessions of this server are busy, which is the limit${setting}. ` +
    'Try again later.'
  )
}

/**
 * The legacy sessions of one server. Their number is bounded. The client, idleness or age ends a
 * session.
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #open = new Map<string, Session>()
  readonly #places: Places
  readonly #freeing = new WeakMap<Session, () => void>()
  readonly #sweep: NodeJS.Timeout

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#places = options.places ?? new Places(options.maxSessions, options.maxSessionsPerCaller)
    const { handshakeMs = sweepMs, answerTimeoutMs = sweepMs } = options
    const everyMs = Math.min(sweepMs, handshakeMs, answerTimeoutMs)
    this.#sweep = setInterval(() => this.#tend(), everyMs).unref()
  }

  /**
   * Opens a session, to which the caller then posts the `initialize`. If there is no place, it
   * answers with an error and returns undefined.
   */
  open(
    id: string,
    initialize: Uint8Array,
    response: ServerResponse,
    linkOf: (sessionOf: () => Session) => Link,
    caller = '',
  ): Session | undefined {
    const shortage = this.#places.makeRoom(caller)
    if (shortage !== undefined) {
      this.#refuse(shortage, initialize, response)
      return undefined
    }

    const { eventBufferBytes = defaultEventBufferBytes, events, answerTimeoutMs } = this.#options
    const session: Session = new Session({
      id,
      link: linkOf(() => session),
      eventBufferBytes,
      events: events?.open(caller),
      answerTimeoutMs,
      now: monotonicNow,
    })

    this.#open.set(id, session)
    const place = {
      get state() {
        return session.state
      },
      get lastUsed() {
        return session.lastUsed
      },
      end: (reason: string) => this.end(session, reason),
    }

    this.#freeing.set(session, this.#places.add(caller, place))
    return session
  }

  #refuse(shortage: Shortage, initialize: Uint8Array, response: ServerResponse): void {
    const { id } = outline(initialize)
    const headers = { 'retry-after': '5' }
    const { invalidRequest, internal } = errorCode
    if (shortage === 'caller')
      return sendRpcError(response, 429, { id, code: invalidRequest, message: allOwnBusy, headers })

    const message = allBusy(this.#places.most, this.#options.limitedBy)
    sendRpcError(response, 503, { id, code: internal, message, headers })
  }

  get(id: string): Session | undefined {
    return this.#open.get(id)
  }

  /** Handles a POST, GET or DELETE of a session's client. The body of a POST is valid JSON. */
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
    this.#freeing.get(session)?.()
    session.end(how)
  }

  endAll(reason: string): void {
    for (const session of this.#open.values()) this.end(session, reason)
  }

  /** Ends all sessions, and stops tending them. */
  close(reason: string): void {
    clearInterval(this.#sweep)
    this.endAll(reason)
  }

  #endSilent(session: Session): void {
    const { silent = () => neverAnswered } = this.#options
    const message = silent(session)
    if (message === undefined) return

    this.#end(session, { status: 504, code: errorCode.internal, message })
  }

  #tend(): void {
    const { handshakeMs = Infinity, sessionMaxMs, sessionIdleMs } = this.#options
    const now = monotonicNow()
    for (const session of this.#open.values()) {
      if (!session.answered && now - session.createdAt >= handshakeMs) this.#endSilent(session)
      else if (now - session.createdAt > sessionMaxMs)
        this.end(session, 'The session has reached its greatest age.')
      else if (session.state === 'idle' && now - session.lastUsed > sessionIdleMs)
        this.end(session, 'The session was idle for too long.')
      else session.keepAlive(sweepMs)
    }
  }
}
