import type { IncomingMessage } from 'node:http'
import type { GatewayError } from '../core/errors.ts'
import { requestIdOf } from '../http/edge.ts'
import type { Principal } from '../core/principal.ts'
import type { Audited } from './audit.ts'
import {
  adminUse,
  outcomeOf,
  principalOf,
  resourceOf,
  type AddressOf,
  type Subject,
} from './decision.ts'

/** A request of the REST API that is over, as far as its route knows it. */
export interface ApiRequest {
  /** `adapter.create`. */
  readonly action: string
  /** Whether it changes something or shows what is confidential; such requests are recorded whatever their end. */
  readonly matters: boolean
  readonly principal: Principal | undefined
  readonly subject: Subject | undefined
  readonly error: GatewayError | undefined
  readonly request: IncomingMessage
  /** SHA-256 of the body. */
  readonly digest: string | undefined
}

/** Records of the control plane: changes, what reads logs, what is refused, and what an administrator does with what is another's. */
export function auditApiRequests(
  audited: Audited,
  addressOf: AddressOf,
): (request: ApiRequest) => void {
  return ({ action, matters, principal, subject, error, request, digest }) => {
    const { outcome: decided, code, about } = outcomeOf(error)
    // Its client went before the request was there, so that nothing was done.
    const outcome = code === 'client_closed_request' ? 'failed' : decided
    const admin = adminUse(principal, subject)
    if (!matters && outcome !== 'denied' && !admin) return
    audited({
      action,
      outcome,
      code,
      principal: principalOf(principal),
      ...(admin ? { admin: true } : {}),
      resource: resourceOf(about ?? subject),
      requestId: requestIdOf(request),
      client: addressOf(request),
      digest,
    })
  }
}

/** Records of what the edge refuses: a Host or an Origin that is not allowed. What is merely malformed has none. */
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
