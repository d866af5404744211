import { describe, expect, test } from 'vitest'
import { GatewayError } from '../core/errors.ts'
import { InsufficientScope, withChallenge } from './challenge.ts'

const metadata = 'https://gw.example/.well-known/oauth-protected-resource/mcp'
const challenge = (error: GatewayError, credential = true) =>
  withChallenge(error, { metadata, scopes: ['access'], credential }).headers['www-authenticate']

describe('the challenge', () => {
  test('a challenge without a credential names no error (RFC 6750 section 3.1)', () => {
    expect(challenge(new GatewayError('unauthenticated'), false)).toBe(
      `Bearer resource_metadata="${metadata}", scope="access"`,
    )
  })

  test('a challenge to a bad token says what is wrong with it (E6)', () => {
    expect(
      challenge(new GatewayError('unauthenticated', { detail: 'The token has expired.' })),
    ).toBe(
      `Bearer resource_metadata="${metadata}", error="invalid_token",` +
        ' error_description="The token has expired.", scope="access"',
    )
  })

  test('a challenge to a token with too little names the scope to ask for', () => {
    expect(challenge(new InsufficientScope(['api://x/access']))).toBe(
      `Bearer resource_metadata="${metadata}", error="insufficient_scope",` +
        ' error_description="The token needs the scope api://x/access.",' +
        ' scope="api://x/access"',
    )
  })

  test('a challenge cannot be broken out of', () => {
    expect(challenge(new GatewayError('unauthenticated', { detail: 'a" b\\ c\r\nd ë' }))).toContain(
      `error_description="a' b' c''d '"`,
    )
  })

  test('a challenge comes only where a credential can help', () => {
    expect(challenge(new GatewayError('forbidden'))).toBeUndefined()
    expect(challenge(new GatewayError('issuer_unavailable'))).toBeUndefined()
  })
})
