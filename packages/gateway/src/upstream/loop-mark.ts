import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { deriveKey } from '../crypto/keys.ts'

/**
 * The names that a gateway has in `CDN-Loop` (RFC 8586), one for each of its keys: all its processes
 * write the first, and know a request that one of them has sent by any. They tell nothing of the
 * keys.
 */
export function loopMarks(keys: readonly Buffer[]): readonly string[] {
  return keys.map((key) => {
    const digest = createHash('sha256').update(deriveKey(key, 'loop')).digest('hex')
    return `mcp-gateway-${digest.slice(0, 12)}`
  })
}

/** More gateways than a request passes. */
const mostGateways = 20

/**
 * The last gateways that a request has passed, by `CDN-Loop`. Other names in it are left out: a
 * client writes what it likes, and a server may refuse a name or a long header.
 */
export function gatewaysIn({ 'cdn-loop': loop = '' }: IncomingHttpHeaders): string {
  const names = String(loop).match(/mcp-gateway-[0-9a-f]{12}\b/g) ?? []
  return names.slice(-mostGateways).join(', ')
}
