import type { JWTPayload } from 'jose'
import { describe, expect, test } from 'vitest'
import { IssuerConfig } from '../config/config.ts'
import { issuerRules, type IssuerRules } from './issuer.ts'

const tenant = '11111111-2222-4333-8444-555555555555'
const client = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'
const rulesOf = (config: object): IssuerRules =>
  issuerRules(IssuerConfig.parse(config))[0] as IssuerRules

/** Tokens of these products as their documentation shows them, and their outcome. */
const products: readonly {
  readonly name: string
  readonly config: object
  readonly claims: JWTPayload
  readonly principal: object
}[] = [
  {
    name: 'Entra ID, version 2, of a person',
    config: { preset: 'entra', tenantId: tenant, audiences: [client], requiredScopes: ['access'] },
    claims: {
      aud: client,
      oid: 'o-1',
      tid: tenant,
      sub: 'pairwise',
      azp: 'cli',
      name: 'Ann',
      scp: 'access',
      roles: ['mcp.engineer'],
      ver: '2.0',
    },
    principal: {
      id: `o-1.${tenant}`,
      issuer: `https://login.microsoftonline.com/${tenant}/v2.0`,
      name: 'Ann',
      roles: ['mcp.engineer'],
    },
  },
  {
    name: 'Entra ID, version 1, of a person',
    config: {
      preset: 'entra',
      tenantId: tenant,
      audiences: [client],
      requiredScopes: [`api://${client}/access`],
    },
    claims: {
      aud: `api://${client}`,
      oid: 'o-1',
      tid: tenant,
      sub: 'pairwise',
      appid: 'cli',
      unique_name: 'ann@x',
      scp: 'access',
      ver: '1.0',
    },
    principal: {
      id: `o-1.${tenant}`,
      issuer: `https://login.microsoftonline.com/${tenant}/v2.0`,
      name: 'ann@x',
      roles: [],
    },
  },
  {
    name: 'Entra ID, of an application',
    config: { preset: 'entra', tenantId: tenant, audiences: [client], requiredScopes: ['access'] },
    claims: {
      aud: client,
      oid: 'sp-1',
      tid: tenant,
      sub: 'sp-1',
      azp: 'daemon',
      roles: ['mcp.admin'],
      idtyp: 'app',
    },
    principal: {
      id: `sp-1.${tenant}`,
      issuer: `https://login.microsoftonline.com/${tenant}/v2.0`,
      name: 'daemon',
      roles: ['mcp.admin'],
    },
  },
  {
    name: 'Keycloak',
    config: {
      preset: 'keycloak',
      issuer: 'https://kc.example/realms/r',
      audiences: ['mcp'],
      requiredScopes: ['access'],
    },
    claims: {
      aud: ['mcp', 'account'],
      sub: 's',
      typ: 'Bearer',
      preferred_username: 'ann',
      realm_access: { roles: ['ops'] },
      scope: 'email access',
    },
    principal: { id: 's', issuer: 'https://kc.example/realms/r', name: 'ann', roles: ['ops'] },
  },
  {
    name: 'Auth0',
    config: {
      preset: 'auth0',
      issuer: 'https://t.auth0.com/',
      audiences: ['https://api'],
      rolesClaims: ['permissions', 'https://x.example/roles'],
    },
    claims: {
      aud: ['https://api', 'https://t.auth0.com/userinfo'],
      sub: 'auth0|1',
      permissions: ['use'],
      'https://x.example/roles': ['ops'],
    },
    principal: {
      id: 'auth0|1',
      issuer: 'https://t.auth0.com/',
      name: 'auth0|1',
      roles: ['use', 'ops'],
    },
  },
  {
    name: 'Okta',
    config: {
      preset: 'okta',
      issuer: 'https://t.okta.com/oauth2/default',
      audiences: ['api://default'],
      requiredScopes: ['access'],
    },
    claims: { aud: 'api://default', sub: 'ann@x', uid: '00u', scp: ['access'], groups: ['Ops'] },
    principal: {
      id: 'ann@x',
      issuer: 'https://t.okta.com/oauth2/default',
      name: 'ann@x',
      roles: ['Ops'],
    },
  },
  {
    name: 'Cognito, which has no audience',
    config: {
      preset: 'cognito',
      issuer: 'https://cognito-idp.eu-west-1.amazonaws.com/p',
      audiences: ['app'],
      requiredScopes: ['mcp/access'],
    },
    claims: {
      client_id: 'app',
      token_use: 'access',
      sub: 's',
      username: 'ann',
      'cognito:groups': ['ops'],
      scope: 'mcp/access',
    },
    principal: {
      id: 's',
      issuer: 'https://cognito-idp.eu-west-1.amazonaws.com/p',
      name: 'ann',
      roles: ['ops'],
    },
  },
  {
    name: 'any issuer, with claims by configuration',
    config: {
      preset: 'generic',
      issuer: 'https://i.example',
      audiences: ['a'],
      idClaim: 'uid',
      nameClaim: 'who.name',
      rolesClaims: [['r', 'a.b']],
    },
    claims: { aud: 'a', uid: 'u', who: { name: 'Ann' }, r: { 'a.b': ['x'] } },
    principal: { id: 'u', issuer: 'https://i.example', name: 'Ann', roles: ['x'] },
  },
  {
    name: 'Entra ID, whose tenant the configuration names in capitals',
    config: {
      preset: 'entra',
      tenantId: 'AAAAAAAA-2222-4333-8444-555555555555',
      audiences: [client],
      requiredScopes: ['access'],
    },
    claims: {
      aud: client,
      oid: 'o-1',
      tid: 'aaaaaaaa-2222-4333-8444-555555555555',
      sub: 'pairwise',
      azp: 'cli',
      scp: 'access',
      ver: '2.0',
      name: 'Ann',
    },
    principal: {
      id: 'o-1.aaaaaaaa-2222-4333-8444-555555555555',
      issuer: 'https://login.microsoftonline.com/aaaaaaaa-2222-4333-8444-555555555555/v2.0',
      name: 'Ann',
      roles: [],
    },
  },
]

describe('an access token', () => {
  test.each(products)('an access token of $name is understood', ({ config, claims, principal }) => {
    const rules = rulesOf(config)
    rules.checkKind({ alg: 'RS256', typ: 'JWT' }, claims)
    rules.checkScopes(claims)
    expect(rules.audiencesOf(claims).some((audience) => rules.audiences.includes(audience))).toBe(
      true,
    )
    expect(rules.principalOf(claims)).toEqual(principal)
  })

  test.each([
    ['Entra ID token', products[0], { azp: undefined }],
    ['a token of another tenant', products[0], { tid: client }],
    ['Keycloak refresh token', products[3], { typ: 'Refresh' }],
    ['Keycloak ID token', products[3], { typ: 'ID' }],
    ['Cognito ID token', products[6], { token_use: 'id' }],
    ['ID token with a nonce', products[7], { nonce: 'n' }],
    ['token that is bound to a key of its client', products[7], { cnf: { jkt: 'x' } }],
  ])('a %s is no access token', (_name, product, change) => {
    if (product === undefined) throw new Error('no such product')
    expect(() =>
      rulesOf(product.config).checkKind(
        { alg: 'RS256', typ: 'JWT' },
        { ...product.claims, ...change },
      ),
    ).toThrow(/no access token|another tenant|bound to a key/)
  })

  test.each(['logout+jwt', 'dpop+jwt', 'id_token', 'application/secevent+jwt'])(
    'an access token does not have the typ %s',
    (typ) => {
      expect(() => rulesOf(products[7]?.config ?? {}).checkKind({ alg: 'RS256', typ }, {})).toThrow(
        /another kind/,
      )
    },
  )

  test.each(['at+jwt', 'application/at+jwt', 'AT+JWT', 'JWT', undefined])(
    'an access token may have the typ %s',
    (typ) => {
      const rules = rulesOf(products[7]?.config ?? {})
      const header = { alg: 'RS256', ...(typ === undefined ? {} : { typ }) }
      expect(() => rules.checkKind(header, {})).not.toThrow()
    },
  )
})

describe('scopes (E5)', () => {
  const entra = rulesOf(products[0]?.config ?? {})

  test('a person without the scope is asked to come back with its full name', () => {
    expect(() => entra.checkScopes({ scp: 'other', roles: ['mcp.admin'] })).toThrow(
      `api://${client}/access`,
    )
  })

  test('an application needs a role that was assigned to it', () => {
    entra.checkScopes({ roles: ['any'] })
    expect(() => entra.checkScopes({ roles: [] })).toThrow(/scope/)
    expect(() => entra.checkScopes({})).toThrow(/scope/)
  })

  test('a token of Entra ID needs some scope, and clients learn the default', () => {
    const lax = rulesOf({ preset: 'entra', tenantId: tenant, audiences: [client] })
    lax.checkScopes({ scp: 'whatever' })
    expect(() => lax.checkScopes({})).toThrow()
    expect(lax.scopes).toEqual([`api://${client}/.default`])
  })
})

describe('Entra ID', () => {
  test('each tenant is one issuer, with tokens of both versions', () => {
    const rules = issuerRules(
      IssuerConfig.parse({ preset: 'entra', tenantId: [tenant, client], audiences: [client] }),
    )
    expect(rules.map(({ issuers }) => issuers)).toEqual([
      [`https://login.microsoftonline.com/${tenant}/v2.0`, `https://sts.windows.net/${tenant}/`],
      [`https://login.microsoftonline.com/${client}/v2.0`, `https://sts.windows.net/${client}/`],
    ])
  })

  test('a sovereign cloud has its own instance', () => {
    const { issuers } = rulesOf({
      preset: 'entra',
      instance: 'https://login.partner.microsoftonline.cn/',
      tenantId: tenant,
      audiences: [client],
    })
    expect(issuers).toEqual([
      `https://login.partner.microsoftonline.cn/${tenant}/v2.0`,
      `https://sts.chinacloudapi.cn/${tenant}/`,
    ])
  })
})
