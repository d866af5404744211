import { generateKeyPairSync, sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { IdentityProvider } from '@mcp-gateway/testkit'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { newApiKey } from '../../src/core/api-key.ts'
import { signedByAnother } from '../fixtures/forged-tokens.ts'
import { TestGateway, valuesOf, type Exchange } from '../fixtures/gateway.ts'

const audience = 'mcp-gateway'
const accounts = {
  alice: { roles: ['mcp.engineer', 'mcp.reader'] },
  bob: { roles: ['mcp.reader'] },
}
let provider: IdentityProvider
let gateway: TestGateway
let adapter = ''

const issuerOf = (it: IdentityProvider) => ({
  preset: 'keycloak',
  issuer: it.issuer,
  audiences: [audience],
  requiredScopes: ['access'],
})
const open = (it: IdentityProvider, more: object = {}, edge: object = {}) =>
  TestGateway.open({ identity: { mode: 'oidc', issuers: [issuerOf(it)], ...more }, edge })

beforeAll(async () => {
  provider = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  gateway = await open(provider)
  gateway.credentials = { authorization: `Bearer ${await provider.token('alice')}` }
  adapter = await gateway.register({ requiredRoles: ['mcp.reader'] })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const list = (token: string, at = gateway): Promise<Exchange> =>
  at.send('/adapters', { method: 'GET', headers: bearer(token) })
const codeOf = ({ status, body }: Exchange): string => {
  const told = JSON.parse(body.toString()) as { code?: string; error?: { data?: { code: string } } }
  return `${status} ${told.code ?? told.error?.data?.code ?? ''}`.trim()
}
const hour = 3600
const seconds = () => Math.floor(Date.now() / 1000)

describe('bad tokens', () => {
  const bad: readonly (readonly [
    name: string,
    token: () => string | Promise<string>,
    says: RegExp,
  ])[] = [
    ['that are no token', () => 'hunter2', /not a JSON Web Token/],
    ['that are empty', () => '', /does not accept this kind of credential/],
    ['of three empty parts', () => '..', /not a JSON Web Token/],
    ['that are encrypted', () => 'e30.e30.e30.e30.e30', /not a JSON Web Token/],
    [
      'whose claims are no object',
      () =>
        [
          ...['{"alg":"RS256"}', '[]'].map((part) => Buffer.from(part).toString('base64url')),
          'x',
        ].join('.'),
      /JSON Web Token/,
    ],
    ['of 20 kB', () => 'x'.repeat(20_000), /longer than 16384/],
    [
      'with 10,000 scopes',
      () => provider.token('alice', { scope: Array.from({ length: 10_000 }, () => 'a').join(' ') }),
      /longer than 16384/,
    ],
    [
      'with a kid that is a path',
      () => provider.token('alice', {}, { kid: '../../../etc/passwd' }),
      /does not publish the key/,
    ],
    [
      'with a kid that is a URL',
      () => provider.token('alice', {}, { kid: 'http://127.0.0.1:1/jwks' }),
      /does not publish the key/,
    ],
    [
      'with keys of their own',
      async () => provider.token('alice', {}, { kid: 'mine', jku: 'http://127.0.0.1:1/', jwk: {} }),
      /does not publish the key/,
    ],
    ['by another key of the same name', () => signedByAnother(provider, 'alice'), /signature/],
    [
      'whose expiry is an hour ago',
      () => provider.token('alice', { exp: seconds() - hour }),
      /expired/,
    ],
    [
      'that are valid in an hour',
      () => provider.token('alice', { nbf: seconds() + hour }),
      /not valid yet/,
    ],
    [
      'issued in an hour',
      () => provider.token('alice', { iat: seconds() + hour }),
      /from the future/,
    ],
    ['without an expiry', () => provider.token('alice', { exp: undefined }), /'exp'/],
    ['whose expiry is a text', () => provider.token('alice', { exp: 'never' }), /'exp'/],
    ['without a subject', () => provider.token('alice', { sub: undefined }), /names no caller/],
    ['with an empty subject', () => provider.token('alice', { sub: '' }), /names no caller/],
    [
      'with a subject that would forge a line',
      () => provider.token('alice', { sub: 'alice\nadmin' }),
      /cannot be an id/,
    ],
    ['without an audience', () => provider.token('alice', { aud: undefined }), /another audience/],
    [
      'that are ID tokens',
      () => provider.token('alice', { nonce: 'n' }, { typ: 'JWT' }),
      /no access token/,
    ],
    [
      'that are refresh tokens',
      () => provider.token('alice', { typ: 'Refresh' }),
      /no access token/,
    ],
    ['that end sessions', () => provider.token('alice', {}, { typ: 'logout+jwt' }), /another kind/],
    [
      'with an extension that must be understood',
      () => provider.token('alice', {}, { crit: ['x-new'], 'x-new': 1 }),
      /signature|JSON Web Token/,
    ],
    [
      'of an issuer with a dash more',
      () => provider.token('alice', { iss: `${provider.issuer}/` }),
      /issuer that is not accepted/,
    ],
    [
      'of an issuer that is no text',
      () => provider.token('alice', { iss: 7 }),
      /issuer that is not accepted/,
    ],
    [
      'with 600 roles',
      () =>
        provider.token('alice', {
          realm_access: { roles: Array.from({ length: 600 }, (_, index) => `r${index}`) },
        }),
      /more than 500/,
    ],
  ]

  test.each(bad)(
    'tokens %s are 401 with a code and a reason, one log line, and no secret',
    async (_name, token, says) => {
      const shown = await token()
      const before = gateway.log.length
      const answer = await list(shown)
      expect(codeOf(answer)).toBe('401 unauthenticated')
      const told = JSON.parse(answer.body.toString()) as { detail: string }
      expect(told.detail).toMatch(says)
      expect(answer.headers['www-authenticate']).toMatch(
        new RegExp(
          '^Bearer resource_metadata="[^"]+", error="invalid_token", ' +
            'error_description="[^"]+", scope="access"$',
        ),
      )
      const lines = gateway.log.slice(before)
      expect(lines).toMatchObject([
        { msg: 'request', path: '/adapters', status: 401, error: 'unauthenticated' },
      ])
      expect(JSON.stringify(lines)).not.toMatch(/stack|hunter2|eyJ/)
    },
  )

  test('a token of 100 kB is 431 with a code, one log line, and no secret', async () => {
    const before = gateway.log.length
    const answer = await list('x'.repeat(100_000))
    expect(codeOf(answer)).toBe('431 headers_too_large')
    const { requestId } = JSON.parse(answer.body.toString()) as { requestId: string }
    expect(answer.headers['x-request-id']).toBe(requestId)
    expect(gateway.log.slice(before)).toMatchObject([
      { msg: 'request', requestId, status: 431, error: 'headers_too_large' },
    ])
    expect(JSON.stringify(gateway.log.slice(before))).not.toMatch(/stack|xxxx/)
  })

  test.each([
    ['ahead', hour],
    ['behind', -hour],
  ])(
    'tokens of an issuer whose clock is an hour %s are 401 with a code and one log line',
    async (_way, off) => {
      const now = seconds() + off
      const before = gateway.log.length
      const answer = await list(
        await provider.token('alice', { iat: now, nbf: now, exp: now + 600 }),
      )
      expect(codeOf(answer)).toBe('401 unauthenticated')
      expect(answer.body.toString()).toMatch(off > 0 ? /not valid yet/ : /expired/)
      expect(gateway.log.slice(before)).toMatchObject([
        { msg: 'request', status: 401, error: 'unauthenticated' },
      ])
      expect(JSON.stringify(gateway.log.slice(before))).not.toMatch(/stack|eyJ/)
    },
  )

  test('a clock off by less than the skew does not matter', async () => {
    const ahead = await provider.token('alice', { iat: seconds() + 20, nbf: seconds() + 20 })
    const behind = await provider.token('alice', { exp: seconds() - 20 })
    expect([(await list(ahead)).status, (await list(behind)).status]).toEqual([200, 200])
  })
})

describe('credentials', () => {
  test('repeated credentials are refused, be they equal or not', async () => {
    const token = await provider.token('alice')
    for (const values of [
      [`Bearer ${token}`, `Bearer ${token}`],
      [`Bearer ${token}`, 'Basic eDp5'],
    ]) {
      using connection = gateway.connect()
      const lines = values.map((value) => `Authorization: ${value}\r\n`).join('')
      const before = gateway.log.length
      const text = await connection.exchange(
        `GET /adapters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${lines}\r\n`,
      )
      expect(text).toMatch(/^HTTP\/1\.1 401 /)
      expect(text).toContain('"code":"unauthenticated"')
      expect(text).toContain('more than one credential')
      expect(gateway.log.slice(before)).toMatchObject([
        { msg: 'request', status: 401, error: 'unauthenticated' },
      ])
      expect(JSON.stringify(gateway.log.slice(before))).not.toMatch(/stack|eyJ|eDp5/)
    }
  })

  test.each(['Basic eDp5', 'DPoP abc', 'Bearer', 'Bearerabc', 'Negotiate', ''])(
    'credentials of the kind %j are refused',
    async (authorization) => {
      expect(
        codeOf(await gateway.send('/adapters', { method: 'GET', headers: { authorization } })),
      ).toBe('401 unauthenticated')
    },
  )

  test('the scheme of a credential is compared without case', async () => {
    const token = await provider.token('alice')
    for (const scheme of ['bearer', 'BEARER']) {
      expect(
        (
          await gateway.send('/adapters', {
            method: 'GET',
            headers: { authorization: `${scheme} ${token}` },
          })
        ).status,
      ).toBe(200)
    }
  })

  test('a token in the query does not count (MCP, authorization: access token usage)', async () => {
    const answer = await gateway.send(`/adapters?access_token=${await provider.token('alice')}`, {
      method: 'GET',
    })
    expect(codeOf(answer)).toBe('401 unauthenticated')
  })

  test('credentials never reach a server', async () => {
    await gateway.mcp(adapter, 'do=echo&tag=seen', {
      headers: bearer(await provider.token('alice')),
      body: '{}',
    })
    const { rawHeaders } = gateway.received('seen')
    expect(valuesOf(rawHeaders, 'authorization')).toEqual([])
    expect(rawHeaders.join(' ')).not.toContain('eyJ')
    expect(valuesOf(rawHeaders, 'x-mcp-userid')).toEqual(['alice'])
  })

  test('development headers beside a token mean nothing (A16)', async () => {
    const headers = {
      ...bearer(await provider.token('bob')),
      'x-dev-userid': 'alice',
      'x-dev-roles': 'mcp.admin',
    }
    const name = await gateway.register({ replicaCount: 0 }, false)
    expect(codeOf(await gateway.send(`/adapters/${name}`, { method: 'GET', headers }))).toBe(
      '404 not_found',
    )
  })
})

describe('callers', () => {
  test('a server gets names beyond ASCII and roles with commas unbroken (A17)', async () => {
    const token = await provider.token('alice', {
      sub: 'Zoë',
      realm_access: { roles: ['mcp.reader', 'a,mcp.admin', 'x\r\ny: z'] },
    })
    const answer = await gateway.mcp(adapter, 'do=echo&tag=zoe', {
      headers: bearer(token),
      body: '{}',
    })
    expect(answer.status).toBe(200)
    const { rawHeaders } = gateway.received('zoe')
    expect(valuesOf(rawHeaders, 'x-mcp-userid')).toEqual(['Zo%C3%AB'])
    expect(valuesOf(rawHeaders, 'x-mcp-roles')).toEqual(['mcp.reader,a%2Cmcp.admin'])
  })

  test('callers of the same name at two issuers are two (A20)', async () => {
    await using second = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
    await using both = await TestGateway.open({
      identity: { mode: 'oidc', issuers: [issuerOf(provider), issuerOf(second)] },
    })
    both.credentials = bearer(await provider.token('alice'))
    const name = await both.register({ replicaCount: 0 }, false)
    const seen = async (token: string) =>
      (await both.send(`/adapters/${name}`, { method: 'GET', headers: bearer(token) })).status
    expect([
      await seen(await provider.token('alice')),
      await seen(await second.token('alice')),
    ]).toEqual([200, 404])
  })

  test('a role that a caller lost counts no more on the next request of its session', async () => {
    const opened = await gateway.mcp(adapter, 'do=initialize', {
      headers: bearer(await provider.token('bob')),
      body: '{}',
    })
    const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    const call = async (roles: string[]) => {
      const token = await provider.token('bob', { realm_access: { roles } })
      return (
        await gateway.mcp(adapter, 'do=echo', {
          headers: { ...bearer(token), ...session },
          body: '{}',
        })
      ).status
    }
    expect([await call(['mcp.reader']), await call([]), await call(['mcp.reader'])]).toEqual([
      200, 404, 200,
    ])
  })

  test('a caller cannot use the session of another', async () => {
    const opened = await gateway.mcp(adapter, 'do=initialize', {
      headers: bearer(await provider.token('alice')),
      body: '{}',
    })
    const session = { 'mcp-session-id': String(opened.headers['mcp-session-id']) }
    for (const method of ['POST', 'GET', 'DELETE']) {
      const answer = await gateway.mcp(adapter, 'do=echo', {
        method,
        headers: { ...bearer(await provider.token('bob')), ...session },
      })
      expect(codeOf(answer)).toBe('404 session_not_found')
    }
  })
})

describe('an open stream', () => {
  test('a stream ends soon after its token, and streams of other tokens continue', async () => {
    await using at = await TestGateway.open({
      identity: { mode: 'oidc', issuers: [{ ...issuerOf(provider), clockSkewSeconds: 0 }] },
      proxy: { streamRecheckSeconds: 0.1 },
    })
    at.credentials = bearer(await provider.token('alice'))
    const name = await at.register({ requiredRoles: ['mcp.reader'] })
    const watch = async (token: string) => {
      const response = await at.start(`/adapters/${name}/mcp?do=stream`, {
        method: 'GET',
        headers: bearer(token),
      })
      expect(response.statusCode).toBe(200)
      const watched = { response, over: false }
      response.on('error', () => undefined)
      response.resume().once('close', () => (watched.over = true))
      return watched
    }
    const [short, long] = [
      await watch(await provider.token('bob', { exp: seconds() + 4 })),
      await watch(await provider.token('bob')),
    ]
    await expect.poll(() => short.over, { timeout: 30_000 }).toBe(true)
    expect(long.over).toBe(false)
    long.response.destroy()
  })
})

describe('the keys of the issuer', () => {
  let own: IdentityProvider
  let at: TestGateway
  beforeAll(async () => {
    own = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
    at = await open(own)
  })
  afterAll(async () => {
    await at[Symbol.asyncDispose]()
    await own[Symbol.asyncDispose]()
  })

  test('the keys of an issuer are fetched once for a hundred callers at once', async () => {
    const tokens = await Promise.all(
      Array.from({ length: 100 }, (_, index) => own.token('alice', { jti: `${index}` })),
    )
    const statuses = await Promise.all(tokens.map(async (token) => (await list(token, at)).status))
    expect([new Set(statuses), own.keyFetches]).toEqual([new Set([200]), 1])
  })

  test('rotated keys are fetched again, and tokens of a withdrawn key are refused', async () => {
    const before = await own.token('alice')
    expect((await list(before, at)).status).toBe(200)
    await own.rotate()
    expect((await list(await own.token('alice'), at)).status).toBe(200)
    expect(codeOf(await list(before, at))).toBe('401 unauthenticated')
  })

  test('the keys of an issuer outlive an outage, for known and new tokens', async () => {
    const known = await own.token('alice')
    await list(known, at)
    own.down = true
    expect([
      (await list(known, at)).status,
      (await list(await own.token('bob'), at)).status,
    ]).toEqual([200, 200])
    own.down = false
  })

  test('an issuer whose keys were never fetched means 503 with Retry-After', async () => {
    await using fresh = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
    await using there = await open(fresh)
    fresh.down = true
    const answer = await list(await fresh.token('alice'), there)
    expect([codeOf(answer), answer.headers['retry-after']]).toEqual(['503 issuer_unavailable', '5'])
    expect(there.log.filter(({ msg }) => msg.startsWith('identity provider'))).toHaveLength(1)
  })
})

describe('an issuer that behaves badly', () => {
  const servers: { close: () => void }[] = []
  afterEach(() => servers.splice(0).forEach((server) => server.close()))

  /** An issuer whose discovery and keys the test decides. */
  async function issuer(
    answer: (
      path: string,
      self: string,
    ) => { status?: number; headers?: Record<string, string>; body: string },
  ) {
    const server = createServer((request, response) => {
      const { status = 200, headers = {}, body } = answer(request.url ?? '', self)
      response.writeHead(status, headers).end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
    servers.push({ close: () => (server.closeAllConnections(), server.close()) })
    const self = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return self
  }

  async function outcome(self: string, key: CryptoKey, kid = 'k'): Promise<string> {
    await using at = await TestGateway.open({
      identity: {
        mode: 'oidc',
        issuers: [{ preset: 'generic', issuer: self, audiences: [audience] }],
      },
    })
    const claims = { iss: self, sub: 'a', aud: audience, exp: seconds() + hour }
    return codeOf(
      await list(await new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid }).sign(key), at),
    )
  }

  const good = async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256')
    return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid: 'k' } }
  }
  const discovery = (self: string) => JSON.stringify({ issuer: self, jwks_uri: `${self}/keys` })

  test('a bad issuer speaks for itself alone', async () => {
    const { privateKey, jwk } = await good()
    const answers = (name: (self: string) => string) =>
      issuer((path, self) => ({
        body:
          path === '/keys'
            ? JSON.stringify({ keys: [jwk] })
            : JSON.stringify({ issuer: name(self), jwks_uri: `${self}/keys` }),
      }))
    expect(await outcome(await answers((self) => self), privateKey)).toBe('200')
    expect(await outcome(await answers(() => 'https://another.example'), privateKey)).toBe(
      '503 issuer_unavailable',
    )
  })

  test('a redirect of an issuer is not followed', async () => {
    const { privateKey, jwk } = await good()
    const elsewhere = await issuer(() => ({ body: JSON.stringify({ keys: [jwk] }) }))
    const self = await issuer((path, me) =>
      path === '/keys'
        ? { status: 302, headers: { location: elsewhere }, body: '' }
        : { body: discovery(me) },
    )
    expect(await outcome(self, privateKey)).toBe('503 issuer_unavailable')
  })

  test.each([
    ['half a gigabyte of keys', 'x'.repeat(600_000)],
    ['a page', '<!DOCTYPE html>'],
    ['no keys', '{"keys":[]}'],
  ])('an issuer with %s has no keys', async (_name, body) => {
    const { privateKey } = await good()
    expect(
      await outcome(
        await issuer((path, me) => ({ body: path === '/keys' ? body : discovery(me) })),
        privateKey,
      ),
    ).toBe('503 issuer_unavailable')
  })

  test.each([512, 1024])('a key of %i bits is ignored', async (modulusLength) => {
    const { jwk } = await good()
    const short = generateKeyPairSync('rsa', { modulusLength })
    const weak = { ...short.publicKey.export({ format: 'jwk' }), kid: 'weak' }
    const self = await issuer((path, me) => ({
      body: path === '/keys' ? JSON.stringify({ keys: [jwk, weak] }) : discovery(me),
    }))
    // The library would refuse to sign with this key.
    const claims = [
      { alg: 'RS256', kid: 'weak' },
      { iss: self, sub: 'a', aud: audience, exp: seconds() + hour },
    ]
    const signed = claims
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    const signature = sign('sha256', Buffer.from(signed), short.privateKey).toString('base64url')
    await using at = await TestGateway.open({
      identity: {
        mode: 'oidc',
        issuers: [{ preset: 'generic', issuer: self, audiences: [audience] }],
      },
    })
    expect(codeOf(await list(`${signed}.${signature}`, at))).toBe('401 unauthenticated')
    expect(at.log.filter(({ msg }) => msg === 'request')).toMatchObject([
      { status: 401, error: 'unauthenticated' },
    ])
    expect(at.log.filter(({ msg }) => msg.includes('RSA keys of less than 2048 bits'))).not.toEqual(
      [],
    )
    expect(JSON.stringify(at.log)).not.toMatch(/stack|eyJ/)
  })

  test('an issuer with a thousand keys keeps the first hundred, and the log says so', async () => {
    const [first, last] = [await good(), await good()]
    // They have the right form. The gateway checks no more before it uses a key.
    const others = Array.from({ length: 998 }, (_, index) => ({
      kty: 'RSA',
      kid: `other-${index}`,
      e: 'AQAB',
      n: Buffer.alloc(256, index + 128)
        .toString('base64url')
        .replace(/^./, '_'),
    }))
    const keys = [{ ...first.jwk, kid: 'first' }, ...others, { ...last.jwk, kid: 'last' }]
    const self = await issuer((path, me) => ({
      body: path === '/keys' ? JSON.stringify({ keys }) : discovery(me),
    }))
    await using at = await TestGateway.open({
      identity: {
        mode: 'oidc',
        issuers: [{ preset: 'generic', issuer: self, audiences: [audience] }],
      },
    })
    const token = (kid: string, { privateKey }: typeof first) =>
      new SignJWT({ iss: self, sub: 'a', aud: audience, exp: seconds() + hour })
        .setProtectedHeader({ alg: 'RS256', kid })
        .sign(privateKey)
    expect(codeOf(await list(await token('first', first), at))).toBe('200')
    expect(codeOf(await list(await token('last', last), at))).toBe('401 unauthenticated')
    expect(codeOf(await list(await token('other-5', last), at))).toBe('401 unauthenticated')
    expect(at.log.filter(({ msg }) => msg === 'request').map(({ status }) => status)).toEqual([
      200, 401, 401,
    ])
    expect(
      at.log.filter(({ msg }) =>
        msg.includes('has 1000 keys, of which the first 100 are looked at'),
      ),
    ).not.toEqual([])
    expect(JSON.stringify(at.log)).not.toMatch(/stack|eyJ/)
  })
})

describe('tokens of Entra ID of version 1', () => {
  const client = '11111111-2222-4333-8444-555555555555'
  let entra: IdentityProvider
  let at: TestGateway
  beforeAll(async () => {
    entra = await IdentityProvider.start({ shape: 'entra', audience: client, accounts })
    at = await TestGateway.open({
      identity: {
        mode: 'oidc',
        issuers: [
          {
            preset: 'entra',
            instance: entra.origin,
            tenantId: entra.tenantId,
            audiences: [client],
            requiredScopes: ['access'],
          },
        ],
      },
    })
    at.credentials = bearer(await entra.token('alice'))
  })
  afterAll(async () => {
    await at[Symbol.asyncDispose]()
    await entra[Symbol.asyncDispose]()
  })

  /**
   * A token for an app registration whose `accessTokenAcceptedVersion` is not 2; undefined removes
   * a claim.
   */
  const token = (
    claims: Readonly<Record<string, unknown>> = {},
    tenant = entra.tenantId,
  ): Promise<string> =>
    entra.token(
      'alice',
      {
        iss: `https://sts.windows.net/${tenant}/`,
        aud: `api://${client}`,
        ver: '1.0',
        tid: tenant,
        azp: undefined,
        appid: client,
        unique_name: 'alice@example.com',
        ...claims,
      },
      { typ: 'JWT' },
    )

  test('a token of version 1 is good, and names the same caller as one of version 2', async () => {
    const name = await at.register({ replicaCount: 0 }, false)
    const read = async (shown: string) =>
      codeOf(await at.send(`/adapters/${name}`, { method: 'GET', headers: bearer(shown) }))
    expect(await read(await token())).toBe('200')
    expect(await read(await token({ aud: client }))).toBe('200')
    expect(await read(await token({ scp: undefined, roles: ['mcp.reader'] }))).toBe('200')
    expect(await read(await token({ oid: 'another' }))).toBe('404 not_found')
    expect(await read(await token({ oid: 'another', scp: undefined, roles: ['mcp.admin'] }))).toBe(
      '200',
    )
  })

  const other = '99999999-2222-4333-8444-555555555555'
  test.each<readonly [string, () => Promise<string>, string]>([
    ['of another tenant', () => token({}, other), '401 unauthenticated'],
    [
      'of another tenant, by the issuer of this one',
      () => token({ tid: other }),
      '401 unauthenticated',
    ],
    ['without a tenant', () => token({ tid: undefined }), '401 unauthenticated'],
    [
      'whose issuer has no slash at its end',
      () => token({ iss: `https://sts.windows.net/${entra.tenantId}` }),
      '401 unauthenticated',
    ],
    ['for another API', () => token({ aud: 'https://graph.microsoft.com' }), '401 unauthenticated'],
    ['that name nobody', () => token({ oid: undefined }), '401 unauthenticated'],
    ['that are ID tokens', () => token({ appid: undefined }), '401 unauthenticated'],
    ['with another scope', () => token({ scp: 'User.Read' }), '403 insufficient_scope'],
    [
      'with neither scopes nor roles',
      () => token({ scp: undefined, roles: undefined }),
      '403 insufficient_scope',
    ],
    [
      'with 10,000 scopes',
      () => token({ scp: Array.from({ length: 10_000 }, () => 'a').join(' ') }),
      '401 unauthenticated',
    ],
  ])('tokens %s are refused with a code and one log line', async (_name, make, expected) => {
    const before = at.log.length
    const answer = await list(await make(), at)
    expect(codeOf(answer)).toBe(expected)
    expect(answer.headers['www-authenticate']).toContain(`scope="api://${client}/access"`)
    expect(at.log.slice(before)).toMatchObject([
      { msg: 'request', status: Number(expected.slice(0, 3)), error: expected.slice(4) },
    ])
    expect(JSON.stringify(at.log.slice(before))).not.toMatch(/stack|eyJ/)
  })
})

describe('a flood of bad credentials', () => {
  /** Sends requests in turn until the gateway refuses. Gives the number of answers before. */
  async function flood(at: TestGateway, credential: (index: number) => string): Promise<number> {
    for (let index = 0; index < 1000; index += 1) {
      const answer = await list(credential(index), at)
      if (answer.status !== 429) {
        expect(codeOf(answer)).toBe('401 unauthenticated')
        continue
      }
      expect(codeOf(answer)).toBe('429 too_many_requests')
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      return index
    }
    throw new Error('There was no end.')
  }

  test('bad credentials of one address end at a limit, and known tokens continue', async () => {
    await using at = await open(provider)
    const known = await provider.token('alice')
    expect((await list(known, at)).status).toBe(200)
    expect(
      await flood(at, (index) => (index % 2 === 0 ? `bad-${index}` : 'the same')),
    ).toBeGreaterThanOrEqual(200)
    expect((await list(known, at)).status).toBe(200)
  })

  test('bad API keys of one address end at a limit, and good keys continue', async () => {
    await using at = await open(provider)
    const headers = { ...bearer(await provider.token('alice')), 'content-type': 'application/json' }
    const { key } = JSON.parse(
      (await at.send('/api-keys', { headers, body: '{"name":"robot"}' })).body.toString(),
    ) as { key: string }
    expect(
      await flood(at, (index) => (index % 2 === 0 ? newApiKey().text : key.slice(0, -1))),
    ).toBeGreaterThanOrEqual(200)
    expect((await list(key, at)).status).toBe(200)
    expect(
      (await at.send('/adapters', { method: 'GET', headers: { 'x-api-key': key } })).status,
    ).toBe(200)
  })

  test('bad credentials through a trusted proxy do not count for its other clients', async () => {
    await using at = await open(provider, {}, { trustedProxies: ['127.0.0.0/8'] })
    const send = (token: string, from: string) =>
      at.send('/adapters', {
        method: 'GET',
        headers: { ...bearer(token), 'x-forwarded-for': from },
      })
    let status = 0
    for (let index = 0; index < 1000 && status !== 429; index += 1)
      status = (await send(`bad-${index}`, '198.51.100.1')).status
    expect(status).toBe(429)
    expect((await send(await provider.token('bob'), '198.51.100.2')).status).toBe(200)
  })
})

describe('a request without a credential', () => {
  test('a request without a credential is anonymous where the settings say so', async () => {
    await using at = await open(provider, { allowAnonymous: true })
    at.credentials = bearer(await provider.token('alice'))
    const name = await at.register({ replicaCount: 0 }, false)
    const paths = [
      '/adapters',
      `/adapters/${name}`,
      `/adapters/${name}/mcp`,
      '/adapters/nothing-there/mcp',
    ]
    for (const path of paths) {
      const answer = await at.send(path, { method: 'GET' })
      expect([path, codeOf(answer)]).toEqual([path, '401 unauthenticated'])
      expect(answer.headers['www-authenticate']).toMatch(
        /^Bearer resource_metadata="[^"]+", scope="access"$/,
      )
    }
  })

  test('a request with a bad credential is not anonymous', async () => {
    await using at = await open(provider, { allowAnonymous: true })
    expect((await list('bad', at)).status).toBe(401)
  })
})

describe('tokens that are meant for one resource (RFC 8707)', () => {
  test('a token for one resource is good there and nowhere else', async () => {
    const token = (aud: string) => provider.token('alice', { aud })
    const second = await gateway.register({ requiredRoles: ['mcp.reader'] })
    const one = await token(`${gateway.origin}/adapters/${adapter}/mcp`)
    const at = async (path: string, shown: string) =>
      codeOf(await gateway.send(path, { headers: bearer(shown), body: '{}' }))
    expect(await at(`/adapters/${adapter}/mcp?do=echo`, one)).toBe('200')
    expect(await at(`/adapters/${second}/mcp?do=echo`, one)).toBe('401 unauthenticated')
    expect(await at('/adapters', one)).toBe('401 unauthenticated')
    expect(await at(`/adapters/${adapter}/mcp?do=echo`, one)).toBe('200')
    const whole = await token(gateway.origin)
    expect(await at(`/adapters/${second}/mcp?do=echo`, whole)).toBe('200')
  })

  test('the Host header does not make a token good for another resource', async () => {
    const token = await provider.token('alice', {
      aud: `http://localhost:1/adapters/${adapter}/mcp`,
    })
    const answer = await gateway.mcp(adapter, 'do=echo', {
      headers: { ...bearer(token), host: 'localhost:1' },
      body: '{}',
    })
    expect(codeOf(answer)).toBe('401 unauthenticated')
  })
})

test('an issuer is asked again soon after an outage, though the clock was set back', async () => {
  await using own = await IdentityProvider.start({ shape: 'keycloak', audience, accounts })
  await using before = await open(own)
  const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)]
  const token = await own.token('alice')
  own.down = true
  const ahead = vi.spyOn(Date, 'now').mockImplementation(() => wall() + 3 * hour * 1000)
  try {
    expect(codeOf(await list(token, before))).toBe('503 issuer_unavailable')
  } finally {
    ahead.mockRestore()
  }

  own.down = false
  // The pause of five seconds is over.
  const later = vi.spyOn(performance, 'now').mockImplementation(() => monotonic() + 6000)
  try {
    expect(codeOf(await list(token, before))).toBe('200')
  } finally {
    later.mockRestore()
  }
})
