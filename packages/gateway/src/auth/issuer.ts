import type { JWTHeaderParameters, JWTPayload } from 'jose'
import type { IssuerConfig } from '../config/config.ts'
import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { InsufficientScope } from './challenge.ts'
import { claimAt, principalOf, textClaim, type ClaimPath, type IdentityClaims } from './claims.ts'

/** What one issuer's tokens must be, compiled from its configuration and its preset. Pure. */
export interface IssuerRules {
  /** The address by which clients find the issuer, by which it calls itself in discovery, and which principals name. */
  readonly authorizationServer: string
  /** What `iss` may be. */
  readonly issuers: readonly string[]
  /** Where the keys are, when they are not to be discovered. */
  readonly jwksUri: string | undefined
  readonly audiences: readonly string[]
  readonly algorithms: readonly string[]
  readonly clockSkewSeconds: number
  /** Scopes that clients ask for, as the issuer spells them. */
  readonly scopes: readonly string[]
  /** What the token is meant for. */
  audiencesOf(claims: JWTPayload): readonly string[]
  /** @throws GatewayError `unauthenticated` for what is no access token */
  checkKind(header: JWTHeaderParameters, claims: JWTPayload): void
  /** @throws GatewayError `insufficient_scope` */
  checkScopes(claims: JWTPayload): void
  /** @throws GatewayError `unauthenticated` when the claims name nobody */
  principalOf(claims: JWTPayload): Principal
}

/** What differs between the products. */
interface Preset {
  readonly roles: readonly ClaimPath[]
  readonly names: readonly ClaimPath[]
  /** Why the claims are not those of an access token, where the product lets one tell. */
  readonly notAccess?: (claims: JWTPayload) => boolean
  /** Whether the token was granted by other means than scopes, as those of clients that act for themselves are. */
  readonly grantedOtherwise?: (claims: JWTPayload) => boolean
}

const presets: Readonly<Record<IssuerConfig['preset'], Preset>> = {
  // https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
  entra: {
    roles: ['roles'],
    names: ['name', 'preferred_username', 'upn', 'unique_name', 'app_displayname', 'azp', 'appid'],
    // Both versions of access tokens name the client; ID tokens do not.
    notAccess: (claims) =>
      textClaim(claims, 'azp') === undefined && textClaim(claims, 'appid') === undefined,
    // Any application of a tenant can get a token without roles; a role was assigned by an administrator.
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
  // Access tokens have `client_id` instead of an audience unless the client asked for a resource.
  cognito: {
    roles: ['cognito:groups'],
    names: ['username', 'client_id'],
    notAccess: (claims) => claims['token_use'] !== 'access',
  },
  generic: { roles: ['roles'], names: ['name', 'preferred_username'] },
}

/** RFC 7518 section 3.1, RFC 8037: what needs no shared secret. */
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

/** The rules of a configured issuer: one, or one for each tenant of Entra ID. */
export function issuerRules(config: IssuerConfig): IssuerRules[] {
  if (config.preset !== 'entra') {
    return [
      rulesOf(config, {
        authorizationServer: config.issuer,
        issuers: [config.issuer],
        audiences: config.audiences,
        scopes: config.requiredScopes,
      }),
    ]
  }
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

/** Who vouches in tokens of version 1, which an app registration of a certain age still gets. */
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
  const identity: IdentityClaims = {
    id: config.idClaim,
    names: config.nameClaim === undefined ? preset.names : [config.nameClaim],
    roles: config.rolesClaims ?? preset.roles,
  }
  // An API's scope is asked for by the API's address and found in the token without it.
  const required = config.requiredScopes.map((scope) =>
    tenant === undefined ? scope : scope.slice(scope.lastIndexOf('/') + 1),
  )
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

    checkKind({ typ }, claims) {
      const kind = typ?.toLowerCase().replace(/^application\//, '')
      if (kind !== undefined && kind !== 'at+jwt' && kind !== 'jwt')
        throw refused('The token is of another kind than an access token.')
      // RFC 9068 says it plainly; where it is not used, these claims are of ID tokens alone (OpenID Connect Core, sections 2 and 3.3.2.11).
      const isIdToken =
        kind !== 'at+jwt' &&
        ['nonce', 'at_hash', 'c_hash'].some((claim) => claims[claim] !== undefined)
      if (isIdToken || preset.notAccess?.(claims) === true)
        throw refused('The token is no access token.')
      // A thief could use the token here: nobody asks for its proof (RFC 7800, RFC 9449).
      if (claims['cnf'] !== undefined)
        throw refused('The token is bound to a key of its client, which cannot be proven here.')
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

    principalOf: (claims) =>
      principalOf(claims, place.authorizationServer, {
        ...identity,
        // As in the accounts of MSAL: unlike `sub`, it outlives the app registration.
        ...(config.idClaim === undefined && tenant !== undefined
          ? { id: 'oid', suffix: `.${tenant}` }
          : {}),
      }),
  }
}

/** `scope` is a list in one text (RFC 8693 section 4.2), `scp` either that or an array. */
function scopesOf(claims: JWTPayload): ReadonlySet<string> {
  return new Set(
    ['scope', 'scp'].flatMap((claim) => {
      const value = claimAt(claims, claim)
      return typeof value === 'string'
        ? value.split(' ')
        : Array.isArray(value)
          ? value.map(String)
          : []
    }),
  )
}

function isGuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}

function refused(detail: string): GatewayError {
  return new GatewayError('unauthenticated', { detail })
}
