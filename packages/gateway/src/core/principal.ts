/** Who calls. Made by `auth/`, read everywhere. */
export interface Principal {
  /** Stable for one person or machine at one issuer; empty for the anonymous caller alone. */
  readonly id: string
  /** Who vouches for the id: an issuer's address, or `development`. */
  readonly issuer: string
  readonly name: string
  /** Trimmed, distinct. Compared without case. */
  readonly roles: readonly string[]
  /** The id of the API key by which the caller acts as its owner, if it does. */
  readonly apiKey?: string
}

/** The role that may do everything. */
export const adminRole = 'mcp.admin'

/** Whether nobody vouches for a caller. Whatever roles it claims, it has none. */
export function isAnonymous({ id }: Pick<Principal, 'id'>): boolean {
  return id === ''
}

/** Two principals are one caller only if both issuer and id agree, and ids are never empty. */
export function samePrincipal(
  a: Pick<Principal, 'id' | 'issuer'>,
  b: Pick<Principal, 'id' | 'issuer'>,
): boolean {
  return a.id !== '' && a.id === b.id && a.issuer === b.issuer
}

/** One text for one caller, for what is counted or divided by callers. */
export function partyOf({ id, issuer }: Pick<Principal, 'id' | 'issuer'>): string {
  return JSON.stringify([issuer, id])
}

export function hasRole(principal: Principal, role: string): boolean {
  const wanted = role.toLowerCase()
  return principal.roles.some((held) => held.toLowerCase() === wanted)
}
