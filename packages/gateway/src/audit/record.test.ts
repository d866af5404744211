import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeMembers, type AuditEvent } from './record.ts'

const now = new Date('2026-01-02T03:04:05.678Z')
const event: AuditEvent = {
  action: 'adapter.create',
  outcome: 'allowed',
  requestId: 'r',
  client: '127.0.0.1',
}
const read = (members: string): AuditEvent & { type: string; time: string } =>
  JSON.parse(`{${members}}`) as never

describe('a record', () => {
  test('a record is one line without anything that a terminal or a reader acts on', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 200 }),
        fc.string({ unit: 'grapheme', maxLength: 100 }),
        (name, id) => {
          const principal = { issuer: 'i', id, name, method: 'token' }
          const members = encodeMembers(now, {
            ...event,
            principal,
            resource: { kind: 'adapter', name },
          })
          expect(members).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/u)
          expect(read(members)).toEqual({
            type: 'event',
            time: now.toISOString(),
            ...event,
            principal,
            resource: { kind: 'adapter', name },
          })
        },
      ),
    )
  })

  test.each([
    '\n{"seq":1,"type":"event","action":"forged"}',
    '","action":"forged',
    '\r\n',
    '\u2028\u2029\u0085',
    '\u001b[2J\u001b[31m',
    '\u202e moc.live',
    '\ud800 alone',
    '\0',
  ])('the text %j forges no record', (text) => {
    const members = encodeMembers(now, { ...event, tool: text, client: text })
    expect(members).toMatch(/^[^\p{Cc}\u2028\u2029\u202e]*$/u)
    expect(members.split('\n')).toHaveLength(1)
    expect(read(members)).toMatchObject({ action: 'adapter.create', tool: text, client: text })
  })

  test('a record is bounded, whatever strangers call things', () => {
    const huge = '\u202e'.repeat(1024 * 1024)
    const members = encodeMembers(now, {
      ...event,
      action: huge,
      tool: huge,
      client: huge,
      requestId: huge,
      code: huge,
      digest: huge,
      principal: { issuer: huge, id: huge, name: huge, method: huge },
      resource: { kind: huge, name: huge, uid: huge },
    })
    expect(Buffer.byteLength(members)).toBeLessThan(32 * 1024)
    expect(read(members).tool).toBe(`${'\u202e'.repeat(255)}…`)
    expect(read(encodeMembers(now, { ...event, tool: `${'x'.repeat(254)}😀😀` })).tool).toBe(
      `${'x'.repeat(254)}…`,
    )
  })
})
