import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { DirectoryEntry } from '../core/directory.ts'
import type { Tool } from '../core/resource.ts'

/** Where a gateway tells tool gateways which tools there are. */
export const feedPath = '/internal/tools'

/** What one line of the feed tells. */
export type FeedMessage =
  | { readonly tool: Tool }
  | { readonly gone: string }
  | { readonly issuer: string }
  | { readonly workload: string; readonly entry: DirectoryEntry | null }
  /** All that there was when the feed began has been told. */
  | { readonly complete: true }
  | { readonly alive: true }

/** Writes one message as a line. */
export type SealLine = (message: FeedMessage) => string
/** Reads a line. @throws Error when it is not the next line of this feed */
export type OpenLine = (line: string) => FeedMessage

const cipher = 'aes-256-gcm'

/**
 * Lines are sealed with a key of the gateways, because they say where tools run and who may use them. Each is bound to its place in one
 * feed, which the signature of the request for it names, so that none can be left out, repeated or taken from another feed.
 */
export function createLineSealer(key: Buffer, feed: string): SealLine {
  const derived = derive(key)
  let count = 0
  return (message) => {
    const nonce = randomBytes(12)
    const sealing = createCipheriv(cipher, derived, nonce).setAAD(place(feed, (count += 1)))
    const sealed = Buffer.concat([
      nonce,
      sealing.update(JSON.stringify(message)),
      sealing.final(),
      sealing.getAuthTag(),
    ])
    return `${sealed.toString('base64')}\n`
  }
}

/** Opens lines that were sealed with one of the keys. */
export function createLineOpener(keys: readonly Buffer[], feed: string): OpenLine {
  const derived = keys.map(derive)
  let count = 0
  return (line) => {
    const bytes = Buffer.from(line, 'base64')
    count += 1
    for (const key of derived) {
      try {
        const opening = createDecipheriv(cipher, key, bytes.subarray(0, 12))
          .setAAD(place(feed, count))
          .setAuthTag(bytes.subarray(-16))
        return JSON.parse(
          Buffer.concat([opening.update(bytes.subarray(12, -16)), opening.final()]).toString(),
        ) as FeedMessage
      } catch {
        // Perhaps by another key.
      }
    }
    throw new Error('The line is not the next one of this feed.')
  }
}

function derive(key: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', 'mcp-gateway tool feed v1', 32))
}

function place(feed: string, count: number): Buffer {
  return Buffer.from(`${feed}\n${count}`)
}
