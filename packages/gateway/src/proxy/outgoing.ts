import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import type { Resource } from '../core/resource.ts'
import { canonicalName } from '../lib/header-names.ts'
import { identityHeaders } from './headers.ts'
import type { IdentitySigner } from './identity-signer.ts'

/** What a request to a server carries of the caller, and the credential by which the server knows the gateway. */
export interface Outgoing {
  /** Name, value, name, value. */
  readonly headers: readonly string[]
  /** The header, as `canonicalName` writes it, of which the client's own is dropped, because the credential stands there. */
  readonly replaces: string | undefined
}

/** Decides what goes out to a server, for one request. */
export type DecideOutgoing = (resource: Resource, principal: Principal) => Outgoing

/**
 * The one place where outgoing credentials are decided, for adapters and tools, passed on and translated alike. The caller's own token is
 * not known here: it ends at the entrance. (Token exchange and credentials of each user are to be decided here too.)
 */
export function createOutgoing(signer: IdentitySigner): DecideOutgoing {
  return (resource, principal) => {
    const { callerIdentity, credential } = resource.spec
    const plain = callerIdentity === 'none' ? [] : identityHeaders(principal)
    if (callerIdentity !== 'signed' && credential === undefined) return { headers: plain, replaces: undefined }
    const headers = [...plain]
    if (callerIdentity === 'signed') headers.push('x-mcp-identity', signer.token(principal, `/${resource.kind}s/${resource.name}`))
    if (credential === undefined) return { headers, replaces: undefined }
    if (credential.sealed !== undefined)
      throw new GatewayError('secret_unreadable', { detail: 'The stored credential for the server can not be decrypted. Give it again.' })
    headers.push(credential.header, credential.value)
    return { headers, replaces: canonicalName(credential.header) }
  }
}
