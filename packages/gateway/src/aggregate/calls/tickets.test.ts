import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Principal } from '../../core/principal.ts'
import { Tickets } from './tickets.ts'

const key = randomBytes(32)
const ana: Principal = { id: 'ana', issuer: 'i', name: 'Ana', roles: [] }
const holder = { uid: 'u1', principal: ana }

describe('tickets', () => {
  test('a ticket opens at every gateway with the key, also after a rotation', () => {
    const issued = new Tickets({ keys: [key], now: () => 0 }).issue('cursor', holder, 'täxt', 10)
    const rotated = new Tickets({ keys: [randomBytes(32), key], now: () => 10 })
    expect(rotated.open('cursor', holder, issued)).toBe('täxt')
    expect(issued).not.toContain(Buffer.from('xt').toString('base64url'))
  })

  test.each([
    ['another caller', { uid: 'u1', principal: { ...ana, id: 'bob' } }],
    ['the same id at another issuer', { uid: 'u1', principal: { ...ana, issuer: 'j' } }],
    ['another virtual server', { uid: 'u2', principal: ana }],
  ])('a ticket does not open for %s', (_who, other) => {
    const tickets = new Tickets({ keys: [key], now: () => 0 })
    const issued = tickets.issue('result', holder, 'text', 10)
    expect(tickets.open('result', other, issued)).toBeUndefined()
    expect(tickets.open('result', holder, issued)).toBe('text')
  })

  test('a ticket does not open for another purpose, or after its time', () => {
    let now = 0
    const tickets = new Tickets({ keys: [key], now: () => now })
    const issued = tickets.issue('question', holder, 'text', 10)
    expect(tickets.open('cursor', holder, issued)).toBeUndefined()
    now = 11
    expect(tickets.open('question', holder, issued)).toBeUndefined()
  })

  test('a ticket with any changed byte does not open', () => {
    const tickets = new Tickets({ keys: [key], now: () => 0 })
    const issued = tickets.issue('result', holder, 'text', 10)
    const bytes = Buffer.from(issued, 'base64url')
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
      expect(tickets.open('result', holder, changed.toString('base64url'))).toBeUndefined()
    }
    for (const other of ['', 'x', `${issued}=`, ` ${issued}`, issued.slice(0, -1), 'A'.repeat(1e6)])
      expect(tickets.open('result', holder, other)).toBeUndefined()
  })
})
