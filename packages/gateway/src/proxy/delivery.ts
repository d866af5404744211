import type { ErrorCode, GatewayError } from '../core/errors.ts'
import { partyOf } from '../core/principal.ts'
import type { Silences } from '../core/silences.ts'
import type { SessionSealer } from '../ingress/session-sealer.ts'
import type { Dispatching } from '../upstream/shared-connections.ts'
import type { DecideOutgoing } from '../upstream/outgoing.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Sticky, Upstreams } from '../upstream/upstreams.ts'
import { stateReplica, type Call } from './call.ts'
import type { AdapterServers } from '../servers/adapter-servers.ts'
import { probeMs } from '../servers/era-questions.ts'
import { forward } from './forward.ts'
import type { HeaderRules } from './headers.ts'
import type { ToolGuard } from '../servers/tool-guard.ts'
import type { Translation } from './translation.ts'

export interface DeliveryParts {
  readonly upstreams: Upstreams
  readonly translation: Translation
  readonly servers: AdapterServers
  readonly guard: ToolGuard
  readonly outgoing: DecideOutgoing
  readonly headerRules: HeaderRules
  readonly sealer: SessionSealer
  /** Records the servers that do not answer. */
  readonly silences: Pick<Silences, 'failed' | 'answered'>
  readonly answerTimeoutMs: number
  /** Limit for the first answer of a server that has not answered yet. */
  readonly handshakeMs: number
  readonly now: () => number
}

/** The way of one call to a server: picks a replica, tries it, and decides after a failure. */
export class Delivery {
  readonly #call: Call
  readonly #parts: DeliveryParts
  /** The replica that the call needs. */
  readonly #sticky: Sticky | undefined
  /** The replicas that could not be reached. */
  #unreachable: Set<string> | undefined

  constructor(call: Call, parts: DeliveryParts) {
    this.#call = call
    this.#parts = parts
    this.#sticky = call.session ?? this.#namedReplica()
  }

  /**
   * Picks a ready replica at once, or waits for a cold or restarting replica, for a limited time.
   */
  start(): void {
    const { exchange, permit } = this.#call
    try {
      const ready = this.#parts.upstreams.pick(permit.resource, this.#sticky)
      if (ready === undefined) this.#wait()
      else this.#attempt(ready)
    } catch (error) {
      exchange.fail(error)
    }
  }

  #wait(): void {
    const { exchange, permit } = this.#call
    const waiting = new AbortController()
    const { signal } = waiting
    exchange.waits((reason) => waiting.abort(reason))

    this.#parts.upstreams.waitFor(permit.resource, this.#sticky, signal).then(
      (upstream) =>
        exchange.guard(() => {
          if (signal.aborted) throw signal.reason
          this.#attempt(upstream)
        }),
      (error: unknown) => exchange.fail(signal.aborted ? signal.reason : error),
    )
  }

  /** Sends the call to a replica, by translation if the eras differ. */
  #attempt(upstream: Upstream, mayTranslate = true): void {
    const { exchange, permit, target, body, session, sealed, opening } = this.#call
    const { translation, sealer, now, answerTimeoutMs } = this.#parts
    const { resource, principal } = permit
    exchange.note({ replica: upstream.replica.name })

    const crosses = mayTranslate && opening !== undefined
    if (crosses && translation.takes(this.#call, upstream, () => this.#attempt(upstream, false)))
      return

    const patienceMs = this.#patienceMs()
    const stop = forward(permit, upstream, {
      request: exchange.request,
      response: exchange.response,
      requestId: exchange.requestId,
      outgoing: this.#parts.outgoing(resource, principal),
      headerRules: this.#parts.headerRules,
      via: this.#via(upstream),
      path: pathOf(upstream, target.query),
      body,
      session,
      sealed,
      answerTimeoutMs,
      handshakeMs: patienceMs,
      seal: (upstreamId, { replica }) =>
        sealer.seal(
          { upstreamId, replica: replica.name, uid: resource.uid, issuedAt: now() },
          principal,
        ),
      refused: crosses ? translation.onRefusal(this.#call, upstream) : undefined,
      flows: (cut) => exchange.flows(cut),
      finished: (failure) => this.#afterAnswer(upstream, patienceMs, failure),
      failed: (failure, unsent) => this.#afterFailure(upstream, patienceMs, failure, unsent),
    })
    exchange.sent(stop)
  }

  #via(upstream: Upstream): Dispatching {
    const { exchange, permit } = this.#call
    const { resource, principal } = permit
    const { guard } = this.#parts
    return guard.guards(resource)
      ? guard.to(upstream, resource, principal, () => exchange.note({ denied: resource }))
      : upstream.via(partyOf(principal))
  }

  /** Limit for the first message of the answer. Undefined if the server is known to answer. */
  #patienceMs(): number | undefined {
    const { permit, modern, handshake } = this.#call
    const { servers, handshakeMs } = this.#parts
    // The request has waited for a probe of the gateway, which the server did not answer.
    if (modern && servers.isUnheard(permit.resource)) return handshakeMs - probeMs(handshakeMs)
    return handshake ? handshakeMs : undefined
  }

  /** Learns from an answer that was passed on, whole or cut. */
  #afterAnswer(
    upstream: Upstream,
    patienceMs: number | undefined,
    failure: GatewayError | undefined,
  ): void {
    const { exchange, permit, session, modern } = this.#call
    const { servers, upstreams, silences } = this.#parts
    const { resource } = permit
    const { statusCode } = exchange.response
    // A modern server that refuses a modern request may have become a legacy server.
    if (modern && (statusCode === 400 || statusCode === 404 || statusCode === 405))
      servers.doubt(resource)
    if (session !== undefined && exchange.request.method === 'POST')
      upstreams.learn(resource, session, upstream, statusCode)
    if (patienceMs !== undefined && failure === undefined && statusCode < 500)
      silences.answered(resource.uid)

    exchange.finish(failure)
  }

  /**
   * Tries another replica if the request was not sent, unless its session lives on this one. Else
   * the failure is the answer.
   */
  #afterFailure(
    upstream: Upstream,
    patienceMs: number | undefined,
    failure: GatewayError,
    unsent: boolean,
  ): void {
    const { exchange, permit } = this.#call
    const { upstreams, silences } = this.#parts
    exchange.guard(() => {
      const other =
        unsent && this.#sticky === undefined && failure.code === 'upstream_unreachable'
          ? upstreams.pick(permit.resource, undefined, this.#without(upstream))
          : undefined
      if (other !== undefined) return this.#attempt(other)

      if (patienceMs !== undefined && tellsOfServer.has(failure.code))
        silences.failed(permit.resource.uid, failure.message)
      exchange.fail(failure)
    })
  }

  #without({ replica }: Upstream): ReadonlySet<string> {
    return (this.#unreachable ??= new Set()).add(replica.name)
  }

  /** The replica that a retry names in its state, if that replica exists. */
  #namedReplica(): Sticky | undefined {
    const { permit, opening, modern } = this.#call
    const replica = modern && opening !== undefined ? stateReplica(opening) : undefined
    return replica !== undefined && this.#parts.upstreams.has(permit.resource, replica)
      ? { replica, issuedAt: this.#parts.now() }
      : undefined
  }
}

/**
 * Failures that the status of an adapter shows. Every reader of the adapter may see their messages.
 */
const tellsOfServer: ReadonlySet<ErrorCode> = new Set([
  'upstream_failed',
  'upstream_not_mcp',
  'upstream_timeout',
  'upstream_unauthorized',
  'upstream_unreachable',
])

/**
 * Path and query at the server. A query that the owner has put into an endpoint stays unchanged.
 */
function pathOf({ replica: { path } }: Upstream, query: string): string {
  return query === '' || path.includes('?') ? path : path + query
}
