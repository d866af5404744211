import { randomBytes } from 'node:crypto'
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  jwtVerify,
  type JSONWebKeySet,
} from 'jose'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { IdentitySigner } from './identity-signer.ts'

const principal: Principal = {
  id: 'zoë, "x"\n',
  issuer: 'https://idp.example',
  name: 'Zoë',
  roles: ['a,b', 'c\nd', 'ü'],
}
const origin = 'https://mcp.example.com'
const start = 1_700_000_000_000
const key = randomBytes(32)

class Clock {
  now = start
}
const signerOf = (keys: readonly Buffer[] = [key], clock = new Clock()): IdentitySigner =>
  new IdentitySigner({ keys, issuer: () => origin, now: () => clock.now })
const verify = (token: string, jwks: object, at = start, audience = `${origin}/adapters/a`) =>
  jwtVerify(token, createLocalJWKSet(jwks as JSONWebKeySet), {
    issuer: origin,
    audience,
    algorithms: ['ES256'],
    currentDate: new Date(at),
  })

describe('the signed identity', () => {
  test('a signed identity names the caller to one server for five minutes', async () => {
    const signer = signerOf()
    const { payload, protectedHeader } = await verify(
      signer.token(principal, '/adapters/a'),
      signer.jwks,
    )
    expect(payload).toEqual({
      iss: origin,
      aud: `${origin}/adapters/a`,
      sub: principal.id,
      idp: principal.issuer,
      name: 'Zoë',
      roles: ['a,b', 'c\nd', 'ü'],
      iat: start / 1000,
      exp: start / 1000 + 300,
      jti: expect.any(String) as string,
    })
    expect(protectedHeader).toEqual({ alg: 'ES256', typ: 'JWT', kid: signer.jwks.keys[0]?.kid })
  })

  test('a signed identity is made again once the gateway has another address', () => {
    let issuer = 'http://127.0.0.1:8000'
    const signer = new IdentitySigner({ keys: [key], issuer: () => issuer, now: () => start })
    const before = signer.token(principal, '/adapters/a')
    issuer = origin
    const after = signer.token(principal, '/adapters/a')
    expect([before, after].map((token) => decodeJwt(token).iss)).toEqual([
      'http://127.0.0.1:8000',
      origin,
    ])
  })

  test('a signed identity fails at another server, after its time, or by another key', async () => {
    const signer = signerOf()
    const token = signer.token(principal, '/adapters/a')
    await expect(verify(token, signer.jwks, start, `${origin}/adapters/b`)).rejects.toMatchObject({
      code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
    })
    await expect(verify(token, signer.jwks, start + 301_000)).rejects.toMatchObject({
      code: 'ERR_JWT_EXPIRED',
    })
    await expect(verify(token, signerOf([randomBytes(32)]).jwks)).rejects.toMatchObject({
      code: 'ERR_JWKS_NO_MATCHING_KEY',
    })
    await expect(verify(token.slice(0, -4), signer.jwks)).rejects.toMatchObject({
      code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    })
  })

  test('a signed identity names nobody when nobody vouches for the caller', async () => {
    const signer = signerOf()
    const { payload } = await verify(
      signer.token({ id: '', issuer: '', name: '', roles: [] }, '/adapters/a'),
      signer.jwks,
    )
    expect(payload).not.toHaveProperty('sub')
    expect(payload).not.toHaveProperty('idp')
  })

  test('a signed identity is reused for equal callers, and made again in good time', () => {
    const clock = new Clock()
    const signer = signerOf([key], clock)
    const token = signer.token(principal, '/adapters/a')
    expect(signer.token({ ...principal }, '/adapters/a')).toBe(token)
    const others = [
      signer.token(principal, '/tools/a'),
      signer.token({ ...principal, issuer: 'https://other.example' }, '/adapters/a'),
      signer.token({ ...principal, roles: ['a', 'b'] }, '/adapters/a'),
      signer.token({ ...principal, name: 'Zoe' }, '/adapters/a'),
    ]
    expect(new Set([token, ...others]).size).toBe(5)
    clock.now += 149_999
    expect(signer.token(principal, '/adapters/a')).toBe(token)
    clock.now += 1
    const next = signer.token(principal, '/adapters/a')
    expect(next).not.toBe(token)
    clock.now -= 3600_000
    expect(signer.token(principal, '/adapters/a')).not.toBe(next)
  })

  test('a signed identity verifies at every gateway with the key, also in a rotation', async () => {
    const [before, after] = [randomBytes(32), randomBytes(32)]
    expect(signerOf([before]).jwks).toEqual(signerOf([before]).jwks)
    const rotated = signerOf([after, before])
    await verify(signerOf([before]).token(principal, '/adapters/a'), rotated.jwks)
    await verify(rotated.token(principal, '/adapters/a'), rotated.jwks)
    expect(decodeProtectedHeader(rotated.token(principal, '/adapters/a')).kid).toBe(
      signerOf([after]).jwks.keys[0]?.kid,
    )
    await verify(rotated.token(principal, '/adapters/a'), signerOf([before, after]).jwks)
  })

  test('every secret gives a key of the curve, and only its public part is published', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 32, maxLength: 32 }), async (secret) => {
        const signer = signerOf([Buffer.from(secret)])
        expect(Object.keys(signer.jwks.keys[0] ?? {}).toSorted()).toEqual([
          'alg',
          'crv',
          'kid',
          'kty',
          'use',
          'x',
          'y',
        ])
        await verify(signer.token(principal, '/adapters/a'), signer.jwks)
      }),
      { numRuns: 30 },
    )
  })
})

describe('the pseudonym of a caller', () => {
  test('a pseudonym is one at one server for all gateways, and differs elsewhere', () => {
    const { issuer, id } = principal
    const own = signerOf().pseudonym(principal, 'a')
    expect(own).toMatch(/^[\w-]{22}$/)
    expect(
      signerOf([key, randomBytes(32)]).pseudonym({ id, issuer, name: 'new', roles: [] }, 'a'),
    ).toBe(own)
    const others = [
      signerOf().pseudonym(principal, 'b'),
      signerOf().pseudonym({ ...principal, id: 'another' }, 'a'),
      signerOf().pseudonym({ ...principal, issuer: 'https://another.example' }, 'a'),
      signerOf([randomBytes(32)]).pseudonym(principal, 'a'),
    ]
    expect(new Set([own, ...others]).size).toBe(5)
  })
})
