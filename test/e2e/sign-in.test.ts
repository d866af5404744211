import { GatewayProcess, IdentityProvider, type Shape } from '@mcp-gateway/testkit'
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as HttpV2,
} from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/**
 * The official clients sign in with nothing but the address of an endpoint: challenge, metadata,
 * registration, PKCE, token, call; then a refresh, and a step up.
 */

const accounts = { alice: { roles: ['mcp.engineer', 'mcp.reader'] }, bob: {} }
const application = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'

/** The ways in which the provider and the gateway know each other. */
const shapes: Readonly<
  Record<
    Shape,
    { readonly audience?: string; readonly issuer: (provider: IdentityProvider) => object }
  >
> = {
  // Resource indicators (RFC 8707): a token is for the one endpoint of the request.
  generic: { issuer: ({ issuer }) => ({ preset: 'generic', issuer, requiredScopes: ['access'] }) },
  keycloak: {
    audience: 'mcp-gateway',
    issuer: ({ issuer }) => ({
      preset: 'keycloak',
      issuer,
      audiences: ['mcp-gateway'],
      requiredScopes: ['access'],
    }),
  },
  entra: {
    audience: application,
    issuer: ({ origin, tenantId }) => ({
      preset: 'entra',
      instance: origin,
      tenantId,
      audiences: [application],
      requiredScopes: ['access'],
    }),
  },
}

/** The credentials that a client keeps, and the browser beside it. */
class Person {
  readonly redirectUrl = 'http://127.0.0.1:41999/callback'
  readonly clientMetadata = {
    client_name: 'test client',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  }
  readonly #kept = new Map<string, unknown>()
  authorization: URL | undefined

  clientInformation = (): never => this.#kept.get('client') as never
  saveClientInformation = (client: unknown): void => void this.#kept.set('client', client)
  tokens = (): never => this.#kept.get('tokens') as never
  saveTokens = (tokens: object): void => void this.#kept.set('tokens', tokens)
  redirectToAuthorization = (url: URL): void => void (this.authorization = url)
  saveCodeVerifier = (verifier: string): void => void this.#kept.set('verifier', verifier)
  codeVerifier = (): string => String(this.#kept.get('verifier'))
  discoveryState = (): never => this.#kept.get('discovery') as never
  saveDiscoveryState = (state: unknown): void => void this.#kept.set('discovery', state)

  get accessToken(): string {
    return (this.#kept.get('tokens') as { access_token: string }).access_token
  }
  set accessToken(token: string) {
    this.saveTokens({ ...(this.#kept.get('tokens') as object), access_token: token })
  }
}

interface Connected {
  tools(): Promise<string[]>
  add(a: number, b: number): Promise<unknown>
  close(): Promise<void>
}

interface Speaker {
  readonly name: string
  readonly connect: (
    url: URL,
    person: Person,
    signIn: (authorization: URL) => Promise<URL>,
  ) => Promise<Connected>
}

/** Connects. If the gateway sends the client to sign in, does so and connects again. */
async function connected<T extends { finishAuth(code: string): Promise<void> }>(
  person: Person,
  signIn: (authorization: URL) => Promise<URL>,
  transport: () => T,
  connect: (transport: T) => Promise<Connected>,
): Promise<Connected> {
  for (;;) {
    const attempt = transport()
    try {
      return await connect(attempt)
    } catch (error) {
      const { authorization } = person
      if (authorization === undefined) throw error
      person.authorization = undefined
      const answer = await signIn(authorization)
      const code = answer.searchParams.get('code')
      if (code === null) throw new Error(`No code came back: ${answer.href}`, { cause: error })
      await finish(attempt, code, answer.searchParams)
    }
  }
}

/** The second SDK also checks the issuer of the answer (RFC 9207). */
function finish(
  transport: { finishAuth(code: string, iss?: string): Promise<void> },
  code: string,
  answer: URLSearchParams,
): Promise<void> {
  return transport.finishAuth(code, answer.get('iss') ?? undefined)
}

const info = { name: 'sign-in', version: '1.0.0' }
const speakers: readonly Speaker[] = [
  {
    name: 'the client of SDK 1',
    connect: (url, person, signIn) =>
      connected(
        person,
        signIn,
        () => new HttpV1(url, { authProvider: person as never }),
        async (transport) => {
          const client = new ClientV1(info)
          await client.connect(transport as Parameters<ClientV1['connect']>[0])
          return {
            tools: async () => (await client.listTools()).tools.map(({ name }) => name),
            add: async (a, b) =>
              (await client.callTool({ name: 'add', arguments: { a, b } })).content,
            close: () => client.close(),
          }
        },
      ),
  },
  ...(['legacy', { pin: '2026-07-28' }] as const).map((mode): Speaker => ({
    name: `the client of SDK 2, ${mode === 'legacy' ? 'legacy' : 'modern'}`,
    connect: (url, person, signIn) =>
      connected(
        person,
        signIn,
        () => new HttpV2(url, { authProvider: person as never }),
        async (transport) => {
          const client = new ClientV2(info, { versionNegotiation: { mode } })
          await client.connect(transport)
          return {
            tools: async () => (await client.listTools()).tools.map(({ name }) => name),
            add: async (a, b) =>
              (await client.callTool({ name: 'add', arguments: { a, b } })).content,
            close: () => client.close(),
          }
        },
      ),
  })),
]

describe.each(Object.keys(shapes) as Shape[])('a provider of the shape %s', (shape) => {
  const { audience, issuer } = shapes[shape]
  let provider: IdentityProvider
  let gateway: GatewayProcess
  beforeAll(async () => {
    provider = await IdentityProvider.start({
      shape,
      accounts,
      ...(audience === undefined ? {} : { audience }),
    })
    gateway = await GatewayProcess.start({
      config: { identity: { mode: 'oidc', issuers: [issuer(provider)] } },
    })
    const token = await provider.token(
      'alice',
      audience === undefined ? { aud: gateway.origin } : {},
    )
    const created = await gateway.api(
      'POST',
      '/adapters',
      {
        name: 'sums',
        imageName: 'mcp-example',
        imageVersion: '1.0.0',
        requiredRoles: ['mcp.reader'],
      },
      { authorization: `Bearer ${token}` },
    )
    expect(created.status).toBe(201)
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
    await provider[Symbol.asyncDispose]()
  })

  const endpoint = (path: string) => new URL(path, gateway.origin)
  const signIn = (account: string) => (authorization: URL) =>
    provider.signIn(authorization, account)
  const sum = [{ type: 'text', text: '42' }]

  test.each(speakers)('$name signs in by itself and calls a tool', async ({ connect }) => {
    const client = await connect(endpoint('/adapters/sums/mcp'), new Person(), signIn('alice'))
    expect(await client.tools()).toContain('add')
    expect(await client.add(2, 40)).toEqual(sum)
    await client.close()
  })

  test.each(speakers)('$name signs in to the tool router', async ({ connect }) => {
    const client = await connect(endpoint('/mcp'), new Person(), signIn('alice'))
    expect(await client.tools()).toEqual([])
    await client.close()
  })

  test.each(speakers)('$name refreshes a token that has expired', async ({ connect }) => {
    const person = new Person()
    const client = await connect(endpoint('/adapters/sums/mcp'), person, signIn('alice'))
    const expired = await provider.token('alice', { exp: Math.floor(Date.now() / 1000) - 3600 })
    person.accessToken = expired
    expect(await client.add(2, 40)).toEqual(sum)
    expect(person.accessToken).not.toBe(expired)
    expect(person.authorization).toBeUndefined()
    await client.close()
  })

  test.each(speakers)(
    '$name with too small a token learns what to ask for, and returns with it',
    async ({ connect }) => {
      const url = endpoint('/adapters/sums/mcp')
      const little = await provider.token('alice', {
        scope: 'openid',
        scp: 'openid',
        ...(audience === undefined ? { aud: url.href } : {}),
      })
      const person = new Person()
      person.saveTokens({ access_token: little, token_type: 'Bearer' })
      const asked: string[] = []
      const client = await connect(url, person, (authorization) => {
        asked.push(...(authorization.searchParams.get('scope') ?? '').split(' '))
        return provider.signIn(authorization, 'alice')
      })
      expect(asked).toContain(shape === 'entra' ? `api://${application}/access` : 'access')
      expect(person.accessToken).not.toBe(little)
      expect(await client.add(2, 40)).toEqual(sum)
      await client.close()
    },
  )

  test.each(speakers)('$name of a person without the role finds nothing', async ({ connect }) => {
    await expect(
      connect(endpoint('/adapters/sums/mcp'), new Person(), signIn('bob')),
    ).rejects.toThrow(/nothing of this name|did not offer/i)
  })

  test('the gateway writes nothing of a token', () => {
    expect(gateway.output).not.toMatch(/eyJ/)
    expect(gateway.output).toMatch(/insufficient_scope/)
  })
})
