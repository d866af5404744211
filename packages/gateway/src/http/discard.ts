import type { IncomingMessage } from 'node:http'

const mostBytes = 16 * 1024 * 1024

/**
 * Reads and drops what a client still sends of a body that was refused. Clients that write all before they read would get a reset
 * connection instead of the answer (RFC 9112 section 9.6). Bounded: who sends on and on is cut off; the request timeout bounds the time.
 */
export function discardBody(request: IncomingMessage): void {
  let left = mostBytes
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) request.socket.destroy()
  })
  request.resume()
}
