import { createHash } from 'node:crypto'
import { GatewayError, unknownSession } from '../core/errors.ts'
import type { Principal } from '../core/principal.ts'
import { deriveNamedKey, findKey, keyIdLength, type NamedKey } from '../crypto/keys.ts'
import { newNonce, nonceLength, seal, tagLength, unseal } from '../crypto/seal.ts'
import { BoundedCache } from '../lib/bounded-cache.ts'

/**
 * The contents of a client's session id. It names a replica, never an address, so it cannot steer
 * the gateway elsewhere.
 */
export interface Session {
  /** The id that the server gave. */
  readonly upstreamId: string
  readonly replica: string
  /** The adapter's incarnation (UUID). */
  readonly uid: string
  /** Milliseconds since the epoch, in whole seconds. */
  readonly issuedAt: number
}

/** Seals and opens session ids. */
export interface SessionSealer {
  /** @throws GatewayError `upstream_failed` if the server's id is too long to be sealed */
  seal(session: Session, principal: Principal): string
  /**
   * @throws GatewayError `session_not_found` if the id is malformed, forged, expired, or of another
   * adapter or caller. The answers are the same in each case.
   */
  open(sealed: string, uid: string, principal: Principal): Session
}

export interface SealerOptions {
  /** Keys of 32 bytes. The first seals, all open. */
  readonly keys: readonly Buffer[]
  readonly maxAgeMs: number
  readonly now: () => number
}

interface Opened {
  readonly session: Session
  readonly caller: string
}

const version = 1
// Version, key id, nonce, then the sealed text and its tag.
const nonceStart = 1 + keyIdLength
const headLength = nonceStart + nonceLength
const fixedLength = 4 + 16 + 16 + 1 + 2
const longestSealed = 8192
/**
 * Bytes that fit in the longest sealed id beside the longest replica name. Base64 makes four
 * characters of three bytes.
 */
const longestUpstreamId = (longestSealed / 4) * 3 - headLength - fixedLength - tagLength - 255
/** Number of opened ids to remember, half a kilobyte each, so that the hot path is one look-up. */
const remembered = 8192

/**
 * Session ids that need no store: AES-256-GCM under a key derived with HKDF (RFC 5869). Any process
 * with the key can open them, also after a restart, and nobody else can make or read one.
 */
export function createSessionSealer(options: SealerOptions): SessionSealer {
  const [first, ...others] = options.keys.map((key) => deriveNamedKey(key, 'session'))
  if (first === undefined) throw new Error('A session sealer needs at least one key.')
  const keys = [first, ...others]
  const opened = new BoundedCache<string, Opened>(remembered)
  const callers = new BoundedCache<string, string>(remembered)

  const callerOf = (principal: Principal): string => {
    const key = `${principal.issuer}\n${principal.id}`
    let digest = callers.get(key)
    if (digest === undefined) {
      digest = createHash('sha256').update(key).digest().subarray(0, 16).toString('latin1')
      callers.set(key, digest)
    }
    return digest
  }

  return {
    seal(session, principal) {
      if (session.upstreamId.length > longestUpstreamId) {
        throw new GatewayError('upstream_failed', {
          detail: `The server gave a session id of more than ${longestUpstreamId} characters.`,
        })
      }
      const nonce = newNonce()
      const head = Buffer.concat([Buffer.of(version), first.id, nonce])
      const sealed = seal(first.key, nonce, encode(session, callerOf(principal)), head)
      return Buffer.concat([head, ...sealed]).toString('base64url')
    },

    open(sealed, uid, principal) {
      let found = opened.get(sealed)
      if (found === undefined) {
        found = read(sealed, keys)
        opened.set(sealed, found)
      }
      const { session } = found
      if (session.uid !== uid || options.now() - session.issuedAt > options.maxAgeMs)
        throw unknownSession()
      if (found.caller !== callerOf(principal))
        throw unknownSession({ denied: { kind: 'session', name: 'of another caller', uid } })
      return session
    },
  }
}

function read(sealed: string, keys: readonly NamedKey[]): Opened {
  if (sealed.length > longestSealed) throw unknownSession()
  const bytes = Buffer.from(sealed, 'base64url')
  // Node skips characters that are not base64url. Only the one exact spelling may open an id.
  if (
    bytes.length < headLength + fixedLength + tagLength ||
    bytes[0] !== version ||
    bytes.toString('base64url') !== sealed
  )
    throw unknownSession()
  const head = bytes.subarray(0, headLength)
  const key = findKey(keys, head.subarray(1, nonceStart))
  if (key === undefined) throw unknownSession()
  try {
    return decode(unseal(key, head.subarray(nonceStart), bytes.subarray(headLength), head))
  } catch (error) {
    throw unknownSession({ cause: error })
  }
}

/**
 * Issue time (4 bytes, seconds), uid (16), caller (16), replica (length 1), upstream id (length 2).
 * Later versions may add more.
 */
function encode(session: Session, caller: string): Buffer {
  const replica = Buffer.from(session.replica, 'latin1')
  const upstreamId = Buffer.from(session.upstreamId, 'latin1')
  const plain = Buffer.alloc(fixedLength + replica.length + upstreamId.length)
  let at = plain.writeUInt32BE(Math.floor(session.issuedAt / 1000), 0)
  at += plain.write(session.uid.replaceAll('-', ''), at, 'hex')
  at += plain.write(caller, at, 'latin1')
  at = plain.writeUInt8(replica.length, at)
  at += replica.copy(plain, at)
  at = plain.writeUInt16BE(upstreamId.length, at)
  upstreamId.copy(plain, at)
  return plain
}

const uuidParts = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/

function decode(plain: Buffer): Opened {
  const replicaEnd = 37 + plain.readUInt8(36)
  const idStart = replicaEnd + 2
  return {
    caller: plain.toString('latin1', 20, 36),
    session: {
      issuedAt: plain.readUInt32BE(0) * 1000,
      uid: plain.toString('hex', 4, 20).replace(uuidParts, '$1-$2-$3-$4-$5'),
      replica: plain.toString('latin1', 37, replicaEnd),
      upstreamId: plain.toString('latin1', idStart, idStart + plain.readUInt16BE(replicaEnd)),
    },
  }
}
