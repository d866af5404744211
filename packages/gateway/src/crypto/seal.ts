import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const cipher = 'aes-256-gcm'
export const nonceLength = 12
export const tagLength = 16

/**
 * Returns a fresh nonce for each sealing. Two texts under one key and nonce reveal each other (NIST
 * SP 800-38D).
 */
export function newNonce(): Buffer {
  return randomBytes(nonceLength)
}

/**
 * Encrypts bytes with AES-256-GCM, and binds them to `place`, which the result does not contain.
 * Returns the ciphertext and its tag.
 */
export function seal(
  key: Buffer,
  nonce: Buffer,
  plain: Buffer | string,
  place: Buffer,
): readonly Buffer[] {
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagLength }).setAAD(place)
  const text = typeof plain === 'string' ? sealing.update(plain, 'utf8') : sealing.update(plain)
  return [text, sealing.final(), sealing.getAuthTag()]
}

/**
 * Decrypts sealed bytes.
 * @throws Error if they were changed or cut, or have another key or place
 */
export function unseal(key: Buffer, nonce: Buffer, sealed: Buffer, place: Buffer): Buffer {
  const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagLength })
  opening.setAAD(place).setAuthTag(sealed.subarray(-tagLength))
  return Buffer.concat([opening.update(sealed.subarray(0, -tagLength)), opening.final()])
}
