import { mayBeModern } from '@mcp-gateway/protocol'
import type { Permit } from '../core/permission.ts'
import type { Adapter } from '../core/resource.ts'
import { methodOf } from '../ingress/body.ts'
import type { Exchange } from '../ingress/exchange.ts'
import { sessionIdOf, type Target } from '../ingress/mcp-path.ts'
import type { Session } from '../ingress/session-sealer.ts'
import type { ToolGuard } from '../servers/tool-guard.ts'

/** A request that its caller may make, with its whole body. */
export interface Call {
  readonly exchange: Exchange
  readonly permit: Permit<'use', Adapter>
  readonly target: Target
  /** The sealed id by which the client knows its session. */
  readonly sealed: string | undefined
  readonly session: Session | undefined
  readonly body: Buffer | null
  /** The body if the request is a POST outside of sessions, which may need translation. */
  readonly opening: Buffer | undefined
  /** True if the client speaks the modern era, or claims to, and the request is an opening. */
  readonly modern: boolean
  /** True if the request asks the server who it is: `initialize`, or `server/discover`. */
  readonly handshake: boolean
}

/** Describes a call, by its headers and its body. */
export function describeCall(
  exchange: Exchange,
  permit: Permit<'use', Adapter>,
  target: Target,
  session: Session | undefined,
): Call {
  const { request, body } = exchange
  const { method, headers } = request
  const opening = method === 'POST' && body !== null && session === undefined ? body : undefined
  const modern = opening !== undefined && mayBeModern(opening, headers)
  const handshake =
    opening !== undefined &&
    (modern ? headers['mcp-method'] === 'server/discover' : opensSession(opening))

  return {
    exchange,
    permit,
    target,
    sealed: sessionIdOf(request, target),
    session,
    body,
    opening,
    modern,
    handshake,
  }
}

/**
 * Answers a call by work of this process, rather than by the bytes of a server. The rules for tools
 * judge the messages that leave for the server later, so denials are noted from there.
 */
export function answerCall({ exchange, permit }: Call, guard: ToolGuard, work: () => void): void {
  const { resource, principal } = permit
  exchange.note({ replica: 'translated' })
  const stopWatching = guard.watchDenials(resource, principal, exchange.body, () =>
    exchange.note({ denied: resource }),
  )
  if (stopWatching !== undefined) exchange.response.once('close', stopWatching)
  exchange.answer(work)
}

/** True if a POST without session opens one. */
export function opensSession(body: Buffer): boolean {
  return body.includes('"initialize"') && methodOf(body) === 'initialize'
}

/** The replica that a bridge puts in front of the state of a parked call: `{replica}~{state}`. */
export function stateReplica(body: Buffer): string | undefined {
  return /^([a-z0-9-]+)~/.exec(stateOf(body) ?? '')?.[1]
}

/** The state of a parked call that a retry brings back. */
export function stateOf(body: Buffer): string | undefined {
  if (!body.includes('"requestState"')) return undefined
  try {
    const { params } = JSON.parse(body.toString()) as { params?: { requestState?: unknown } }
    return typeof params?.requestState === 'string' ? params.requestState : undefined
  } catch {
    return undefined
  }
}
