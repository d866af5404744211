import type { Audit, Endpoint } from '@mcp-gateway/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Principal } from '../core/principal.ts'
import { defined } from '../lib/defined.ts'
import { principalOf } from './callers.ts'
import { validateQuery } from './validation.ts'

type QueryOf<E extends Endpoint> = E extends { readonly query: infer Q extends z.ZodObject }
  ? z.output<Q>
  : undefined

/** A call of an endpoint by a known caller. */
export interface Call<E extends Endpoint = Endpoint> {
  readonly request: FastifyRequest
  /** Has the status that the contract names for success. */
  readonly reply: FastifyReply
  readonly principal: Principal
  /** The name or id in the path; empty where the path has none. */
  readonly name: string
  /** The query by the schema of the contract. @throws GatewayError `validation_failed` */
  query(): QueryOf<E>
}

export interface ServeOptions {
  /** Checks rights before the body is read, so that bodies of strangers cost nothing. */
  readonly check?: ((principal: Principal, name: string) => void | Promise<void>) | undefined
  /** Bytes; the general limit applies where it is smaller. */
  readonly bodyLimit?: number | undefined
  /** Records no digest of the body, which would reveal enough to guess a short secret. */
  readonly secretBody?: boolean | undefined
}

/**
 * Adds the route of an endpoint. Method, path, query, status and audit record are those of the
 * contract.
 */
export function serve<E extends Endpoint>(
  app: FastifyInstance,
  endpoint: E,
  handle: (call: Call<E>) => unknown,
  { check, bodyLimit, secretBody = false }: ServeOptions = {},
): void {
  const { method, path, success, audit, body } = endpoint

  app.route({
    method,
    url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
    config: { audit, takesBody: body !== undefined },
    ...defined({
      bodyLimit: bodyLimit && Math.min(bodyLimit, app.initialConfig.bodyLimit ?? bodyLimit),
      onRequest:
        check && (async (request: FastifyRequest) => check(principalOf(request), nameIn(request))),
      preValidation: secretBody ? forgetDigest : undefined,
    }),
    handler: (request, reply) =>
      handle({
        request,
        reply: reply.code(success.status),
        principal: principalOf(request),
        name: nameIn(request),
        query: () => queryOf(endpoint, request),
      }),
  })
}

function queryOf<E extends Endpoint>({ query }: E, request: FastifyRequest): QueryOf<E> {
  const value = query === undefined ? undefined : validateQuery(query, request.query)
  return value as QueryOf<E>
}

function nameIn({ params }: FastifyRequest): string {
  const { name, id } = params as { readonly name?: string; readonly id?: string }
  return name ?? id ?? ''
}

async function forgetDigest(request: FastifyRequest): Promise<void> {
  request.bodyDigest = null
}

declare module 'fastify' {
  interface FastifyContextConfig {
    audit?: Audit
  }
}
