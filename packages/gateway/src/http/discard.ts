import type { IncomingMessage } from 'node:http'

/** Bytes after which the client is cut off. The request timeout bounds the time. */
const mostBytes = 16 * 1024 * 1024

/**
 * Drops the rest of a refused body. A client that writes all before it reads would get a reset
 * instead of the answer (RFC 9112 section 9.6).
 */
export function discardBody(request: IncomingMessage): void {
  let left = mostBytes
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) request.socket.destroy()
  })
  request.resume()
}
