import { GatewayError } from '../core/errors.ts'

/** The token is good, and of somebody who was not granted enough. */
export class InsufficientScope extends GatewayError {
  /** What to ask for, as the issuer spells it. */
  readonly scopes: readonly string[]

  constructor(scopes: readonly string[]) {
    super('insufficient_scope', { detail: `The token needs the scope ${scopes.join(' ')}.` })
    this.scopes = scopes
  }
}

export interface ChallengeOptions {
  /** Where the metadata of the resource is. */
  readonly metadata: string
  /** What a new token should have. */
  readonly scopes: readonly string[]
  /** Whether the request had a credential. */
  readonly credential: boolean
}

/**
 * The `WWW-Authenticate` of a refusal (RFC 6750 section 3, RFC 9728 section 5.1): where the client learns which authorization server to ask,
 * what was wrong, and which scope to ask for. Other errors stay as they are.
 */
export function withChallenge(
  refusal: GatewayError,
  { metadata, scopes: usual, credential }: ChallengeOptions,
): GatewayError {
  const { code, status, message, title } = refusal
  if (status !== 401 && code !== 'insufficient_scope') return refusal
  const parameters: Record<string, string> = { resource_metadata: metadata }
  // Section 3.1: who showed nothing is told no error.
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

/** What may stand between quotes there (RFC 6750 section 3). */
function quotable(text: string): string {
  return text.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'")
}
