import { credentialValue } from '@mcp-gateway/contract'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import {
  credentialsOf,
  type Credential,
  type Resource,
  type SecretReference,
} from '../core/resource.ts'
import { canonicalName } from '../lib/http/header-names.ts'
import { identityHeaders } from './caller-headers.ts'
import type { IdentitySigner } from './identity-signer.ts'

/** What a reference to a secret gives. */
export type FoundSecret = { readonly value: string } | { readonly message: string }

/** What a request to a server carries of the caller, and the credential by which the server knows the gateway. */
export interface Outgoing {
  /** Name, value, name, value. */
  readonly headers: readonly string[]
  /**
   * The headers, as `canonicalName` writes them, of which the client's own are dropped, because
   * the credential stands there. Undefined for none.
   */
  readonly replaces: readonly string[] | undefined
}

/** Decides what goes out to a server, for one request. */
export type DecideOutgoing = (resource: Resource, principal: Principal) => Outgoing

/**
 * The one place where outgoing credentials are decided, for adapters and tools, passed on and translated alike. The caller's own token is
 * not known here: it ends at the entrance. (Token exchange and credentials of each user are to be decided here too.)
 */
export function createOutgoing(
  signer: IdentitySigner,
  secretOf: (reference: SecretReference) => FoundSecret,
): DecideOutgoing {
  return (resource, principal) => {
    const { callerIdentity, credential } = resource.spec
    const named = callerIdentity === 'none' ? [] : identityHeaders(principal)
    // A bridge keeps what is one caller's for that one, whatever else its server is told.
    const plain =
      resource.kind === 'adapter'
        ? [...named, 'x-mcpgw-caller', signer.pseudonym(principal, resource.uid)]
        : named
    if (callerIdentity !== 'signed' && credential === undefined)
      return { headers: plain, replaces: undefined }
    const headers = [...plain]
    if (callerIdentity === 'signed')
      headers.push('x-mcp-identity', signer.token(principal, `/${resource.kind}s/${resource.name}`))
    if (credential === undefined) return { headers, replaces: undefined }
    const replaces: string[] = []
    for (const each of credentialsOf(resource.spec)) {
      headers.push(each.header, valueOf(each, secretOf))
      replaces.push(canonicalName(each.header))
    }
    return { headers, replaces }
  }
}

/** @throws GatewayError `secret_unreadable` */
function valueOf(
  credential: Credential,
  secretOf: (reference: SecretReference) => FoundSecret,
): string {
  if ('secretRef' in credential) {
    const found = secretOf(credential.secretRef)
    if (!('value' in found))
      throw new GatewayError('secret_unreadable', {
        detail: `The credential for the server is missing. ${found.message}`,
      })
    if (credentialValue.test(found.value)) return found.value
    throw new GatewayError('secret_unreadable', {
      detail: 'The secret that the credential refers to is no text that a header can hold.',
    })
  }
  if (credential.sealed === undefined) return credential.value
  throw new GatewayError('secret_unreadable', {
    detail: 'The stored credential for the server cannot be decrypted. Give it again.',
  })
}
