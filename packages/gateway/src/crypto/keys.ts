import { createHash, hkdfSync } from 'node:crypto'

/**
 * Purposes of derived keys, each with its HKDF info (RFC 5869). Labels give unrelated keys, so one
 * shared secret serves all purposes. A changed label makes sealed data unreadable.
 */
const purposes = {
  session: { label: 'mcp-gateway session v1', bytes: 32 },
  secrets: { label: 'mcp-gateway secrets v1', bytes: 32 },
  toolFeed: { label: 'mcp-gateway tool feed v1', bytes: 32 },
  peerHop: { label: 'mcp-gateway hop v2', bytes: 32 },
  loopMark: { label: 'mcp-gateway loop v1', bytes: 32 },
  pseudonym: { label: 'mcp-gateway pseudonym v1', bytes: 32 },
  /** 128 spare bits remove the bias from a private P-256 key (FIPS 186-5, A.2.1). */
  identity: { label: 'mcp-gateway identity v1', bytes: 48 },
} as const

export type KeyPurpose = keyof typeof purposes

/** Derives the key of one purpose. Derivation costs more than sealing, so keep the key. */
export function deriveKey(secret: Buffer, purpose: KeyPurpose): Buffer {
  const { label, bytes } = purposes[purpose]
  return Buffer.from(hkdfSync('sha256', secret, '', label, bytes))
}

/** A key, with the id that sealed texts carry. */
export interface NamedKey {
  readonly id: Buffer
  readonly key: Buffer
}

export const keyIdLength = 4

export function deriveNamedKey(secret: Buffer, purpose: KeyPurpose): NamedKey {
  const key = deriveKey(secret, purpose)
  return { key, id: createHash('sha256').update(key).digest().subarray(0, keyIdLength) }
}

/** Finds a key by its id. The list is short. */
export function findKey(keys: readonly NamedKey[], id: Buffer): Buffer | undefined {
  return keys.find((each) => each.id.equals(id))?.key
}
