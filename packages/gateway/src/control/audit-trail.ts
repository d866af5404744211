import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ApiRequest } from '../audit/api-requests.ts'
import type { Subject } from '../audit/decision.ts'
import type { Principal } from '../core/principal.ts'
import { whenOver } from '../http/over.ts'
import { holdsSecrets } from './workload-fields.ts'

/** What a route does, as the audit log calls it. */
export interface Audits {
  readonly action: string
  /** For what is not there, or could not be made, in which no resource says its kind. */
  readonly kind: string
  readonly matters: boolean
}

/** The option of a route whose requests are audited. Reads have records only when they are refused or an administrator's. */
export function audits(
  kind: string,
  verb: string,
  matters = true,
): { readonly config: { readonly audits: Audits } } {
  return { config: { audits: { action: `${kind}.${verb}`, kind, matters } } }
}

/** Tells of each request to an audited route, when it is over, be its client still there or not. */
export function addAuditTrail(app: FastifyInstance, told: (request: ApiRequest) => void): void {
  app.decorateRequest('subject', null)
  whenOver(app, ({ request, error }) => {
    const { audits: route } = request.routeOptions.config
    if (route === undefined) return
    told({
      action: route.action,
      matters: route.matters,
      principal: request.principal ?? undefined,
      subject: request.subject ?? namedBy(request, route.kind),
      error,
      request: request.raw,
      // Of a short secret, a digest of what stands around it would tell enough to guess it.
      digest: holdsSecrets(request.body) ? undefined : (request.bodyDigest ?? undefined),
    })
  })
}

/** Fields of the log line of a REST request: its caller, and the adapter or tool that it names. */
export function describeRequest(request: FastifyRequest): {
  readonly principal?: string
  readonly adapter?: string
  readonly tool?: string
} {
  // Requests that match no route, and those to health and docs, have no caller.
  const caller = (request.principal as Principal | null | undefined) ?? undefined
  const kind = request.routeOptions.config.audits?.kind
  const subject = kind === undefined ? undefined : (request.subject ?? namedBy(request, kind))
  const name = subject?.name.slice(0, 100)

  return {
    ...(caller === undefined ? {} : { principal: caller.id }),
    ...(subject?.kind === 'adapter' && name !== undefined ? { adapter: name } : {}),
    ...(subject?.kind === 'tool' && name !== undefined ? { tool: name } : {}),
  }
}

/** What a request says that it is about. */
function namedBy({ params, body }: FastifyRequest, kind: string): Subject | undefined {
  const { name, id } = params as { readonly name?: string; readonly id?: string }
  const given = name ?? id ?? (body as { readonly name?: unknown } | null | undefined)?.name
  return typeof given === 'string' ? { kind, name: given } : undefined
}

declare module 'fastify' {
  interface FastifyContextConfig {
    audits?: Audits
  }
  interface FastifyRequest {
    /** What the request was about, once known. */
    subject: Subject | null
  }
}
