/**
 * The name that CGI-like servers (WSGI, PHP, Apache modules) see (RFC 3875 section 4.1.18). They
 * cannot tell `X_Mcp_UserId` from `X-Mcp-UserId`, so neither may pass as the other.
 */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase()
  return foldable.test(lower) ? lower.replaceAll(everyFoldable, '-') : lower
}

const foldable = /[^0-9a-z-]/
const everyFoldable = /[^0-9a-z-]/g
