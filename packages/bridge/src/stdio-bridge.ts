import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isUtf8 } from 'node:buffer'
import {
  accepts,
  allBusy,
  type Link,
  ModernFront,
  Places,
  readBody,
  sendAmbiguous,
  sendRpcError,
  type Session,
  Sessions,
  translatedLink,
} from '@mcp-gateway/mcp-http'
import { probeModern, takesInitialize, type ProbeOptions } from './era-probe.ts'
import type { Bodies } from './bodies.ts'
import { callerOf, nobodyNamed } from './caller.ts'
import type { Handler } from './front.ts'
import { SharedChild } from './children/shared-child.ts'
import type { Child } from './children/child.ts'
import { StdioModernServer } from './stdio-modern-server.ts'
import {
  type Classified,
  classifyRequest,
  errorCode,
  findAmbiguity,
  mayBeModern,
  outline,
  type ServerEras,
} from '@mcp-gateway/protocol'

export interface BridgeOptions {
  /** Starts a server: a process, or a connection. */
  readonly spawn: () => Child
  /** Called if the server has never worked: it ends at every start, or does not answer. */
  readonly broken: (reason: string) => void
  /** Called if a server was started long ago and does not answer. */
  readonly slow: (reason: string) => void
  /** Milliseconds after its start in which a server must answer something. */
  readonly startMs: number
  /**
   * Milliseconds in which a server must answer `initialize`. Its client gets an error afterwards.
   */
  readonly handshakeMs: number
  /** Milliseconds that the server may be silent about a request. */
  readonly answerTimeoutMs: number
  /** The name of this replica among the replicas of its workload. */
  readonly replica: string
  /** A child for each session, or one for all. */
  readonly isolation: 'session' | 'shared'
  /** Children that are started ahead, so that a session does not wait for `npx`. */
  readonly warmSpares: number
  readonly maxSessions: number
  readonly sessionIdleMs: number
  readonly sessionMaxMs: number
  readonly bodies: Bodies
  readonly eventBufferBytes: number
  /**
   * `auto` serves clients of both eras, whatever the server speaks. `passthrough` serves legacy
   * clients only.
   */
  readonly eras: 'auto' | 'passthrough'
  /**
   * The way of legacy clients to a server of both eras: its legacy side, or translation. `auto`
   * means the legacy side, which is never stateless on stdio.
   */
  readonly legacyLeg: 'auto' | 'passthrough' | 'translate'
}

const sessionLimit = 'MCP_MAX_SESSIONS'
const clientInfo = { name: 'mcp-gateway', version: '0.1.0' }
const silentMs = 4000
/** Milliseconds in which a shared child must answer the client that asks after a silence. */
const mostRetryMs = 5000
const sweepMs = 5000
const nothing = Buffer.alloc(0)
const failuresToGiveUp = 3

/**
 * A stdio MCP server behind streamable HTTP, with the whole legacy protocol (2025-03-26 to
 * 2025-11-25).
 */
export class StdioBridge implements Handler {
  readonly #options: BridgeOptions
  readonly #sessions: Sessions
  readonly #children = new Set<Child>()
  readonly #spares: Child[] = []
  readonly #sweep: NodeJS.Timeout
  readonly #modern: StdioModernServer
  readonly #modernFront: ModernFront<string>
  #probing: Promise<ServerEras> | undefined
  /** The eras of the server, once known. */
  #eras: ServerEras | undefined
  #shared: SharedChild | undefined
  #spareFailures = 0
  /** True once the server has answered a probe or sent a message to a session. */
  #works = false
  #spareTimer: NodeJS.Timeout | undefined
  #stopped = false
  /** The error for clients that wait when the bridge stops. */
  #whyStopped = 'The bridge is shutting down.'

  constructor(options: BridgeOptions) {
    this.#options = options
    const places = new Places(options.maxSessions)
    const handshakeMs = Math.min(options.handshakeMs, options.startMs)

    this.#sessions = new Sessions({
      ...options,
      places,
      limitedBy: sessionLimit,
      // Without a probe, the child of a session may still be downloading (`npx`).
      handshakeMs: options.eras === 'passthrough' ? options.startMs : handshakeMs,
      silent: (session) => this.#silentSession(session),
    })

    this.#sweep = setInterval(() => this.#forgetEnded(), sweepMs).unref()
    this.#modern = new StdioModernServer({
      eras: () => this.#serverEras(),
      child: () => this.#takeSpare() ?? this.#spawn(),
      places,
      crowded: allBusy(options.maxSessions, sessionLimit),
      clientInfo,
      replica: options.replica,
      handshakeMs,
      slow: () => this.#tellsSlow(),
    })

    this.#modernFront = new ModernFront(this.#modern, options.answerTimeoutMs)
    if (options.eras === 'auto' && options.warmSpares > 0) void this.#serverEras()
    else this.#warm()
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    switch (request.method ?? '') {
      case 'POST':
        return this.#post(request, response)
      case 'GET':
        return this.#get(request, response)
      case 'DELETE':
        return this.#take(request, response)
      default:
        sendRpcError(response, 405, {
          code: errorCode.invalidRequest,
          message: 'Method not allowed.',
          headers: { allow: 'POST, GET, DELETE' },
        })
    }
  }

  #post(request: IncomingMessage, response: ServerResponse): void {
    if (!isJson(request.headers['content-type']))
      return sendRpcError(response, 415, {
        code: errorCode.invalidRequest,
        message: 'The body must be application/json.',
      })

    const { accept } = request.headers
    if (accept !== undefined && !accepts(accept, 'application/json'))
      return sendRpcError(response, 406, {
        code: errorCode.invalidRequest,
        message: 'The client must accept application/json and text/event-stream.',
      })

    readBody(request, response, this.#options.bodies.of(request), (body) => {
      const mistake = jsonMistake(body)
      if (mistake !== undefined)
        return sendRpcError(response, 400, { code: errorCode.parse, message: mistake })

      const ambiguity = findAmbiguity(body)
      if (ambiguity !== undefined) return sendAmbiguous(response, ambiguity)

      if (mayBeModern(body, request.headers)) {
        const classified = this.#classify(body, request)
        if (classified.era === 'modern')
          return this.#modernFront.handle(classified, callerOf(request), request, response)
      }

      const sessionId = request.headers['mcp-session-id']
      if (sessionId === undefined) {
        // The probed child will serve the session, so waiting loses nothing.
        if (this.#eras !== undefined || this.#options.eras === 'passthrough')
          this.#open(body, request, response)
        else this.#openWhenKnown(body, request, response)
        return
      }

      const session = this.#sessions.get(String(sessionId))
      if (session === undefined) return sendNoSession(response)

      this.#sessions.take(session, request, response, body)
    })
  }

  /**
   * Opens a session once the eras are known, or tells the client that the server does not answer.
   */
  #openWhenKnown(body: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const { id } = outline(body)
    const { handshakeMs, startMs } = this.#options
    const impatience = setTimeout(
      () => {
        if (response.destroyed) return
        sendRpcError(response, 504, {
          id,
          code: errorCode.internal,
          message: this.#tellsSlow(),
          headers: { 'retry-after': '10' },
        })
      },
      Math.min(handshakeMs, startMs),
    ).unref()
    void this.#serverEras().then(() => {
      clearTimeout(impatience)
      if (!response.destroyed && !response.writableEnded) this.#open(body, request, response)
    })
  }

  /** Reports why there is no answer, and returns the same text for the client. */
  #tellsSlow(): string {
    const said = new Set([...this.#children].map((child) => child.said))
    const saw = this.#works ? 'works' : (sawMost.find((each) => said.has(each)) ?? 'nothing')
    const reason = `${whySilent[saw]} Look into its log, or try again later.`
    this.#options.slow(reason)
    return reason
  }

  /**
   * Handles a server that does not answer the `initialize` of a session. Returns the reason;
   * undefined if another session asks a shared child, and this session waits for that answer.
   */
  #silentSession(session: Session): string | undefined {
    const shared = this.#shared
    const found = shared?.silent(session)
    if (found === 'waits') return undefined

    const reason = this.#tellsSlow()
    if (found === 'ends') return reason

    queueMicrotask(() => this.#giveUp(reason))
    if (shared === undefined) return reason

    // Only a new child heals one that is silent to everybody who asked, so all who wait end.
    this.#shared = undefined
    void shared.stop()
    queueMicrotask(() => this.#sessions.endAll(reason))
    return reason
  }

  #classify(body: Buffer, { headers }: IncomingMessage): Classified {
    // A plain refusal makes clients of both eras fall back to `initialize`.
    if (this.#options.eras === 'passthrough')
      return {
        era: 'modern',
        id: outline(body).id,
        refusal: { status: 400, code: -32000, message: 'This server speaks legacy versions only.' },
      }
    return classifyRequest(body.toString(), headers)
  }

  /**
   * Probes the eras on a child that then serves as a spare if possible. If the child ends
   * unanswered, legacy is assumed, and the next call probes again.
   */
  #serverEras(): Promise<ServerEras> {
    if (this.#options.eras === 'passthrough') return Promise.resolve('legacy')
    this.#probing ??= this.#probe().then((eras) => {
      if (eras === undefined) this.#probing = undefined
      else this.#works = true
      // A legacy side that the settings exclude counts as none.
      this.#eras = eras === 'dual' && this.#options.legacyLeg === 'translate' ? 'modern' : eras
      this.#warm()
      return this.#eras ?? 'legacy'
    })
    return this.#probing
  }

  async #probe(): Promise<ServerEras | undefined> {
    const { startMs, handshakeMs } = this.#options
    const options = { clientInfo, silentMs, boundMs: startMs }
    const child = this.#spares.shift() ?? this.#spawn()
    const probed = await probeModern(child, options)
    if (probed === undefined && child.endedBecause === undefined) this.#giveUp(this.#tellsSlow())
    // The server works, so its clients should not wait for an answer that may never come.
    const soon = { ...options, boundMs: Math.min(startMs, handshakeMs / 2) }
    const dual = probed?.era === 'modern' && (await this.#takesInitialize(soon))
    // A server of both eras may refuse `initialize` after it has answered in the modern era.
    if (probed?.fresh === true && !dual && !this.#stopped) this.#spares.unshift(child)
    else void child.stop()
    return dual ? 'dual' : probed?.era
  }

  /**
   * Reports a server that never answers, so that the supervisor of this process sees the failure.
   */
  #giveUp(reason: string): void {
    if (!this.#works && !this.#stopped) this.#options.broken(reason)
  }

  async #takesInitialize(options: ProbeOptions): Promise<boolean> {
    const child = this.#spawn()
    const takes = await takesInitialize(child, options)
    void child.stop()
    return takes
  }

  #get(request: IncomingMessage, response: ServerResponse): void {
    if (accepts(request.headers.accept ?? '', 'text/event-stream')) this.#take(request, response)
    else
      sendRpcError(response, 406, {
        code: errorCode.invalidRequest,
        message: 'The client must accept text/event-stream.',
      })
  }

  /** Handles a request without a body. */
  #take(request: IncomingMessage, response: ServerResponse): void {
    const id = first(request.headers['mcp-session-id'])
    const session = id === undefined ? undefined : this.#sessions.get(id)
    if (id === undefined)
      sendRpcError(response, 400, {
        code: errorCode.invalidRequest,
        message: 'Mcp-Session-Id is required.',
      })
    else if (session === undefined) sendNoSession(response)
    else this.#sessions.take(session, request, response, nothing)
  }

  /** Handles a POST without a session. Only `initialize` opens a session. */
  #open(body: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const { method, id } = outline(body)
    if (method !== 'initialize' || id === undefined)
      return sendRpcError(response, 400, {
        id,
        code: errorCode.invalidRequest,
        message: 'Mcp-Session-Id is required: initialize first.',
      })
    if (this.#stopped)
      return sendRpcError(response, 503, {
        id,
        code: errorCode.internal,
        message: this.#whyStopped,
      })

    const sessionId = randomBytes(16).toString('base64url')
    const caller = callerOf(request)
    const linkOf = (sessionOf: () => Session): Link => this.#link(caller, sessionOf)
    const session = this.#sessions.open(sessionId, body, response, linkOf, caller)
    session?.post(body, response, { 'mcp-session-id': sessionId })
  }

  #link(caller: string, sessionOf: () => Session): Link {
    const modern = this.#modern
    if (this.#eras === 'modern') return translatedLink(modern.endpoint(caller), sessionOf, modern)
    return this.#options.isolation === 'shared'
      ? this.#sharedChild().link(sessionOf, caller === nobodyNamed ? undefined : caller)
      : this.#ownLink(sessionOf)
  }

  #ownLink(sessionOf: () => Session): Link {
    const child = this.#takeSpare() ?? this.#spawn()
    child.listen({
      line: (line, message) => {
        this.#works = true
        sessionOf().receive(line, message)
      },
      ended: (reason) => this.#sessions.end(sessionOf(), reason),
    })
    return {
      send: (message) => child.send(message),
      get unread() {
        return child.unread
      },
      pause: () => child.pause(),
      resume: () => child.resume(),
      close: () => void child.stop(),
    }
  }

  #sharedChild(): SharedChild {
    if (this.#shared !== undefined) return this.#shared
    const said = (): void => void (this.#works = true)
    const child = this.#takeSpare() ?? this.#spawn()
    const { handshakeMs } = this.#options
    const retryMs = Math.min(mostRetryMs, handshakeMs / 2)
    const shared = new SharedChild(child, retryMs, said, (reason) => {
      if (this.#shared !== shared) return
      this.#shared = undefined
      this.#sessions.endAll(reason)
      this.#warm()
    })
    this.#shared = shared
    return shared
  }

  #spawn(): Child {
    const child = this.#options.spawn()
    this.#children.add(child)
    return child
  }

  #takeSpare(): Child | undefined {
    let spare = this.#spares.shift()
    while (spare?.endedBecause !== undefined) spare = this.#spares.shift()
    // Spawn after this request, so that spawning does not delay it.
    setImmediate(() => this.#warm())
    return spare
  }

  #wantedSpares(): number {
    const { isolation, warmSpares } = this.#options
    if (this.#eras === 'modern') return 0
    if (isolation !== 'shared') return warmSpares
    return this.#shared === undefined ? Math.min(1, warmSpares) : 0
  }

  /**
   * Starts the missing spares. A spare that ends unused is replaced with growing delay, so that a
   * broken command does not spin.
   */
  #warm(): void {
    const wanted = this.#wantedSpares()
    while (!this.#stopped && this.#spareTimer === undefined && this.#spares.length < wanted) {
      const spare = this.#spawn()
      this.#spares.push(spare)
      void spare.ended().then(() => {
        this.#children.delete(spare)
        const unused = this.#spares.indexOf(spare)
        if (unused === -1) {
          this.#spareFailures = 0
          return
        }

        this.#spares.splice(unused, 1)
        this.#spareFailures += 1

        // The supervisor of this process must see that the server does not work, and why.
        if (!this.#works && this.#spareFailures === failuresToGiveUp && !this.#stopped) {
          this.#whyStopped = spare.endedBecause ?? this.#whyStopped
          this.#options.broken(this.#whyStopped)
        }

        clearTimeout(this.#spareTimer)
        this.#spareTimer = setTimeout(
          () => {
            this.#spareTimer = undefined
            this.#warm()
          },
          Math.min(30_000, 250 * 2 ** this.#spareFailures),
        ).unref()
      })
    }
  }

  #forgetEnded(): void {
    for (const child of this.#children)
      if (child.endedBecause !== undefined) this.#children.delete(child)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    clearInterval(this.#sweep)
    clearTimeout(this.#spareTimer)
    this.#sessions.close(this.#whyStopped)
    this.#modernFront.close()
    this.#modern.close(this.#whyStopped)
    await Promise.all([...this.#children].map((child) => child.stop()))
  }
}

/** Observations about a server that does not answer, the most telling first. */
const sawMost = ['messages', 'text'] as const
const whySilent = {
  nothing: 'The server was started, writes nothing and does not answer.',
  text: 'The server was started and writes only text that is no message.',
  messages: 'The server was started and writes messages, but does not answer.',
  works: 'The server was started again and does not answer, although it has worked before.',
} as const

function sendNoSession(response: ServerResponse): void {
  sendRpcError(response, 404, { code: errorCode.sessionNotFound, message: 'Session not found.' })
}

/** The mistake in bytes that are no JSON text for a line, or undefined. */
function jsonMistake(body: Buffer): string | undefined {
  if (!isUtf8(body)) return 'The body is not UTF-8.'
  try {
    JSON.parse(body.toString())
    return undefined
  } catch (error) {
    return `Parse error: ${(error as Error).message.slice(0, 200)}`
  }
}

function isJson(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/json\s*(;|$)/i.test(contentType)
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
