import { createHash } from 'node:crypto'
import { partyOf, type Principal } from '../../core/principal.ts'
import { deriveNamedKey, findKey, keyIdLength, type NamedKey } from '../../crypto/keys.ts'
import { newNonce, nonceLength, seal, tagLength, unseal } from '../../crypto/seal.ts'

/**
 * A ticket stands for a place in a list, a question or task of a member, or a result that was too
 * large.
 */
export type TicketPurpose = 'cursor' | 'question' | 'result' | 'task'

/** The holder of a ticket: one caller of one virtual server. */
export interface TicketHolder {
  /** The incarnation of the virtual server. */
  readonly uid: string
  readonly principal: Principal
}

export interface TicketOptions {
  /** Keys of 32 bytes. The first seals, all open. */
  readonly keys: readonly Buffer[]
  /** Milliseconds since the epoch, because gateways share tickets. */
  readonly now: () => number
}

const version = 1
const headLength = 1 + keyIdLength + nonceLength
const expiryLength = 6
const longestTicket = 256 * 1024

/**
 * Hands texts to a client that only the same caller can bring back, to any gateway, until they
 * expire: AES-256-GCM, bound to purpose, virtual server and caller.
 */
export class Tickets {
  readonly #keys: readonly [NamedKey, ...NamedKey[]]
  readonly #now: () => number

  constructor({ keys, now }: TicketOptions) {
    const [first, ...others] = keys.map((key) => deriveNamedKey(key, 'aggregate'))
    if (first === undefined) throw new Error('Tickets need at least one key.')
    this.#keys = [first, ...others]
    this.#now = now
  }

  issue(purpose: TicketPurpose, holder: TicketHolder, text: string, lifetimeMs: number): string {
    const [{ id, key }] = this.#keys
    const nonce = newNonce()
    const head = Buffer.concat([Buffer.of(version), id, nonce])
    const expiry = Buffer.alloc(expiryLength)
    expiry.writeUIntBE(this.#now() + lifetimeMs, 0, expiryLength)
    const plain = Buffer.concat([expiry, Buffer.from(text)])
    const sealed = seal(key, nonce, plain, placeOf(purpose, holder, head))
    return Buffer.concat([head, ...sealed]).toString('base64url')
  }

  /** The text of a ticket. Undefined for a ticket that is expired, changed, or somebody else's. */
  open(purpose: TicketPurpose, holder: TicketHolder, ticket: string): string | undefined {
    if (ticket.length > longestTicket) return undefined
    const bytes = Buffer.from(ticket, 'base64url')
    // Node skips characters that are not base64url. Only the one exact spelling opens.
    const legible = bytes[0] === version && bytes.toString('base64url') === ticket
    if (!legible || bytes.length < headLength + expiryLength + tagLength) return undefined

    const head = bytes.subarray(0, headLength)
    const key = findKey(this.#keys, head.subarray(1, 1 + keyIdLength))
    if (key === undefined) return undefined
    try {
      const place = placeOf(purpose, holder, head)
      const nonce = head.subarray(1 + keyIdLength)
      const plain = unseal(key, nonce, bytes.subarray(headLength), place)
      if (plain.readUIntBE(0, expiryLength) < this.#now()) return undefined
      return plain.toString('utf8', expiryLength)
    } catch {
      return undefined
    }
  }
}

function placeOf(purpose: TicketPurpose, { uid, principal }: TicketHolder, head: Buffer): Buffer {
  const holder = createHash('sha256').update(JSON.stringify([purpose, uid, partyOf(principal)]))
  return Buffer.concat([head, holder.digest()])
}
