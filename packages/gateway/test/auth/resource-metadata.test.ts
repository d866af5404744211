import { IdentityProvider } from '@mcp-gateway/testkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestGateway } from '../fixtures/gateway.ts'

const wellKnown = '/.well-known/oauth-protected-resource'
let provider: IdentityProvider
let gateway: TestGateway
beforeAll(async () => {
  provider = await IdentityProvider.start({ shape: 'keycloak', audience: 'mcp' })
  gateway = await TestGateway.open({
    publicOrigin: 'https://gw.example/',
    identity: {
      mode: 'oidc',
      issuers: [
        {
          preset: 'keycloak',
          issuer: provider.issuer,
          audiences: ['mcp'],
          requiredScopes: ['access', 'more'],
        },
      ],
    },
  } as never)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await provider[Symbol.asyncDispose]()
})

const get = (path: string, method = 'GET', headers: Record<string, string> = {}) =>
  gateway.send(path, { method, headers })

describe('protected resource metadata (RFC 9728)', () => {
  test.each([
    '',
    '/mcp',
    '/adapters/anything/mcp',
    '/adapters/a/mcp',
    `/adapters/${'x'.repeat(52)}/mcp`,
  ])('everybody may read metadata of the resource %j, existing or not', async (path) => {
    const answer = await get(wellKnown + path)
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toMatch(/^application\/json/)
    expect(JSON.parse(answer.body.toString())).toEqual({
      resource: `https://gw.example${path}`,
      authorization_servers: [provider.issuer],
      scopes_supported: ['access', 'more'],
      bearer_methods_supported: ['header'],
    })
  })

  test.each(['/mcp', '/adapters/a/mcp'])(
    'metadata of %s is the same for the address with a slash after it',
    async (path) => {
      const [plain, slashed] = [await get(wellKnown + path), await get(`${wellKnown}${path}/`)]
      expect(slashed.status).toBe(200)
      expect(slashed.body.toString()).toBe(plain.body.toString())
    },
  )

  test.each([
    'X',
    'X/mcp',
    '/',
    '/mcp//',
    '/mcp/x',
    '/MCP',
    '/adapters',
    '/adapters/',
    '/adapters//mcp',
    '/adapters/a/mcp//',
    '/adapters/a/mcp/x',
    '/adapters/a%2Fb/mcp',
    '/adapters/%61/mcp',
    '/adapters/A/mcp',
    '/adapters/-a/mcp',
    `/adapters/${'x'.repeat(53)}/mcp`,
    '/../../etc/passwd',
    '/adapters/<script>/mcp',
  ])('the look-alike %j has no metadata: 404 (E6)', async (path) => {
    const answer = await get(wellKnown + path)
    expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([
      404,
      { code: 'not_found' },
    ])
  })

  test.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])(
    'metadata refuses %s: 405 (E6)',
    async (method) => {
      const answer = await get(`${wellKnown}/mcp`, method, { 'content-type': 'text/plain' })
      expect([answer.status, answer.headers['allow']]).toEqual([405, 'GET, HEAD'])
    },
  )

  test('HEAD has the headers and no body', async () => {
    const answer = await get(`${wellKnown}/mcp`, 'HEAD')
    expect([answer.status, answer.body.length]).toEqual([200, 0])
  })

  test('metadata does not repeat the Host header (A24, E1, E2)', async () => {
    const { body } = await get(`${wellKnown}/mcp`, 'GET', {
      host: 'localhost:1',
      'x-forwarded-host': 'evil.example',
      'x-forwarded-proto': 'http',
    })
    expect(body.toString()).toContain('"https://gw.example/mcp"')
  })

  test('challenges of all protected paths point to the metadata', async () => {
    const challenge = async (path: string) => String((await get(path)).headers['www-authenticate'])
    expect(await challenge('/mcp')).toContain(
      `resource_metadata="https://gw.example${wellKnown}/mcp"`,
    )
    expect(await challenge('/adapters/nothing-there/mcp?x=1')).toContain(
      `resource_metadata="https://gw.example${wellKnown}/adapters/nothing-there/mcp"`,
    )
    for (const path of ['/adapters', '/tools', '/adapters/x', '/tools/x/logs']) {
      expect(await challenge(path)).toContain(
        `resource_metadata="https://gw.example${wellKnown}", scope="access more"`,
      )
    }
  })

  test('development identity has no metadata, because nobody signs in to it', async () => {
    await using development = await TestGateway.open()
    expect((await development.send(`${wellKnown}/mcp`, { method: 'GET' })).status).toBe(404)
  })
})

describe('behind a trusted proxy', () => {
  test('clients behind a trusted proxy get the address that they used', async () => {
    await using proxied = await TestGateway.open({
      identity: {
        mode: 'oidc',
        issuers: [{ preset: 'keycloak', issuer: provider.issuer, audiences: ['mcp'] }],
      },
      edge: { trustedProxies: ['127.0.0.0/8'], allowedHosts: ['gw.example'] },
    })
    const headers = {
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'gw.example',
      'x-forwarded-for': '198.51.100.7',
    }
    const answer = await proxied.send('/mcp', { method: 'GET', headers })
    expect(answer.headers['www-authenticate']).toContain('resource_metadata="https://gw.example/')
    const metadata = await proxied.send(`${wellKnown}/mcp`, { method: 'GET', headers })
    expect(JSON.parse(metadata.body.toString())).toMatchObject({
      resource: 'https://gw.example/mcp',
    })
  })
})
