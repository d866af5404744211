import { deriveKey } from '../crypto/keys.ts'

/**
 * The name that gateways with the same keys give themselves in `CDN-Loop` (RFC 8586), so that each
 * of them knows a request that another has sent. It tells nothing of the keys.
 */
export function loopMark([key]: readonly Buffer[]): string | undefined {
  if (key === undefined) return undefined
  return `mcp-gateway-${deriveKey(key, 'loopMark').subarray(0, 6).toString('hex')}`
}
