import { randomBytes } from 'node:crypto'
import { deriveNamedKey, findKey, keyIdLength } from './keys.ts'
import { newNonce, nonceLength, seal, tagLength, unseal } from './seal.ts'

/**
 * Encrypts texts, so that only holders of a key can read them, and only in their original place.
 */
export interface Vault {
  /**
   * `place` names the owner of the text. A sealed text that moves to another place does not open.
   */
  seal(text: string, place: string): string
  /** Undefined if the text was changed or moved, or its key is unknown. */
  open(sealed: string, place: string): string | undefined
  /**
   * Seals the text under the first key. Returns the same text if that key already seals it, and
   * undefined if it cannot be opened.
   */
  renew(sealed: string, place: string): string | undefined
}

const keyLength = 32
/** Bytes of a wrapped data key: nonce, key, tag. */
const wrappedLength = nonceLength + keyLength + tagLength
/** Bytes of the version and the id of the wrapping key. */
const headLength = 1 + keyIdLength
/**
 * A sealed text is base64url of version (1 byte), id of the wrapping key (4), wrapped key (60),
 * nonce (12), text, and tag (16).
 */
const version = 1

/**
 * Each text has its own random key, which the first of `keys` wraps, so that a change of keys
 * rewrites the wrapping only. AES-256-GCM throughout (NIST SP 800-38D).
 * @throws RangeError without a key
 */
export function createVault(keys: readonly Buffer[]): Vault {
  const wrapping = keys.map((key) => deriveNamedKey(key, 'secrets'))
  const [first] = wrapping
  if (first === undefined) throw new RangeError('A vault needs a key.')

  /**
   * The tag of the wrapped key authenticates the head and the place; the tag of the text, the
   * place.
   */
  const wrap = (dataKey: Buffer, place: string): Buffer => {
    const head = Buffer.concat([Buffer.of(version), first.id])
    return Buffer.concat([head, encrypt(first.key, dataKey, bound(head, place))])
  }

  const unwrap = (bytes: Buffer, place: string): Buffer => {
    const head = bytes.subarray(0, headLength)
    const key = findKey(wrapping, head.subarray(1))
    if (head[0] !== version || key === undefined) throw new RangeError('The key is not known.')
    return decrypt(key, bytes.subarray(headLength, headLength + wrappedLength), bound(head, place))
  }

  return {
    seal(text, place) {
      const dataKey = randomBytes(keyLength)
      return Buffer.concat([
        wrap(dataKey, place),
        encrypt(dataKey, Buffer.from(text), Buffer.from(place)),
      ]).toString('base64url')
    },
    open: (sealed, place) =>
      attempt(() => {
        const bytes = Buffer.from(sealed, 'base64url')
        return decrypt(
          unwrap(bytes, place),
          bytes.subarray(headLength + wrappedLength),
          Buffer.from(place),
        ).toString()
      }),
    renew: (sealed, place) =>
      attempt(() => {
        const bytes = Buffer.from(sealed, 'base64url')
        const dataKey = unwrap(bytes, place)
        const content = bytes.subarray(headLength + wrappedLength)
        decrypt(dataKey, content, Buffer.from(place))
        if (first.id.equals(bytes.subarray(1, headLength))) return sealed

        return Buffer.concat([wrap(dataKey, place), content]).toString('base64url')
      }),
  }
}

function bound(head: Buffer, place: string): Buffer {
  return Buffer.concat([head, Buffer.from(place)])
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

function encrypt(key: Buffer, plain: Buffer, place: Buffer): Buffer {
  const nonce = newNonce()
  return Buffer.concat([nonce, ...seal(key, nonce, plain, place)])
}

function decrypt(key: Buffer, bytes: Buffer, place: Buffer): Buffer {
  if (bytes.length < nonceLength + tagLength) throw new RangeError('It was cut short.')
  return unseal(key, bytes.subarray(0, nonceLength), bytes.subarray(nonceLength), place)
}
