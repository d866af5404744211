import { GatewayError } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'

/** Where a claim is: its name, members with dots between them, or their exact names one after the other. */
export type ClaimPath = string | readonly string[]

export type Claims = Readonly<Record<string, unknown>>

/** Which claims tell who somebody is. */
export interface IdentityClaims {
  /** Undefined: `sub`. */
  readonly id: ClaimPath | undefined
  /** Follows the id. */
  readonly suffix?: string
  /** The first that is there is the name. */
  readonly names: readonly ClaimPath[]
  readonly roles: readonly ClaimPath[]
}

const longestId = 512
const longestName = 256
const longestRole = 256
const mostRoles = 500

/** The claim, where it is there. A claim with the whole path as its name (`https://example.com/roles`) outranks the members of others. */
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

/** The claim when it is a text that is not empty. */
export function textClaim(claims: Claims, path: ClaimPath): string | undefined {
  const value = claimAt(claims, path)
  return typeof value === 'string' && value.trim() !== '' ? value : undefined
}

/** @throws GatewayError `unauthenticated` when the claims name nobody, or more than can be kept */
export function principalOf(
  claims: Claims,
  issuer: string,
  { id: idPath = 'sub', suffix = '', names, roles }: IdentityClaims,
): Principal {
  const id = textClaim(claims, idPath)
  if (id === undefined)
    throw new GatewayError('unauthenticated', {
      detail: `The token names nobody: it has no claim '${String(idPath)}'.`,
    })
  if (id.length > longestId || unprintable.test(id)) {
    throw new GatewayError('unauthenticated', {
      detail: `The claim '${String(idPath)}' of the token is not usable as an id.`,
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

/** Trimmed and distinct. A value with control characters can be no role that somebody assigned on purpose; a comma is part of its role. */
function rolesOf(claims: Claims, paths: readonly ClaimPath[]): readonly string[] {
  const roles = new Set<string>()
  for (const path of paths) {
    const value = claimAt(claims, path)
    const last = typeof path === 'string' ? path : path.at(-1)
    // Scopes are lists in one text (RFC 6749 section 3.3); other texts are one role.
    const values: readonly unknown[] = Array.isArray(value)
      ? value
      : typeof value === 'string' && (last === 'scp' || last === 'scope')
        ? value.split(' ')
        : [value]
    for (const each of values) {
      if (typeof each !== 'string' || unprintable.test(each)) continue
      const role = each.trim()
      if (role !== '' && role.length <= longestRole) roles.add(role)
    }
  }
  if (roles.size > mostRoles)
    throw new GatewayError('unauthenticated', {
      detail: `The token has more than ${mostRoles} roles.`,
    })
  return Object.freeze([...roles])
}

// Control characters, line and paragraph separators, marks that turn the direction of text, halves of surrogate pairs.
export const unprintable = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u
const allUnprintable = new RegExp(unprintable, 'gu')
