import type { IncomingHttpHeaders } from 'node:http'
import { deriveKey } from '../crypto/keys.ts'

/**
 * The name that gateways with the same keys give themselves in `CDN-Loop` (RFC 8586), so that each
 * of them knows a request that another has sent. It tells nothing of the keys.
 */
export function loopMark([key]: readonly Buffer[]): string | undefined {
  if (key === undefined) return undefined
  return `mcp-gateway-${deriveKey(key, 'loopMark').subarray(0, 6).toString('hex')}`
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
