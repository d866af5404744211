import type { IncomingMessage } from 'node:http'

/** All that a gateway tells of who calls. Ids alone are of one issuer, and not told to every server. */
export function callerOf({ headers }: IncomingMessage): string {
  return JSON.stringify([headers['x-mcpgw-caller'], headers['x-mcp-userid']])
}

/** A bridge without a gateway in front of it is not told who calls. */
export const nobodyNamed = JSON.stringify([undefined, undefined])
