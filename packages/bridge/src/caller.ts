import type { IncomingMessage } from 'node:http'

/**
 * The caller as the gateway names it. A user id is unique only within one issuer, and a server may
 * not get any, so the key holds both headers.
 */
export function callerOf({ headers }: IncomingMessage): string {
  return JSON.stringify([headers['x-mcpgw-caller'], headers['x-mcp-userid']])
}

/** The key of every caller if no gateway in front of the bridge names them. */
export const nobodyNamed = JSON.stringify([undefined, undefined])
