import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'

/** Path of a claim: its name, members separated by dots, or a list of their exact names. */
export type ClaimPath = string | readonly string[]

export type Claims = Readonly<Record<string, unknown>>

/** The claims that identify a caller. */
export interface IdentityClaims {
  /** Undefined means `sub`. */
  readonly id: ClaimPath | undefined
  /** Appended to the id. */
  readonly suffix?: string
  /** The first of these claims that exists is the name. */
  readonly names: readonly ClaimPath[]
  readonly roles: readonly ClaimPath[]
}

const longestId = 512
const longestName = 256
const longestRole = 256
const mostRoles = 500

/**
 * Returns a claim if it exists. A claim named like the whole path (`https://example.com/roles`)
 * outranks nested members.
 */
export function claimAt(claims: Claims, path: ClaimPath): unknown {
  if (typeof path === 'string' && Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const member of typeof path === 'string' ? path.split('.') : path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, member))
      return undefined
    value = (value as Claims)[member]
  }
  return value
}

/** Returns a claim if it is a text that is not blank. */
export function textClaim(claims: Claims, path: ClaimPath): string | undefined {
  const value = claimAt(claims, path)
  return typeof value === 'string' && value.trim() !== '' ? value : undefined
}

/**
 * Builds the principal of a token.
 * @throws GatewayError `unauthenticated` if the claims name nobody, or exceed the limits
 */
export function principalOf(
  claims: Claims,
  issuer: string,
  { id: idPath = 'sub', suffix = '', names, roles }: IdentityClaims,
): Principal {
  const id = textClaim(claims, idPath)
  if (id === undefined)
    throw new GatewayError('unauthenticated', {
      detail:
        `The token has no claim '${String(idPath)}', so it names no caller. Get another ` +
        'token.',
    })

  if (id.length > longestId || unprintable.test(id)) {
    throw new GatewayError('unauthenticated', {
      detail: `The claim '${String(idPath)}' of the token cannot be an id. Get another token.`,
    })
  }

  const name = names.map((path) => textClaim(claims, path)).find((text) => text !== undefined) ?? id

  return {
    id: id + suffix,
    issuer,
    name: Array.from(name.replaceAll(allUnprintable, ' ').trim()).slice(0, longestName).join(''),
    roles: rolesOf(claims, roles),
  }
}

/**
 * Trimmed and distinct roles. Skips values with control characters, which nobody assigns on
 * purpose. A comma is part of its role.
 */
function rolesOf(claims: Claims, paths: readonly ClaimPath[]): readonly string[] {
  const roles = new Set<string>()
  for (const path of paths) {
    const value = claimAt(claims, path)
    const last = typeof path === 'string' ? path : path.at(-1)
    // Scopes are lists in one text (RFC 6749 section 3.3). Any other text is one role.
    const isScopes = typeof value === 'string' && (last === 'scp' || last === 'scope')
    const values: readonly unknown[] = isScopes ? value.split(' ') : [value].flat()

    for (const each of values) {
      if (typeof each !== 'string' || unprintable.test(each)) continue
      const role = each.trim()
      if (role !== '' && role.length <= longestRole) roles.add(role)
    }
  }

  if (roles.size > mostRoles)
    throw new GatewayError('unauthenticated', {
      detail: `The token has more than ${mostRoles} roles. Get a token with fewer roles.`,
    })
  return Object.freeze([...roles])
}

// Control characters, line and paragraph separators, marks that change the direction of text, and
// unpaired surrogates.
export const unprintable = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u
const allUnprintable = new RegExp(unprintable, 'gu')
