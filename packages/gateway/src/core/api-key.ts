import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Owned } from './resource.ts'

/** What is kept of a key: enough to know it again, not enough to make it. */
export interface ApiKeySpec {
  /** For people. */
  readonly name: string
  readonly roles: readonly string[]
  /** ISO 8601, UTC. */
  readonly expiresAt?: string
  /** Of the whole text, in hexadecimal. See `digestOf`. */
  readonly digest: string
  /** To the minute; the store hears of use now and then only. */
  readonly lastUsedAt?: string
  /** A key is its owner's alone. */
  readonly requiredRoles?: never
  readonly ownerRoles?: never
}

/** A credential of its owner for programs. Its name is its id. */
export type ApiKey = Owned<ApiKeySpec, 'api-key'>

/** Every key begins so: by it a key is told from other credentials, and secret scanners find keys that were published. */
export const apiKeyPrefix = 'mcpgw_'

/** What of a key may be shown, so that people recognise it. */
export function recognizablePart(id: string): string {
  return `${apiKeyPrefix}${id}`
}

/**
 * A new key: `mcpgw_`, an id of 16 hexadecimal digits, `_`, 32 random bytes (43 digits of base 62), and their CRC-32 (6 digits of
 * base 62), by which typing mistakes are told without asking the store. No character of it ends a word, so a double click takes it whole.
 */
export function newApiKey(): {
  readonly id: string
  readonly text: string
  readonly digest: string
} {
  const id = randomBytes(8).toString('hex')
  const head = `${recognizablePart(id)}_${base62(BigInt(`0x${randomBytes(32).toString('hex')}`), 43)}`
  const text = head + checksum(head)
  return { id, text, digest: digestOf(text).toString('hex') }
}

/** The id of a well-formed key whose checksum fits, or undefined. */
export function apiKeyId(text: string): string | undefined {
  const id = /^mcpgw_([0-9a-f]{16})_[0-9A-Za-z]{49}$/.exec(text)?.[1]
  return id !== undefined && checksum(text.slice(0, -6)) === text.slice(-6) ? id : undefined
}

/**
 * By which a key is known again. A slow, salted hash protects passwords, which can be guessed; 256 random bits cannot be, by whichever
 * speed, so a plain SHA-256 loses nothing and costs each request a microsecond.
 */
export function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function checksum(head: string): string {
  return base62(BigInt(crc32(head)), 6)
}

const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function base62(value: bigint, length: number): string {
  let text = ''
  for (let rest = value; text.length < length; rest /= 62n) text = digits[Number(rest % 62n)] + text
  return text
}
