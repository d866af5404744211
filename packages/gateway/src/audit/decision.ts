import type { IncomingMessage } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import {
  adminRole,
  hasRole,
  isAnonymous,
  samePrincipal,
  type Principal,
} from '../core/principal.ts'
import type { AuditedPrincipal, AuditedResource, AuditOutcome } from './record.ts'

/** The address of the client that has sent a request. */
export type AddressOf = (request: IncomingMessage) => string

/** The resource that a caller acted on. */
export interface Subject extends AuditedResource {
  readonly owner?: Pick<Principal, 'id' | 'issuer'>
}

/**
 * The result of a request as a decision. A refusal that the caller sees as 404 counts as `denied`.
 */
export function outcomeOf(
  error: GatewayError | undefined,
  denied?: AuditedResource,
): { readonly outcome: AuditOutcome; readonly code?: string; readonly about?: AuditedResource } {
  const about = denied ?? error?.denied
  if (about !== undefined) return { outcome: 'denied', code: error?.code ?? 'not_found', about }
  if (error === undefined) return { outcome: 'allowed' }
  const refused = error.status === 401 || error.status === 403 || error.status === 429
  if (refused) return { outcome: 'denied', code: error.code }

  const outcome = error.code === 'client_closed_request' ? 'allowed' : 'failed'
  return { outcome, code: error.code }
}

export function principalOf(principal: Principal | undefined): AuditedPrincipal | undefined {
  if (principal === undefined) return undefined
  const { issuer, id, name, apiKey } = principal
  const method = apiKey === undefined ? methodOf(principal) : `api-key ${apiKey}`
  return { issuer, id, name, method }
}

function methodOf(principal: Principal): string {
  if (isAnonymous(principal)) return 'anonymous'
  return principal.issuer === 'development' ? 'development' : 'token'
}

export function resourceOf(subject: AuditedResource | undefined): AuditedResource | undefined {
  if (subject === undefined) return undefined
  const { kind, name, uid } = subject
  return uid === undefined ? { kind, name } : { kind, name, uid }
}

/** True if an administrator acts on a resource of somebody else. */
export function adminUse(principal: Principal | undefined, subject: Subject | undefined): boolean {
  if (principal === undefined || subject?.owner === undefined) return false
  return !samePrincipal(principal, subject.owner) && hasRole(principal, adminRole)
}
