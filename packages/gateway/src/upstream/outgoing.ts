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

/** The value of a secret, or the reason why there is none. */
export type FoundSecret = { readonly value: string } | { readonly message: string }

/** The caller's identity for a server, and the credential by which the server knows the gateway. */
export interface Outgoing {
  /** Name, value, name, value. */
  readonly headers: readonly string[]
  /**
   * Headers, as `canonicalName` writes them, that are dropped from the client's request, because
   * the credential takes their place. Undefined for none.
   */
  readonly replaces: readonly string[] | undefined
}

/** Decides the outgoing headers of one request to a server. */
export type DecideOutgoing = (resource: Resource, principal: Principal) => Outgoing

/**
 * Decides all outgoing credentials, of adapters and tools, in pass-through and translation. The
 * caller's token ends at the entrance. Token exchange and credentials of each user belong here too.
 */
export function createOutgoing(
  signer: IdentitySigner,
  secretOf: (reference: SecretReference) => FoundSecret,
): DecideOutgoing {
  return (resource, principal) => {
    const { callerIdentity, credential } = resource.spec
    const named = callerIdentity === 'none' ? [] : identityHeaders(principal)
    // A bridge keeps the state of each caller apart, even if its server gets no identity.
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
