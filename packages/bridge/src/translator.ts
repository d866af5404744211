import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  DuplicateMember,
  errorAnswer,
  errorCode,
  LegacyToModern,
  ModernToLegacy,
  outline,
  type Classified,
  type ModernEndpoint,
} from '@mcp-gateway/protocol'
import { sendRpcError } from './answers.ts'
import { HttpLegacyConnection } from './http-legacy-connection.ts'
import { HttpModernEndpoint } from './http-modern-endpoint.ts'
import type { HttpUpstream } from './http-upstream.ts'
import { ModernFront } from './modern-front.ts'
import { Session, type Link } from './session.ts'

export interface TranslatorOptions {
  /** Where a request of a caller goes. @throws Error when there is no such place now */
  readonly upstream: (principal: string) => HttpUpstream
  /** The state by which a caller's parked call is found again; not to be guessed. */
  readonly newState: (principal: string) => string
  /** The server was taken for legacy, and refused to initialize. */
  readonly refused?: () => void
  readonly clientInfo: { readonly name: string; readonly version: string }
  readonly answerTimeoutMs: number
  readonly maxSessions: number
  readonly sessionIdleMs: number
  readonly sessionMaxMs: number
}

/** Limits of what waits and idles. */
export const translationLimits = { parkMs: 5 * 60_000, maxParkedPerPrincipal: 100, maxConnections: 16, idleMs: 5 * 60_000 } as const
const eventBufferBytes = 1024 * 1024
const sweepMs = 5000

/**
 * Clients of one era in front of one HTTP server of the other: the hosts of both halves of the translation. `principal` is whatever
 * tells callers apart; nothing of one reaches another.
 */
export class Translator {
  readonly #options: TranslatorOptions
  readonly #toLegacy: ModernToLegacy
  readonly #modernFront: ModernFront
  readonly #sessions = new Map<string, Session>()
  readonly #tick: NodeJS.Timeout
  readonly #sweep: NodeJS.Timeout

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.#toLegacy = new ModernToLegacy(
      {
        connect: (principal, listener) => new HttpLegacyConnection(options.upstream(principal), listener, options.answerTimeoutMs),
        tellsVia: true,
        now: Date.now,
        newState: options.newState,
        refused: () => options.refused?.(),
      },
      { ...translationLimits, clientInfo: options.clientInfo },
    )
    this.#modernFront = new ModernFront({
      request: (principal, request, exchange) => {
        try {
          this.#toLegacy.request(principal, request, exchange)
        } catch (error) {
          exchange.answer(503, errorAnswer(request.id, errorCode.internal, (error as Error).message))
        }
      },
      gone: (exchange) => this.#toLegacy.gone(exchange),
    })
    this.#tick = setInterval(() => this.#toLegacy.tick(), 1000).unref()
    this.#sweep = setInterval(() => this.#tend(), sweepMs).unref()
  }

  /** A modern request for a legacy server. */
  modern(principal: string, classified: Classified & { readonly era: 'modern' }, request: IncomingMessage, response: ServerResponse): void {
    this.#modernFront.handle(classified, principal, request, response)
  }

  /** An `initialize` for a modern server. `headers` go with the answer, and name the session. */
  open(id: string, principal: string, body: Uint8Array, response: ServerResponse, headers: Readonly<Record<string, string>>): void {
    if (this.#sessions.size >= this.#options.maxSessions) {
      const reason = `There are ${this.#sessions.size} sessions, which is the limit.`
      return sendRpcError(response, 503, outline(body).id, errorCode.internal, reason, { 'retry-after': '5' })
    }
    const server = new HttpModernEndpoint(() => this.#options.upstream(principal), this.#options.answerTimeoutMs)
    const link = translatedLink(server, () => session)
    const session: Session = new Session({ id, link, eventBufferBytes, now: Date.now })
    this.#sessions.set(id, session)
    session.post(body, response, headers)
  }

  session(id: string): Session | undefined {
    return this.#sessions.get(id)
  }

  /** The client ends its session. */
  end(session: Session): void {
    this.#sessions.delete(session.id)
    session.end('The session was ended by the client.')
  }

  /** Listen streams end in good order. */
  drain(): void {
    this.#toLegacy.endListeners()
  }

  close(reason: string): void {
    clearInterval(this.#tick)
    clearInterval(this.#sweep)
    this.#modernFront.close()
    this.#toLegacy.close(reason)
    for (const session of this.#sessions.values()) session.end(reason)
    this.#sessions.clear()
  }

  #tend(): void {
    const now = Date.now()
    for (const session of this.#sessions.values()) {
      const idle = !session.busy && now - session.lastUsed > this.#options.sessionIdleMs
      if (idle || now - session.createdAt > this.#options.sessionMaxMs) {
        this.#sessions.delete(session.id)
        session.end('The session was idle for too long, or has reached its greatest age.')
      } else session.keepAlive(sweepMs)
    }
  }
}

/** A legacy session in front of a modern server. */
export function translatedLink(server: ModernEndpoint, sessionOf: () => Session): Link {
  const tell = (text: string, related?: string): void => {
    const line = Buffer.from(text)
    sessionOf().receive(line, outline(line), related)
  }
  const engine = new LegacyToModern({
    server,
    send: tell,
    newId: () => randomBytes(16).toString('base64url'),
    later: (ms, callback) => void setTimeout(callback, ms).unref(),
  })
  return {
    send: (message) => {
      try {
        engine.receive(Buffer.from(message.buffer, message.byteOffset, message.byteLength).toString())
      } catch (error) {
        if (!(error instanceof DuplicateMember)) throw error
        tell(errorAnswer(outline(message).id, errorCode.invalidRequest, error.message))
      }
    },
    unread: 0,
    // The server is shared, so a slow client does not stop it; its own streams are bounded.
    pause: () => undefined,
    resume: () => undefined,
    close: () => engine.close(),
  }
}
