import type { ServerResponse } from 'node:http'
import type { Share } from './shares.ts'

/** Bytes that wait for one client that does not read. */
const maxUnsent = 32 * 1024 * 1024

const counted = new WeakMap<ServerResponse, Share>()

/** Counts what waits for the client of a response, from now on until it is closed. */
export function countUnsent(response: ServerResponse, share: Share): void {
  counted.set(response, share)
  share.spare(() => response.destroy())
  response.on('drain', () => void share.hold(response.writableLength))
  response.once('close', () => share.release())
}

/**
 * Text as bytes, where it has more bytes than UTF-16 units: Node counts what waits of a text by the
 * latter.
 */
export function countable(text: string, bytes = Buffer.byteLength(text)): string | Buffer {
  return bytes === text.length ? text : Buffer.from(text)
}

/** Writes text so that its bytes are counted. False as `write` says. */
export function writeText(response: ServerResponse, text: string): boolean {
  return response.write(countable(text))
}

/**
 * Looks after a write whether too much waits. Then the client loses its connection rather than the
 * process its memory. One answer that is whole may be longer than what a stream may leave unread.
 */
export function checkUnsent(response: ServerResponse): void {
  const unsent = response.writableLength
  const shortage = counted.get(response)?.hold(unsent)
  const tooMuch = unsent > maxUnsent && !response.writableEnded
  if (tooMuch || shortage !== undefined) response.destroy()
}
