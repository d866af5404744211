import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Owned } from './resource.ts'

/** Stored part of an API key. It identifies the key, but nobody can rebuild the key from it. */
export interface ApiKeySpec {
  /** A label for people. */
  readonly name: string
  readonly roles: readonly string[]
  /** ISO 8601, UTC. */
  readonly expiresAt?: string
  /** SHA-256 of the whole text, in hexadecimal. See `digestOf`. */
  readonly digest: string
  /** To the minute, because the gateway tells the store of uses only now and then. */
  readonly lastUsedAt?: string
  /** Keys cannot be shared: only the owner and administrators have access. */
  readonly requiredRoles?: never
  readonly ownerRoles?: never
}

/** An owner's credential for programs. Its name is its id. */
export type ApiKey = Owned<ApiKeySpec, 'api-key'>

/**
 * Every key begins with this prefix. It separates keys from other credentials, and lets secret
 * scanners find published keys.
 */
export const apiKeyPrefix = 'mcpgw_'

/** The part of a key that may be shown, so that people recognise the key. */
export function recognizablePart(id: string): string {
  return `${apiKeyPrefix}${id}`
}

/**
 * Makes `mcpgw_`, id (16 hex digits), `_`, 32 random bytes (43 base-62 digits), CRC-32 (6). The CRC
 * reveals typing mistakes without the store; a double click selects the whole key.
 */
export function newApiKey(): {
  readonly id: string
  readonly text: string
  readonly digest: string
} {
  const id = randomBytes(8).toString('hex')
  const random = BigInt(`0x${randomBytes(32).toString('hex')}`)
  const head = `${recognizablePart(id)}_${base62(random, 43)}`
  const text = head + checksum(head)
  return { id, text, digest: digestOf(text).toString('hex') }
}

/** The id of a well-formed key whose checksum fits, or undefined. */
export function apiKeyId(text: string): string | undefined {
  const id = /^mcpgw_([0-9a-f]{16})_[0-9A-Za-z]{49}$/.exec(text)?.[1]
  return id !== undefined && checksum(text.slice(0, -6)) === text.slice(-6) ? id : undefined
}

/**
 * SHA-256 identifies a key and costs one microsecond a request. Slow, salted hashes protect
 * passwords, which can be guessed; nobody can guess 256 random bits.
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
