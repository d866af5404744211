import type { IncomingMessage } from 'node:http'
import type { Share, Shares } from '@mcp-gateway/mcp-http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError } from '../core/errors.ts'
import { checkKnown } from '../core/permission.ts'
import { partyOf, type Principal } from '../core/principal.ts'
import { heldBytes, shortOf, type CallerShares } from '../core/shares.ts'
import { sendProblem } from '../http/rest.ts'

export interface CallerOptions {
  /**
   * Identifies the caller.
   * @throws GatewayError, or rejects with one
   */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  /** Adds a challenge to a refusal, so that the client learns how to get access. */
  readonly challenge: (request: IncomingMessage, refusal: GatewayError) => GatewayError
  readonly shares: Pick<CallerShares, 'requests' | 'bodyBytes' | 'heldBytes'>
}

/** Answers of at most this many bytes are not counted. Errors are shorter. */
const smallAnswer = 16 * 1024

/**
 * Makes all routes added later identify their caller, and refuse anonymous callers before reading
 * the body, unless the routes decide for themselves.
 */
export function knowCallers(
  app: FastifyInstance,
  { authenticate, challenge, shares }: CallerOptions,
  admits: 'known' | 'all' = 'known',
): void {
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async (request, reply) => {
    request.principal = await authenticate(request.raw)
    if (admits === 'known') checkKnown(request.principal)
    take(shares.requests, 1, 'open requests', reply)
  })

  // Routes check rights before this hook, so only callers who may send a body take room for it.
  app.addHook('preParsing', async (request, reply) => {
    const bytes = bodyBytes(request)
    if (bytes > 0) take(shares.bodyBytes, bytes, 'bytes in the bodies of requests', reply)
  })

  // A client could request long lists on many connections without reading the answers.
  app.addHook('onSend', async (_request, reply, payload) => {
    const bytes = bytesOf(payload)
    if (reply.statusCode >= 400 || bytes <= smallAnswer) return
    take(shares.heldBytes, bytes, heldBytes, reply).spare(() => reply.raw.destroy())
  })

  app.setErrorHandler<Error>((thrown, request, reply) =>
    sendProblem(
      thrown instanceof GatewayError ? challenge(request.raw, thrown) : thrown,
      request,
      reply,
    ),
  )
}

/**
 * Takes a share until the response closes.
 * @throws GatewayError if there is no room
 */
function take(shares: Shares, amount: number, what: string, reply: FastifyReply): Share {
  const share = shares.open(partyOf(principalOf(reply.request)))
  if (reply.raw.destroyed) return share
  const shortage = share.hold(amount)
  if (shortage !== undefined) throw shortOf(shortage, what)
  reply.raw.once('close', () => share.release())
  return share
}

/** Streams count as zero, because they wait for their reader. */
function bytesOf(payload: unknown): number {
  if (typeof payload === 'string') return Buffer.byteLength(payload)
  return Buffer.isBuffer(payload) ? payload.length : 0
}

/** Bytes to reserve. A body without a declared length may grow to the limit of its route. */
function bodyBytes({ headers, routeOptions }: FastifyRequest): number {
  const { bodyLimit } = routeOptions
  if (headers['transfer-encoding'] !== undefined) return bodyLimit
  return Math.min(Number(headers['content-length'] ?? 0), bodyLimit)
}

/** The caller of a route that identifies callers. */
export function principalOf(request: FastifyRequest): Principal {
  return request.principal as Principal
}

declare module 'fastify' {
  interface FastifyRequest {
    principal: Principal | null
  }
}
