import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  exportJWK,
  generateKeyPair,
  SignJWT,
  type CryptoKey,
  type JWK,
  type JWTPayload,
} from 'jose'
import type { Configuration, Provider as OidcProvider } from 'oidc-provider'

/** The product whose tokens the provider imitates. */
export type Shape = 'entra' | 'keycloak' | 'generic'

/** A user who can sign in. */
export interface Account {
  readonly roles?: readonly string[]
}

export interface IdentityProviderOptions {
  readonly shape?: Shape
  /**
   * The audience of access tokens, for products without resource indicators. Unset: the requested
   * resource.
   */
  readonly audience?: string
  readonly accounts?: Readonly<Record<string, Account>>
  readonly accessTokenSeconds?: number
}

interface SigningKey {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  readonly jwk: JWK
}

const tenantId = '7a1b2c3d-0000-4000-8000-00000000aaaa'

/**
 * A real OpenID Connect provider on loopback, with PKCE, refresh tokens, resource indicators and
 * dynamic registration. It can rotate its keys, go down, and mint tokens of any content.
 */
export class IdentityProvider implements AsyncDisposable {
  readonly tenantId = tenantId
  readonly accounts: Map<string, Account>
  /** While true, the provider answers every request with 503. */
  down = false
  /** Requests for keys so far. */
  keyFetches = 0
  readonly #options: IdentityProviderOptions
  readonly #server: Server
  #key: SigningKey
  #serve: (request: IncomingMessage, response: ServerResponse) => Promise<void> = async () =>
    undefined

  private constructor(options: IdentityProviderOptions, server: Server, key: SigningKey) {
    this.#options = options
    this.#server = server
    this.#key = key
    this.accounts = new Map(Object.entries(options.accounts ?? { alice: {} }))
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (this.down) return void response.writeHead(503).end()
      if (request.url?.endsWith('/jwks') === true) {
        this.keyFetches += 1
        // The API server of Kubernetes also offers its keys in this media type only.
        if (request.headers.accept?.includes('application/jwk-set+json') !== true)
          return void response.writeHead(406).end()
      }
      void this.#serve(request, response)
    })
  }

  static async start(options: IdentityProviderOptions = {}): Promise<IdentityProvider> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
    const provider = new IdentityProvider(options, server, await newKey())
    await provider.#mount()
    return provider
  }

  /** Scheme, host and port. In the shape `entra`, this is the instance. */
  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get issuer(): string {
    return this.origin + this.#path
  }

  get publicKey(): CryptoKey {
    return this.#key.publicKey
  }

  get #path(): string {
    return { entra: `/${tenantId}/v2.0`, keycloak: '/realms/mcp', generic: '' }[
      this.#options.shape ?? 'generic'
    ]
  }

  /** Signs later tokens with a new key, and stops publishing the old key. */
  async rotate(): Promise<void> {
    this.#key = await newKey()
    await this.#mount()
  }

  /**
   * An access token as issued to an account, with changed claims and header members. Undefined
   * removes a member.
   */
  async token(
    account: string,
    claims: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const seconds = Math.floor(Date.now() / 1000)
    const payload: Record<string, unknown> = {
      iss: this.issuer,
      sub: account,
      aud: this.#options.audience,
      iat: seconds,
      exp: seconds + 3600,
      jti: randomUUID(),
      ...this.#claimsOf(account, 'access', 'test-client'),
      ...claims,
    }

    return await new SignJWT(payload as JWTPayload)
      .setProtectedHeader({
        alg: 'RS256',
        typ: 'at+jwt',
        kid: this.#key.jwk.kid as string,
        ...header,
      })
      .sign(this.#key.privateKey, { crit: { 'x-new': true } })
  }

  /**
   * Acts as a browser at an authorization address, where the account signs in. Returns the redirect
   * to the client.
   */
  async signIn(authorization: URL, account: string): Promise<URL> {
    const cookies = new Map<string, string>()
    let url = authorization

    for (let hops = 0; hops < 12; hops += 1) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await fetch(url, {
        redirect: 'manual',
        headers: { cookie, 'x-account': account },
      })

      await response.arrayBuffer()
      for (const each of response.headers.getSetCookie()) {
        const [name = '', value = ''] = each.split(';', 1)[0]?.split(/=(.*)/s) ?? []
        cookies.set(name, value)
      }

      const location = response.headers.get('location')
      if (location === null)
        throw new Error(`Signing in stopped at ${url.href} with ${response.status}.`)

      url = new URL(location, url)
      if (url.origin !== this.origin) return url
    }

    throw new Error('Signing in came to no end.')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #claimsOf(account: string, scope: string, client: string): Record<string, unknown> {
    const roles = this.accounts.get(account)?.roles ?? []

    switch (this.#options.shape ?? 'generic') {
      case 'entra':
        return {
          oid: `oid-of-${account}`,
          tid: tenantId,
          ver: '2.0',
          azp: client,
          name: account,
          scp: scope.replaceAll(/\S+\//g, ''),
          roles,
        }
      case 'keycloak':
        return {
          typ: 'Bearer',
          azp: client,
          preferred_username: account,
          realm_access: { roles },
          scope,
        }
      case 'generic':
        return { roles, scope }
    }
  }

  /** Uses the current keys. Earlier grants live on in the library's memory. */
  async #mount(): Promise<void> {
    // Most tests need no provider, and its packages take 160 ms of the processor to load.
    const { default: Provider } = await import('oidc-provider')
    const provider = new Provider(this.issuer, this.#configuration())
    const path = this.#path
    const handle = provider.callback()
    this.#serve = async (request, response) => {
      const { url = '' } = request
      if (!url.startsWith(path)) return void response.writeHead(404).end()
      if (url.startsWith(`${path}/interaction/`))
        return await this.#interact(provider, request, response)
      Object.assign(request, { originalUrl: url, url: url.slice(path.length) || '/' })
      await handle(request, response)
    }
  }

  #configuration(): Configuration {
    const { audience, accessTokenSeconds = 3600, shape } = this.#options

    return {
      jwks: { keys: [this.#key.jwk] },
      cookies: { keys: ['test'] },
      features: {
        devInteractions: { enabled: false },
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => audience ?? 'urn:unspecified',
          useGrantedResource: () => true,
          getResourceServerInfo: (_context, indicator, client) => ({
            audience: audience ?? indicator,
            // Products grant the part of the requested scope that they know.
            scope: `${client.scope ?? ''} access more api://${audience}/access`,
            accessTokenFormat: 'jwt',
            accessTokenTTL: accessTokenSeconds,
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
      formats: {
        customizers: {
          jwt: (_context, token, parts) => {
            const { payload } = parts as { payload: Record<string, unknown> }
            const { scope = '', sub } = payload
            if (shape === 'entra') delete payload['scope']
            Object.assign(
              payload,
              this.#claimsOf(String(sub), String(scope), String(token.clientId)),
            )
          },
        },
      },
      clientDefaults: {
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
      },
      scopes: ['openid', 'offline_access', 'access', 'more', `api://${audience}/access`],
      pkce: { required: () => true },
      issueRefreshToken: async () => true,
      findAccount: (_context, id) =>
        this.accounts.has(id) ? { accountId: id, claims: () => ({ sub: id }) } : undefined,
      interactions: { url: (_context, { uid }) => `${this.#path}/interaction/${uid}` },
      ttl: {
        AccessToken: accessTokenSeconds,
        AuthorizationCode: 60,
        Grant: 3600,
        IdToken: 3600,
        Interaction: 600,
        RefreshToken: 3600,
        Session: 3600,
      },
    }
  }

  /** Signs in the account that the browser names, and grants the request. */
  async #interact(
    provider: OidcProvider,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { prompt, params, session, grantId } = await provider.interactionDetails(
      request,
      response,
    )

    if (prompt.name === 'login') {
      const accountId = String(request.headers['x-account'])
      return await provider.interactionFinished(
        request,
        response,
        { login: { accountId } },
        { mergeWithLastSubmission: false },
      )
    }

    const grant =
      (grantId === undefined ? undefined : await provider.Grant.find(grantId)) ??
      new provider.Grant({
        accountId: session?.accountId as string,
        clientId: String(params['client_id']),
      })

    const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details as {
      missingOIDCScope?: string[]
      missingResourceScopes?: Record<string, string[]>
    }

    grant.addOIDCScope(missingOIDCScope.join(' '))
    for (const [resource, scopes] of Object.entries(missingResourceScopes))
      grant.addResourceScope(resource, scopes.join(' '))

    await provider.interactionFinished(
      request,
      response,
      { consent: { grantId: await grant.save() } },
      { mergeWithLastSubmission: true },
    )
  }
}

async function newKey(): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  return {
    privateKey,
    publicKey,
    jwk: { ...(await exportJWK(privateKey)), kid: randomUUID(), alg: 'RS256', use: 'sig' },
  }
}
