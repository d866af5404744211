/** The caller. `auth/` makes it; every part of the gateway reads it. */
export interface Principal {
  /** Stable for one person or machine at one issuer. Only the anonymous caller has an empty id. */
  readonly id: string
  /** The authority that vouches for the id: an issuer's address, `development`, or `anonymous`. */
  readonly issuer: string
  readonly name: string
  /** Trimmed, distinct. The gateway compares roles without case. */
  readonly roles: readonly string[]
  /**
   * The id of the API key that the caller used, if any. The caller then acts as the key's owner.
   */
  readonly apiKey?: string
  /**
   * The network of an anonymous caller, which separates anonymous callers when they share a pool.
   */
  readonly network?: string
}

/** The gateway, where no caller asks: it reads what the members of virtual servers list. */
export const gatewayItself: Principal = {
  id: 'mcp-gateway',
  // Issuers of tokens are addresses, so no token can claim this one.
  issuer: 'gateway',
  name: 'MCP Gateway',
  roles: [],
}

export function isGatewayItself({ issuer }: Pick<Principal, 'issuer'>): boolean {
  return issuer === gatewayItself.issuer
}

/** The role of administrators, who may read, use, change and transfer every resource. */
export const adminRole = 'mcp.admin'

/** In a list of roles: every caller except the anonymous one. */
export const everyone = '*'

/** True if nobody vouches for the caller. Any roles that it claims do not count. */
export function isAnonymous({ id }: Pick<Principal, 'id'>): boolean {
  return id === ''
}

/** Two principals are the same caller if issuer and id agree. Empty ids never agree. */
export function samePrincipal(
  a: Pick<Principal, 'id' | 'issuer'>,
  b: Pick<Principal, 'id' | 'issuer'>,
): boolean {
  return a.id !== '' && a.id === b.id && a.issuer === b.issuer
}

const parties = new WeakMap<object, string>()

/** Returns one text per caller, as a key for counts and shares. */
export function partyOf(principal: Pick<Principal, 'id' | 'issuer' | 'network'>): string {
  let party = parties.get(principal)
  if (party === undefined) {
    const { id, issuer, network = '' } = principal
    party = JSON.stringify(id === '' ? [issuer, id, network] : [issuer, id])
    parties.set(principal, party)
  }
  return party
}

const callers = new WeakMap<Principal, string>()

/**
 * Returns a text per caller and all that a server may learn about it: JSON of a `Principal`. Two
 * requests with one text get the same from a server.
 */
export function callerKey(principal: Principal): string {
  let key = callers.get(principal)
  if (key === undefined) {
    const { id, issuer, name, roles, network } = principal
    callers.set(principal, (key = JSON.stringify({ id, issuer, name, roles, network })))
  }
  return key
}

export function hasRole({ roles }: Pick<Principal, 'roles'>, role: string): boolean {
  return foldedRoles(roles).has(role.toLowerCase())
}

/** True if a principal holds at least one of the roles. */
export function hasOneRoleOf(
  { roles }: Pick<Principal, 'roles'>,
  wanted: readonly string[],
): boolean {
  // For a short list, a set costs more memory than the time that it saves.
  if (wanted.length <= 8) return wanted.some((role) => hasRole({ roles }, role))
  const [held, asked] = [foldedRoles(roles), foldedRoles(wanted)]
  const [fewer, more] = held.size < asked.size ? [held, asked] : [asked, held]
  for (const role of fewer) if (more.has(role)) return true
  return false
}

/** True if a list of roles (or `*`) covers the principal. */
export function isOneOf(principal: Principal, roles: readonly string[]): boolean {
  return !isAnonymous(principal) && (roles.includes(everyone) || hasOneRoleOf(principal, roles))
}

/** As `isOneOf`, for rights that administrators always have. */
export function holdsOneOf(principal: Principal, roles: readonly string[]): boolean {
  return isOneOf(principal, [adminRole, ...roles])
}

/** Lists of roles never change, and a list of tools looks up the same ones many times. */
const folded = new WeakMap<readonly string[], ReadonlySet<string>>()

function foldedRoles(roles: readonly string[]): ReadonlySet<string> {
  let set = folded.get(roles)
  if (set === undefined) folded.set(roles, (set = new Set(roles.map((role) => role.toLowerCase()))))
  return set
}
