import type { JWTHeaderParameters, JWTPayload } from 'jose'
import type { IssuerConfig } from '../config/config.ts'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { InsufficientScope } from './challenge.ts'
import { claimAt, principalOf, textClaim, type ClaimPath, type IdentityClaims } from './claims.ts'

/** Rules for one issuer's tokens, compiled from its configuration and preset. Pure. */
export interface IssuerRules {
  /** The issuer's address, which clients use, discovery confirms, and principals carry. */
  readonly authorizationServer: string
  /** Accepted values of `iss`. */
  readonly issuers: readonly string[]
  /** Address of the keys, if discovery is not used. */
  readonly jwksUri: string | undefined
  readonly audiences: readonly string[]
  readonly algorithms: readonly string[]
  readonly clockSkewSeconds: number
  /** Scopes that clients ask for, in the issuer's spelling. */
  readonly scopes: readonly string[]
  /** The audiences of a token. */
  audiencesOf(claims: JWTPayload): readonly string[]
  /** @throws GatewayError `unauthenticated` for a token that is not an access token */
  checkKind(header: JWTHeaderParameters, claims: JWTPayload): void
  /** @throws GatewayError `insufficient_scope` */
  checkScopes(claims: JWTPayload): void
  /** @throws GatewayError `unauthenticated` if the claims name nobody */
  principalOf(claims: JWTPayload): Principal
}

/** Differences between identity products. */
interface Preset {
  readonly roles: readonly ClaimPath[]
  readonly names: readonly ClaimPath[]
  /** True if the claims do not belong to an access token, for products that allow this test. */
  readonly notAccess?: (claims: JWTPayload) => boolean
  /** True if the token was granted without scopes, as for clients that act on their own behalf. */
  readonly grantedOtherwise?: (claims: JWTPayload) => boolean
}

const presets: Readonly<Record<IssuerConfig['preset'], Preset>> = {
  // https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
  entra: {
    roles: ['roles'],
    names: ['name', 'preferred_username', 'upn', 'unique_name', 'app_displayname', 'azp', 'appid'],
    // Access tokens of both versions name the client, and ID tokens do not.
    notAccess: (claims) =>
      textClaim(claims, 'azp') === undefined && textClaim(claims, 'appid') === undefined,
    // Any application of a tenant can get a token without roles, but only an administrator assigns
    // a role.
    grantedOtherwise: (claims) =>
      claims['scp'] === undefined && Array.isArray(claims['roles']) && claims['roles'].length > 0,
  },
  keycloak: {
    roles: [['realm_access', 'roles']],
    names: ['name', 'preferred_username', 'client_id', 'azp'],
    notAccess: (claims) => claims['typ'] !== undefined && claims['typ'] !== 'Bearer',
  },
  auth0: { roles: ['permissions'], names: ['name', 'email'] },
  okta: { roles: ['groups'], names: ['name', 'sub'] },
  // Access tokens have `client_id` instead of an audience, unless the client asked for a resource.
  cognito: {
    roles: ['cognito:groups'],
    names: ['username', 'client_id'],
    notAccess: (claims) => claims['token_use'] !== 'access',
  },
  generic: { roles: ['roles'], names: ['name', 'preferred_username'] },
}

/** Algorithms without a shared secret (RFC 7518 section 3.1, RFC 8037). */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

/** Builds the rules of a configured issuer. An Entra ID issuer has rules for each tenant. */
export function issuerRules(config: IssuerConfig): IssuerRules[] {
  return config.preset === 'entra' ? entraRules(config) : [singleRules(config)]
}

function singleRules(config: Exclude<IssuerConfig, { preset: 'entra' }>): IssuerRules {
  return rulesOf(config, {
    authorizationServer: config.issuer,
    issuers: [config.issuer],
    audiences: config.audiences,
    scopes: config.requiredScopes,
  })
}

function entraRules(config: Extract<IssuerConfig, { preset: 'entra' }>): IssuerRules[] {
  const instance = config.instance.replace(/\/+$/, '')
  const [client = ''] = config.audiences
  const appIdUri =
    config.audiences.find((audience) => audience.includes('://')) ?? `api://${client}`

  const audiences = [
    ...new Set(
      config.audiences.flatMap((audience) =>
        isGuid(audience) ? [audience, `api://${audience}`] : [audience],
      ),
    ),
  ]
  const scopes = config.requiredScopes.length === 0 ? ['.default'] : config.requiredScopes

  return [config.tenantId].flat().map((tenant) => {
    const authorizationServer = `${instance}/${tenant}/v2.0`
    return rulesOf(config, {
      authorizationServer,
      issuers: [authorizationServer, `${v1Host(instance)}/${tenant}/`],
      audiences,
      scopes: scopes.map((scope) => (scope.includes('://') ? scope : `${appIdUri}/${scope}`)),
      tenant,
    })
  })
}

/** Host of the issuer in version 1 tokens, which older app registrations still receive. */
function v1Host(instance: string): string {
  return new URL(instance).hostname === 'login.partner.microsoftonline.cn'
    ? 'https://sts.chinacloudapi.cn'
    : 'https://sts.windows.net'
}

interface Place {
  readonly authorizationServer: string
  readonly issuers: readonly string[]
  readonly audiences: readonly string[]
  readonly scopes: readonly string[]
  readonly tenant?: string
}

function rulesOf(config: IssuerConfig, { tenant, ...place }: Place): IssuerRules {
  const preset = presets[config.preset]
  // Clients ask for an Entra scope by the API's address. The token holds the scope without that
  // address.
  const required = config.requiredScopes.map((scope) =>
    tenant === undefined ? scope : scope.slice(scope.lastIndexOf('/') + 1),
  )
  const identity = identityClaims(config, tenant)

  return {
    ...place,
    jwksUri: config.jwksUri,
    algorithms: config.algorithms ?? algorithms,
    clockSkewSeconds: config.clockSkewSeconds,

    audiencesOf(claims) {
      if (config.preset === 'cognito' && claims.aud === undefined)
        return [textClaim(claims, 'client_id') ?? ''].filter((client) => client !== '')
      return claims.aud === undefined ? [] : [claims.aud].flat()
    },

    checkKind(header, claims) {
      checkAccessToken(header, claims, preset)
      if (tenant !== undefined && claims['tid'] !== tenant)
        throw refused('The token is of another tenant.')
    },

    checkScopes(claims) {
      if (preset.grantedOtherwise?.(claims) === true) return
      const held = scopesOf(claims)
      const enough = tenant === undefined || held.size > 0
      if (enough && required.every((scope) => held.has(scope))) return
      throw new InsufficientScope(place.scopes)
    },

    principalOf: (claims) => principalOf(claims, place.authorizationServer, identity),
  }
}

function identityClaims(config: IssuerConfig, tenant: string | undefined): IdentityClaims {
  const preset = presets[config.preset]
  const claims = {
    id: config.idClaim,
    names: config.nameClaim === undefined ? preset.names : [config.nameClaim],
    roles: config.rolesClaims ?? preset.roles,
  }
  // As in MSAL accounts. Unlike `sub`, `oid` outlives the app registration.
  return claims.id === undefined && tenant !== undefined
    ? { ...claims, id: 'oid', suffix: `.${tenant}` }
    : claims
}

function checkAccessToken({ typ }: JWTHeaderParameters, claims: JWTPayload, preset: Preset): void {
  const kind = typ?.toLowerCase().replace(/^application\//, '')
  if (kind !== undefined && kind !== 'at+jwt' && kind !== 'jwt')
    throw refused('The token is of another kind than an access token.')

  // RFC 9068 marks access tokens with a type. In other tokens, these claims mean an ID token
  // (OpenID Connect Core, sections 2 and 3.3.2.11).
  const isIdToken =
    kind !== 'at+jwt' && ['nonce', 'at_hash', 'c_hash'].some((claim) => claims[claim] !== undefined)
  if (isIdToken || preset.notAccess?.(claims) === true)
    throw refused('The token is no access token.')

  // The gateway does not check proof of possession (RFC 7800, RFC 9449), so a thief could use
  // the token here.
  if (claims['cnf'] !== undefined)
    throw refused('The token is bound to a key of its client, which cannot be proven here.')
}

/** `scope` is a list in one text (RFC 8693 section 4.2); `scp` is such a text or an array. */
function scopesOf(claims: JWTPayload): ReadonlySet<string> {
  return new Set(
    ['scope', 'scp'].flatMap((claim) => {
      const value = claimAt(claims, claim)
      if (typeof value === 'string') return value.split(' ')
      return Array.isArray(value) ? value.map(String) : []
    }),
  )
}

function isGuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}

function refused(detail: string): GatewayError {
  return new GatewayError('unauthenticated', { detail })
}
