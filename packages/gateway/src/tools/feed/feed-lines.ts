import type { DirectoryEntry } from '../../core/directories/directory.ts'
import type { Tool } from '../../core/resource.ts'
import { deriveKey } from '../../crypto/keys.ts'
import { newNonce, nonceLength, seal, unseal } from '../../crypto/seal.ts'

/** The path of the feed, in which a gateway tells tool gateways about all tools. */
export const feedPath = '/internal/tools'

/** The content of one line of the feed. */
export type FeedMessage =
  | { readonly tool: Tool }
  | { readonly gone: string }
  | { readonly issuer: string }
  | { readonly workload: string; readonly entry: DirectoryEntry | null }
  /** The feed has told all tools that existed when it began. */
  | { readonly complete: true }
  | { readonly alive: true }

/** Writes one message as a line. */
export type SealLine = (message: FeedMessage) => string
/** Reads a line. @throws Error if it is not the next line of this feed */
export type OpenLine = (line: string) => FeedMessage

/**
 * Seals lines, which say where tools run and who may use them. Each is bound to its place in one
 * feed, named by the signature of its request, so none can be left out, repeated or moved.
 */
export function createLineSealer(key: Buffer, feed: string): SealLine {
  const derived = deriveKey(key, 'toolFeed')
  let count = 0
  return (message) => {
    const nonce = newNonce()
    const sealed = seal(derived, nonce, JSON.stringify(message), place(feed, (count += 1)))
    return `${Buffer.concat([nonce, ...sealed]).toString('base64')}\n`
  }
}

/** Opens lines that were sealed with one of the keys. */
export function createLineOpener(keys: readonly Buffer[], feed: string): OpenLine {
  const derived = keys.map((key) => deriveKey(key, 'toolFeed'))
  let count = 0
  return (line) => {
    const bytes = Buffer.from(line, 'base64')
    count += 1
    for (const key of derived) {
      try {
        const nonce = bytes.subarray(0, nonceLength)
        const text = unseal(key, nonce, bytes.subarray(nonceLength), place(feed, count))
        return JSON.parse(text.toString()) as FeedMessage
      } catch {
        // Another key may fit.
      }
    }
    throw new Error('The line is not the next one of this feed.')
  }
}

function place(feed: string, count: number): Buffer {
  return Buffer.from(`${feed}\n${count}`)
}
