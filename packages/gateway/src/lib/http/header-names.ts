/**
 * The name that servers of the CGI kind (WSGI, PHP, some of Apache's modules) make of a header's: in lower case, and all that is neither
 * letter nor digit the same (RFC 3875 section 4.1.18). They cannot tell `X_Mcp_UserId` from `X-Mcp-UserId`, so one must not pass as the other.
 */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase()
  return foldable.test(lower) ? lower.replaceAll(everyFoldable, '-') : lower
}

const foldable = /[^0-9a-z-]/
const everyFoldable = /[^0-9a-z-]/g
