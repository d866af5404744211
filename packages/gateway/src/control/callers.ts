import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { GatewayError } from '../core/errors.ts'
import { checkKnown } from '../core/permission.ts'
import type { Principal } from '../core/principal.ts'
import { sendProblem } from '../http/rest.ts'

export interface CallerOptions {
  /** Who calls. @throws GatewayError, or rejects with one */
  readonly authenticate: (request: IncomingMessage) => Principal | Promise<Principal>
  /** Adds to a refusal what tells the client how to be let in. */
  readonly challenge: (request: IncomingMessage, refusal: GatewayError) => GatewayError
}

/** The routes that are added from now on know who calls; the bodies of others, and of nobody in particular, are not even read. */
export function knowCallers(
  app: FastifyInstance,
  { authenticate, challenge }: CallerOptions,
): void {
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async (request) => {
    request.principal = await authenticate(request.raw)
    checkKnown(request.principal)
  })
  app.setErrorHandler<Error>((thrown, request, reply) =>
    sendProblem(
      thrown instanceof GatewayError ? challenge(request.raw, thrown) : thrown,
      request,
      reply,
    ),
  )
}

/** Who calls a route that knows its callers. */
export function principalOf(request: FastifyRequest): Principal {
  return request.principal as Principal
}

declare module 'fastify' {
  interface FastifyRequest {
    principal: Principal | null
  }
}
