import type { IncomingMessage } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import { requestIdOf } from '../http/edge.ts'
import type { Principal } from '../core/principal.ts'
import { defined } from '../lib/defined.ts'
import type { Audited } from './audit.ts'
import {
  adminUse,
  outcomeOf,
  principalOf,
  resourceOf,
  type AddressOf,
  type Subject,
} from './decision.ts'

/** A finished request of the REST API, as its route describes it. */
export interface ApiRequest {
  /** For example `adapter.create`. */
  readonly action: string
  /**
   * True if the request changes something or shows confidential data. Such requests are always
   * recorded.
   */
  readonly matters: boolean
  readonly principal: Principal | undefined
  readonly subject: Subject | undefined
  readonly error: GatewayError | undefined
  readonly request: IncomingMessage
  /** SHA-256 of the body. */
  readonly digest: string | undefined
}

/**
 * Records the control plane: changes, reads of logs, refusals, and administrators' use of others'
 * resources.
 */
export function auditApiRequests(
  audited: Audited,
  addressOf: AddressOf,
): (request: ApiRequest) => void {
  return ({ action, matters, principal, subject, error, request, digest }) => {
    const { outcome: decided, code, about } = outcomeOf(error)
    // The client disconnected before the request was complete, so nothing was done.
    const outcome = code === 'client_closed_request' ? 'failed' : decided

    const admin = adminUse(principal, subject)
    if (!matters && outcome !== 'denied' && !admin) return

    audited({
      action,
      outcome,
      code,
      principal: principalOf(principal),
      ...defined({ admin: admin ? (true as const) : undefined }),
      resource: resourceOf(about ?? subject),
      requestId: requestIdOf(request),
      client: addressOf(request),
      digest,
    })
  }
}

/**
 * Records refusals at the edge: a Host or Origin that is not allowed. Malformed requests get no
 * record.
 */
export function auditEdge(
  audited: Audited,
  addressOf: AddressOf,
): (request: IncomingMessage, error: GatewayError) => void {
  return (request, error) => {
    const { outcome, code } = outcomeOf(error)
    if (outcome !== 'denied') return
    audited({
      action: 'request',
      outcome,
      code,
      requestId: requestIdOf(request),
      client: addressOf(request),
    })
  }
}
