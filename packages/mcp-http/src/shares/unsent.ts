import type { ServerResponse } from 'node:http'
import type { Share } from './shares.ts'

/** Bytes that may wait for one client that does not read. */
const maxUnsent = 32 * 1024 * 1024

const counted = new WeakMap<ServerResponse, Share>()

/** Counts the bytes that wait for the client of a response, from now until the response closes. */
export function countUnsent(response: ServerResponse, share: Share): void {
  counted.set(response, share)
  share.spare(() => response.destroy())
  response.on('drain', () => void share.hold(response.writableLength))
  response.once('close', () => share.release())
}

/**
 * Turns text into bytes if its UTF-8 is longer than its UTF-16 units: Node counts waiting text in
 * units.
 */
export function countable(text: string, bytes = Buffer.byteLength(text)): string | Buffer {
  return bytes === text.length ? text : Buffer.from(text)
}

/** Writes text so that its bytes are counted. Returns the result of `write`. */
export function writeText(response: ServerResponse, text: string): boolean {
  return response.write(countable(text))
}

/**
 * Call after a write. If too much waits, the client loses its connection, which saves memory. A
 * single complete answer may exceed the bound of an open stream.
 */
export function checkUnsent(response: ServerResponse): void {
  const unsent = response.writableLength
  const shortage = counted.get(response)?.hold(unsent)
  const tooMuch = unsent > maxUnsent && !response.writableEnded
  if (tooMuch || shortage !== undefined) response.destroy()
}
