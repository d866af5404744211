import type { Principal } from '../core/principal.ts'

const encoded = new WeakMap<Principal, readonly string[]>()

/**
 * The caller's identity for servers, under the original's header names. Percent-encoded UTF-8 (RFC
 * 3986), role by role, so commas and letters beyond ASCII survive and plain values stay readable.
 */
export function identityHeaders(principal: Principal): readonly string[] {
  let headers = encoded.get(principal)
  if (headers === undefined) {
    headers = [
      'x-mcp-userid',
      encodeValue(principal.id),
      'x-mcp-username',
      encodeValue(principal.name),
      'x-mcp-roles',
      principal.roles.map(encodeValue).join(','),
    ]
    encoded.set(principal, headers)
  }
  return headers
}

function encodeValue(value: string): string {
  return value.replace(/[^\x21-\x24\x26-\x2b\x2d-\x7e]/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  )
}
