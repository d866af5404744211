import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ApiRequest } from '../audit/api-requests.ts'
import type { Subject } from '../audit/decision.ts'
import type { Principal } from '../core/principal.ts'
import { whenOver } from '../http/over.ts'
import { holdsSecrets } from './kinds/workload-fields.ts'

/**
 * Reports each request to an audited route when the request ends, even if the client has
 * disconnected.
 */
export function addAuditTrail(app: FastifyInstance, told: (request: ApiRequest) => void): void {
  app.decorateRequest('subject', null)
  whenOver(app, ({ request, error }) => {
    const { audit } = request.routeOptions.config
    if (audit === undefined) return

    told({
      action: `${audit.kind}.${audit.verb}`,
      matters: audit.always,
      principal: request.principal ?? undefined,
      subject: request.subject ?? namedBy(request, audit.kind),
      error,
      request: request.raw,
      // A digest of the body would reveal enough to guess a short secret.
      digest: holdsSecrets(request.body) ? undefined : (request.bodyDigest ?? undefined),
    })
  })
}

/** Fields for the log line of a REST request: its caller, and its adapter or tool. */
export function describeRequest(request: FastifyRequest): {
  readonly principal?: string
  readonly adapter?: string
  readonly tool?: string
} {
  // Requests without a matching route, or to health and docs, have no caller.
  const caller = (request.principal as Principal | null | undefined) ?? undefined
  const kind = request.routeOptions.config.audit?.kind
  const subject = kind === undefined ? undefined : (request.subject ?? namedBy(request, kind))
  const name = subject?.name.slice(0, 100)

  return {
    ...(caller === undefined ? {} : { principal: caller.id }),
    ...(subject?.kind === 'adapter' && name !== undefined ? { adapter: name } : {}),
    ...(subject?.kind === 'tool' && name !== undefined ? { tool: name } : {}),
  }
}

/** The resource that the path or body of a request names. */
function namedBy({ params, body }: FastifyRequest, kind: string): Subject | undefined {
  const { name, id } = params as { readonly name?: string; readonly id?: string }
  const given = name ?? id ?? (body as { readonly name?: unknown } | null | undefined)?.name
  return typeof given === 'string' ? { kind, name: given } : undefined
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The resource of the request, once known. */
    subject: Subject | null
  }
}
