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
  /** Where an anonymous caller is, by which such callers are told apart when things are shared. */
  readonly network?: string
}

/** The role that may do everything. */
export const adminRole = 'mcp.admin'

/** In a list of roles: every caller for whom somebody vouches. */
export const everyone = '*'

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

const parties = new WeakMap<object, string>()

/** One text for one caller, for what is counted or divided by callers. */
export function partyOf(principal: Pick<Principal, 'id' | 'issuer' | 'network'>): string {
  let party = parties.get(principal)
  if (party === undefined) {
    const { id, issuer, network = '' } = principal
    party = JSON.stringify(id === '' ? [issuer, id, network] : [issuer, id])
    parties.set(principal, party)
  }
  return party
}

export function hasRole({ roles }: Pick<Principal, 'roles'>, role: string): boolean {
  return foldedRoles(roles).has(role.toLowerCase())
}

/** Whether a principal holds one of many roles. */
export function hasOneRoleOf(
  { roles }: Pick<Principal, 'roles'>,
  wanted: readonly string[],
): boolean {
  // A set for each short list would take more memory than it saves time.
  if (wanted.length <= 8) return wanted.some((role) => hasRole({ roles }, role))
  const [held, asked] = [foldedRoles(roles), foldedRoles(wanted)]
  const [fewer, more] = held.size < asked.size ? [held, asked] : [asked, held]
  for (const role of fewer) if (more.has(role)) return true
  return false
}

/** Whether a principal is one of those whom roles name. */
export function isOneOf(principal: Principal, roles: readonly string[]): boolean {
  return !isAnonymous(principal) && (roles.includes(everyone) || hasOneRoleOf(principal, roles))
}

/** As `isOneOf`, for what administrators always may. */
export function holdsOneOf(principal: Principal, roles: readonly string[]): boolean {
  return isOneOf(principal, [adminRole, ...roles])
}

/** Lists of roles never change, and are asked for again and again: lists of tools ask for all. */
const folded = new WeakMap<readonly string[], ReadonlySet<string>>()

function foldedRoles(roles: readonly string[]): ReadonlySet<string> {
  let set = folded.get(roles)
  if (set === undefined) folded.set(roles, (set = new Set(roles.map((role) => role.toLowerCase()))))
  return set
}
