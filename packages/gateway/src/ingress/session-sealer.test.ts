import { randomBytes, randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../core/principal.ts'
import { createSessionSealer, type Session } from './session-sealer.ts'

const alice: Principal = { id: 'alice', issuer: 'development', name: 'Alice', roles: [] }
const start = 1_800_000_000_000
const key = randomBytes(32)
const sealerAt = (now: () => number, keys = [key]) =>
  createSessionSealer({ keys, maxAgeMs: 3_600_000, now })
const sealer = sealerAt(() => start)
const session: Session = {
  upstreamId: 'abc_DEF.~!$',
  replica: 'mcp-example-0',
  uid: randomUUID(),
  issuedAt: start,
}

const refusal = {
  code: 'session_not_found',
  status: 404,
  message: 'The session is not known. Initialize again.',
}
const outcome = (open: () => unknown): unknown => {
  try {
    return open()
  } catch (error) {
    const { code, status, message } = error as typeof refusal
    return { code, status, message }
  }
}

describe('sealed session ids', () => {
  test('any visible ASCII id of a server survives, and the sealed one is visible ASCII too', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
          minLength: 1,
          maxLength: 1024,
        }),
        fc.uuid(),
        (upstreamId, uid) => {
          const given = { ...session, upstreamId, uid }
          const sealed = sealer.seal(given, alice)
          expect(sealed).toMatch(/^[\w-]+$/)
          expect(sealerAt(() => start).open(sealed, uid, alice)).toEqual(given)
        },
      ),
    )
  })

  test('an id that is too long to be opened again is not sealed', () => {
    const replica = `${'r'.repeat(251)}-100`
    const fits = (length: number): boolean => {
      const given = { ...session, replica, upstreamId: 'x'.repeat(length) }
      try {
        expect(sealer.open(sealer.seal(given, alice), session.uid, alice)).toEqual(given)
        return true
      } catch (error) {
        expect(error).toMatchObject({ code: 'upstream_failed' })
        return false
      }
    }
    const lengths = Array.from({ length: 300 }, (_, index) => 5700 + index)
    expect(lengths.filter(fits).length).toBeGreaterThan(0)
    expect(lengths.filter((length) => !fits(length)).length).toBeGreaterThan(0)
    expect(fits(70_000)).toBe(false)
  })

  test('another process with the same key opens sealed ids, also after a rotation', () => {
    const sealed = sealer.seal(session, alice)
    expect(sealerAt(() => start, [randomBytes(32), key]).open(sealed, session.uid, alice)).toEqual(
      session,
    )
  })

  test('sealed ids show neither the replica nor the id of the server', () => {
    const sealed = Buffer.from(sealer.seal(session, alice), 'base64url').toString('latin1')
    expect(sealed).not.toContain(session.replica)
    expect(sealed).not.toContain(session.upstreamId)
  })

  test('foreign, expired, rotated-away, forged and malformed ids get the same answer', () => {
    const sealed = sealer.seal(session, alice)
    const outcomes = [
      outcome(() => sealer.open(sealed, session.uid, { ...alice, id: 'bob' })),
      outcome(() => sealer.open(sealed, session.uid, { ...alice, issuer: 'elsewhere' })),
      outcome(() => sealer.open(sealed, randomUUID(), alice)),
      outcome(() => sealerAt(() => start + 3_600_001).open(sealed, session.uid, alice)),
      outcome(() => sealerAt(() => start, [randomBytes(32)]).open(sealed, session.uid, alice)),
      outcome(() => sealer.open(`${sealed}A`, session.uid, alice)),
      outcome(() => sealer.open(`${sealed}=`, session.uid, alice)),
      outcome(() => sealer.open('', session.uid, alice)),
      outcome(() => sealer.open('x'.repeat(100_000), session.uid, alice)),
    ]
    for (const answer of outcomes) expect(answer).toEqual(refusal)
  })

  test('a change of any single bit makes an id invalid', () => {
    const bytes = Buffer.from(sealer.seal(session, alice), 'base64url')
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const forged = Buffer.from(bytes)
        forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        expect(
          outcome(() => sealer.open(forged.toString('base64url'), session.uid, alice)),
        ).toEqual(refusal)
      }),
    )
  })

  test('a remembered id is checked again for each caller', () => {
    const sealed = sealer.seal(session, alice)
    expect(sealer.open(sealed, session.uid, alice)).toEqual(session)
    expect(outcome(() => sealer.open(sealed, session.uid, { ...alice, id: 'mallory' }))).toEqual(
      refusal,
    )
  })

  test('the sealer opens a session id that an earlier version sealed', () => {
    const earlier: Session = {
      upstreamId: 'its-id',
      replica: 'a-0',
      uid: '0f9d8a6e-1111-4222-8333-444455556666',
      issuedAt: 1000,
    }
    const ann: Principal = { id: 'ann', issuer: 'dev', name: 'Ann', roles: [] }
    const sealed =
      'AaMcRjWu6ppdwcnOtY1dmCt8Z-CC-3hFXV9Hgw4z2cJW-yBHtnPuPYECtcME3K3o1lpPDpKq8vPFVQMHtbgy' +
      'PbiXJgJgkC-gZrmPmmkBUKUN'
    expect(sealerAt(() => 2000, [Buffer.alloc(32, 7)]).open(sealed, earlier.uid, ann)).toEqual(
      earlier,
    )
  })
})
