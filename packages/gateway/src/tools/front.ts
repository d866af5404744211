import { randomBytes, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type Session as LegacySession,
  ModernFront,
  Sessions,
  translatedLink,
} from '@mcp-gateway/mcp-http'
import { classifyRequest, mayBeModern, outline, type ModernEndpoint } from '@mcp-gateway/protocol'
import { GatewayError } from '../core/errors.ts'
import { checkKnown } from '../core/permission.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import type { CallerShares } from '../core/shares.ts'
import type { Entrance } from '../ingress/entrance.ts'
import type { Exchange } from '../ingress/exchange.ts'
import { LastCallers, type LastCaller } from '../ingress/last-callers.ts'
import { ownerFailed, type Hop } from '../ingress/peer-hop.ts'
import { type SessionSealer } from '../ingress/session-sealer.ts'
import { sessionIdOf } from '../ingress/mcp-path.ts'
import type { Caller, Router } from './router.ts'
import type { Seen } from './source.ts'

export interface FrontOptions {
  readonly router: Router
  readonly entrance: Entrance
  /** Hands a request to the gateway process that holds its session. */
  readonly hop: Hop
  readonly sealer: SessionSealer
  readonly shares: Pick<CallerShares, 'eventBytes' | 'sessions'>
  readonly now: () => number
}

/**
 * Stands for an adapter's incarnation in the router's sealed session ids. In place of a replica,
 * they name the process.
 */
export const routerUid = '00000000-0000-4000-8000-6d63702f6d63'
const routerPath = '/mcp'
const limits = {
  sessionIdleMs: 3600_000,
  sessionMaxMs: 7 * 24 * 3600_000,
}
const nothing: Readonly<Record<string, string>> = {}
/** Stand-in for the owner of a session that has ended; it has no rights. */
const nobody: Principal = { id: '', issuer: '', name: '', roles: [] }

/** `/mcp`: the router over HTTP, for clients of both eras. */
export class ToolFront implements AsyncDisposable {
  readonly #options: FrontOptions
  readonly #modern: ModernFront<Caller>
  readonly #sessions: Sessions
  readonly #callers = new LastCallers()

  constructor(options: FrontOptions) {
    this.#options = options
    this.#sessions = new Sessions({
      ...options.shares.sessions,
      ...limits,
      events: options.shares.eventBytes,
    })
    this.#modern = new ModernFront(options.router)
  }

  take(request: IncomingMessage, response: ServerResponse): boolean {
    return admitToRouter(this.#options.entrance, request, response, (exchange) =>
      this.#pass(exchange, exchange.body ?? Buffer.alloc(0)),
    )
  }

  /** Ends listen streams in order, so that clients open them elsewhere. Calls in progress go on. */
  drain(): void {
    this.#options.router.drain()
  }

  #pass(exchange: Exchange, body: Buffer): void {
    const { request, response, principal } = exchange
    if (request.method === 'POST') {
      if (mayBeModern(body, request.headers)) {
        const classified = classifyRequest(body.toString(), request.headers)
        if (classified.era === 'modern')
          return this.#modern.handle(classified, callerOf(exchange), request, response)
      }
    }

    const sealed = sessionIdOf(request)
    if (sealed === undefined) {
      if (request.method === 'POST' && outline(body).method === 'initialize')
        return this.#open(exchange, body)

      throw request.method === 'GET'
        ? new GatewayError('method_not_allowed', {
            detail: 'There is no stream without a session.',
            headers: { allow: 'POST' },
          })
        : new GatewayError('invalid_request', {
            detail: 'The request names no session. Begin with initialize, or speak MCP 2026-07-28.',
          })
    }

    const { replica: owner, upstreamId } = this.#options.sealer.open(sealed, routerUid, principal)
    const lost = (repeatable: boolean): void => exchange.fail(ownerFailed(repeatable))
    // A request that was handed over is for this process or for nobody, because the address of a
    // process that is gone may now belong to another.
    if (owner !== this.#options.hop.self && !exchange.isHandedOver)
      return this.#options.hop.forward(owner, exchange, lost)

    const session = this.#sessions.get(upstreamId)
    if (session === undefined) return lost(true)

    this.#callers.set(session, exchange)
    this.#sessions.take(session, request, response, body)
  }

  #open(exchange: Exchange, body: Buffer): void {
    const { principal, response } = exchange
    const id = randomBytes(16).toString('base64url')
    const session = this.#sessions.open(
      id,
      body,
      response,
      (sessionOf) => translatedLink(this.#endpoint(sessionOf), sessionOf),
      partyOf(principal),
    )
    if (session === undefined) return
    this.#callers.set(session, exchange)
    const { hop, now, sealer } = this.#options
    const sealed = sealer.seal(
      { upstreamId: id, replica: hop.self, uid: routerUid, issuedAt: now() },
      principal,
    )
    session.post(body, response, { 'mcp-session-id': sealed })
  }

  /** The router as the modern server behind a legacy session. */
  #endpoint(sessionOf: () => LegacySession): ModernEndpoint {
    const { router } = this.#options
    const principal = (): Principal => this.#callers.get(sessionOf())?.principal ?? nobody
    return {
      request: (request, exchange) => {
        // The session takes the messages of a body at once, so this is the request that brought
        // them.
        const last = this.#callers.get(sessionOf())
        const requestId = last?.requestId ?? randomUUID()
        const seen = last === undefined ? (): void => undefined : seenBy(last)
        router.request(
          { principal, requestId, trace: nothing, idempotencyKey: randomUUID(), seen },
          request,
          exchange,
        )
      },
      gone: (exchange) => router.gone(exchange),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#modern.close()
    this.#sessions.close('The gateway is shutting down.')
    this.#options.router.close()
  }
}

/**
 * Admits a request to the router, in the process that answers it or that hands it over. Returns
 * false if the request is not for the router.
 */
export function admitToRouter(
  entrance: Entrance,
  request: IncomingMessage,
  response: ServerResponse,
  pass: (exchange: Exchange) => void,
): boolean {
  if (!isRouterPath(request.url ?? '')) return false

  entrance.admit(request, response, routerPath, (exchange) => {
    checkKnown(exchange.principal)
    exchange.checkMethod()
    exchange.readBody(() => exchange.answer(() => pass(exchange)))
  })
  return true
}

function isRouterPath(url: string): boolean {
  return /^\/mcp\/?(\?|$)/.test(url)
}

function callerOf(exchange: Exchange): Caller {
  const { principal, requestId, request } = exchange
  const { headers } = request
  const { 'idempotency-key': key } = headers
  return {
    principal: () => principal,
    requestId,
    seen: seenBy(exchange),
    trace: traceHeaders(headers),
    // A structured string (draft-ietf-httpapi-idempotency-key-header).
    idempotencyKey:
      (typeof key === 'string'
        ? /^"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?$/.exec(key)?.[1]
        : undefined) ?? randomUUID(),
  }
}

/** Notes for the audit log which tool a call names, and which refusal its answer does not show. */
function seenBy(caller: Pick<LastCaller, 'note'>): Seen {
  return (tool, allowed) => {
    caller.note(allowed ? { subject: tool } : { denied: tool })
  }
}

function traceHeaders(headers: IncomingMessage['headers']): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of ['traceparent', 'tracestate', 'baggage']) {
    const value = headers[name]
    if (typeof value === 'string') found[name] = value
  }
  return found
}
