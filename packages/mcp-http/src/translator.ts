import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  DuplicateMember,
  errorAnswer,
  errorCode,
  errorData,
  LegacyToModern,
  ModernToLegacy,
  outline,
  type Classified,
  type Exchange,
  type ModernEndpoint,
  type ModernRequest,
} from '@mcp-gateway/protocol'
import { HttpLegacyConnection } from './upstream/http-legacy-connection.ts'
import { HttpModernEndpoint } from './upstream/http-modern-endpoint.ts'
import type { HttpUpstream } from './upstream/http-upstream.ts'
import { ModernFront, type ModernServer } from './modern-front.ts'
import type { Link, Session } from './sessions/session.ts'
import { Sessions, type SessionsOptions } from './sessions/sessions.ts'
import type { Share } from './shares/shares.ts'
import { monotonicNow } from './clock.ts'

export interface TranslatorOptions extends Omit<SessionsOptions, 'silent'> {
  /** The error message for a server that has not opened its conversation in time. */
  readonly silent?: () => string
  /** Chooses the upstream for a caller's request. @throws Error when there is no upstream now */
  readonly upstream: (principal: string) => HttpUpstream
  /** Makes the unguessable state by which a caller resumes its parked call. */
  readonly newState: (principal: string) => string
  /** Called when a server that was taken for legacy refuses to initialize. */
  readonly refused?: () => void
  /** Called when the server breaks off before it answers `initialize`. */
  readonly unopened?: () => void
  /** Counts the bytes that a parked call keeps for its caller. */
  readonly kept?: (principal: string) => Share
  readonly clientInfo: { readonly name: string; readonly version: string }
  readonly answerTimeoutMs: number
}

/** Limits of parked calls and idle connections. */
export const translationLimits = {
  parkMs: 5 * 60_000,
  maxParkedPerPrincipal: 100,
  maxConnections: 16,
  idleMs: 5 * 60_000,
} as const

/**
 * Hosts both halves of the translation between clients of one era and an HTTP server of the other.
 * `principal` identifies a caller: no data crosses from one principal to another.
 */
export class Translator {
  readonly #options: TranslatorOptions
  readonly #toLegacy: ModernToLegacy
  readonly #modernFront: ModernFront<string>
  /** The legacy server, as a modern server. `string` identifies a caller, as `principal` does. */
  readonly asModern: ModernServer<string>
  /** The sessions of legacy clients. */
  readonly sessions: Sessions
  readonly #tick: NodeJS.Timeout

  constructor(options: TranslatorOptions) {
    this.#options = options
    this.sessions = new Sessions(options)
    this.#toLegacy = new ModernToLegacy(
      {
        connect: (principal, listener) =>
          new HttpLegacyConnection(options.upstream(principal), listener, options.answerTimeoutMs),
        tellsVia: true,
        now: monotonicNow,
        newState: options.newState,
        refused: () => options.refused?.(),
        unopened: () => options.unopened?.(),
        kept: (principal) => options.kept?.(principal),
      },
      {
        ...translationLimits,
        clientInfo: options.clientInfo,
        openMs: options.handshakeMs,
        slow: options.silent,
      },
    )

    this.asModern = {
      request: (principal: string, request: ModernRequest, exchange: Exchange) => {
        try {
          this.#toLegacy.request(principal, request, exchange)
        } catch (error) {
          const { message } = error as Error
          const data = errorData(error as Error)
          exchange.answer(503, errorAnswer(request.id, errorCode.internal, message, data))
        }
      },
      gone: (exchange: Exchange) => this.#toLegacy.gone(exchange),
    }

    this.#modernFront = new ModernFront(this.asModern, options.answerTimeoutMs)
    this.#tick = setInterval(() => this.#toLegacy.tick(), 1000).unref()
  }

  /** Handles a modern request for a legacy server. */
  modern(
    principal: string,
    classified: Classified & { readonly era: 'modern' },
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    this.#modernFront.handle(classified, principal, request, response)
  }

  /**
   * Handles an `initialize` for a modern server. `headers` go with the answer and name the session.
   * The sessions of each `party` are bounded.
   */
  open(
    id: string,
    principal: string,
    body: Uint8Array,
    response: ServerResponse,
    headers: Readonly<Record<string, string>>,
    party = '',
  ): void {
    const server = new HttpModernEndpoint(
      () => this.#options.upstream(principal),
      this.#options.answerTimeoutMs,
    )
    this.sessions
      .open(id, body, response, (sessionOf) => translatedLink(server, sessionOf), party)
      ?.post(body, response, headers)
  }

  /** Ends listen streams in good order. */
  drain(): void {
    this.#toLegacy.endListeners()
  }

  close(reason: string): void {
    clearInterval(this.#tick)
    this.#modernFront.close()
    this.#toLegacy.close(reason)
    this.sessions.close(reason)
  }
}

/** Input that a server has not read. */
export interface Backlog {
  /** Bytes that the server has not read. */
  readonly unread: number
  /** Adjusts the bytes of requests that wait to be sent: positive for more, negative for less. */
  waits(bytes: number): void
}

/** For a server whose requests are counted at their entrance. */
const noBacklog: Backlog = { unread: 0, waits: () => undefined }

/** Connects a legacy session to a modern server. */
export function translatedLink(
  server: ModernEndpoint,
  sessionOf: () => Session,
  backlog = noBacklog,
): Link {
  const tell = (text: string, related?: string): void => {
    const line = Buffer.from(text)
    sessionOf().receive(line, outline(line), related)
  }

  const engine = new LegacyToModern({
    server,
    send: tell,
    answer: (id, text) => sessionOf().answer(id, text),
    newId: () => randomBytes(16).toString('base64url'),
    later: (ms, callback) => void setTimeout(callback, ms).unref(),
    waits: (bytes) => backlog.waits(bytes),
  })

  return {
    send: (message) => {
      try {
        engine.receive(
          Buffer.from(message.buffer, message.byteOffset, message.byteLength).toString(),
        )
      } catch (error) {
        if (!(error instanceof DuplicateMember)) throw error
        tell(errorAnswer(outline(message).id, errorCode.invalidRequest, error.message))
      }
    },
    get unread() {
      return backlog.unread
    },
    // Sessions share the server, so a slow client must not stop it. The client's streams are
    // bounded.
    pause: () => undefined,
    resume: () => undefined,
    close: () => engine.close(),
  }
}
