import { GatewayError } from '../core/errors.ts'

/** The token is valid, but lacks a scope. */
export class InsufficientScope extends GatewayError {
  /** Scopes to ask for, as the issuer spells them. */
  readonly scopes: readonly string[]

  constructor(scopes: readonly string[]) {
    super('insufficient_scope', { detail: `The token needs the scope ${scopes.join(' ')}.` })
    this.scopes = scopes
  }
}

export interface ChallengeOptions {
  /** Address of the resource's metadata. */
  readonly metadata: string
  /** Scopes that a new token should have. */
  readonly scopes: readonly string[]
  /** True if the request had a credential. */
  readonly credential: boolean
}

/**
 * Adds `WWW-Authenticate` (RFC 6750 section 3, RFC 9728 section 5.1) to a refusal: the
 * authorization server, the fault and the scope. Other errors stay as they are.
 */
export function withChallenge(
  refusal: GatewayError,
  { metadata, scopes: usual, credential }: ChallengeOptions,
): GatewayError {
  const { code, status, message, title } = refusal
  if (status !== 401 && code !== 'insufficient_scope') return refusal

  const parameters: Record<string, string> = { resource_metadata: metadata }
  // RFC 6750 section 3.1: a request without a credential gets no error code.
  if (credential) {
    parameters['error'] = code === 'insufficient_scope' ? 'insufficient_scope' : 'invalid_token'
    if (message !== title) parameters['error_description'] = quotable(message)
  }

  const scopes = refusal instanceof InsufficientScope ? refusal.scopes : usual
  if (scopes.length > 0) parameters['scope'] = quotable(scopes.join(' '))

  const challenge = `Bearer ${Object.entries(parameters)
    .map(([name, value]) => `${name}="${value}"`)
    .join(', ')}`

  return new GatewayError(code, {
    ...(message === title ? {} : { detail: message }),
    headers: { ...refusal.headers, 'www-authenticate': challenge },
    ...(refusal.cause === undefined ? {} : { cause: refusal.cause }),
  })
}

/** Replaces characters that may not stand between quotes there (RFC 6750 section 3). */
function quotable(text: string): string {
  return text.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'")
}
