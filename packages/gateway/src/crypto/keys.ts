import { createHash, hkdfSync } from 'node:crypto'

/**
 * What keys are derived for, and under which label (the info of HKDF, RFC 5869). Keys of two labels
 * are unrelated, so that one shared secret serves all purposes. A changed label ends what was sealed.
 */
const purposes = {
  session: { label: 'mcp-gateway session v1', bytes: 32 },
  secrets: { label: 'mcp-gateway secrets v1', bytes: 32 },
  toolFeed: { label: 'mcp-gateway tool feed v1', bytes: 32 },
  peerHop: { label: 'mcp-gateway hop v2', bytes: 32 },
  pseudonym: { label: 'mcp-gateway pseudonym v1', bytes: 32 },
  /** With 128 bits to spare, so that a private key of P-256 has no bias (FIPS 186-5, A.2.1). */
  identity: { label: 'mcp-gateway identity v1', bytes: 48 },
} as const

export type KeyPurpose = keyof typeof purposes

/** The key of one purpose. Derive it once: this costs more than sealing with it. */
export function deriveKey(secret: Buffer, purpose: KeyPurpose): Buffer {
  const { label, bytes } = purposes[purpose]
  return Buffer.from(hkdfSync('sha256', secret, '', label, bytes))
}

/** A key, and the bytes by which sealed texts name it. */
export interface NamedKey {
  readonly id: Buffer
  readonly key: Buffer
}

export const keyIdLength = 4

export function deriveNamedKey(secret: Buffer, purpose: KeyPurpose): NamedKey {
  const key = deriveKey(secret, purpose)
  return { key, id: createHash('sha256').update(key).digest().subarray(0, keyIdLength) }
}

/** The key of an id, of which there are few. */
export function findKey(keys: readonly NamedKey[], id: Buffer): Buffer | undefined {
  return keys.find((each) => each.id.equals(id))?.key
}
