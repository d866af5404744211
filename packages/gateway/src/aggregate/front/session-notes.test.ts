import { describe, expect, test } from 'vitest'
import { ana } from '../../../test/fixtures/scripted-aggregate.ts'
import type { BoundSessions } from '../../core/virtual-servers/bound-sessions.ts'
import { GatewayError } from '../../core/errors.ts'
import { mostNoted, SessionNotes } from './session-notes.ts'

/** Two gateways over one store that keeps the rules of `Collection`. */
function gateways() {
  const records = new Map<string, BoundSessions>()
  let now = 1000
  const store = {
    get: async (name: string) => records.get(name),
    create: async (record: BoundSessions) => {
      if (records.has(record.name)) throw new GatewayError('name_taken')
      records.set(record.name, record)
    },
    replace: async (record: BoundSessions, version: number) => {
      if (records.get(record.name)?.version !== version)
        throw new GatewayError('precondition_failed')
      records.set(record.name, record)
    },
  }
  const open = (): SessionNotes => new SessionNotes({ store, maxAgeMs: 10_000, now: () => now })
  return { records, one: open(), two: open(), pass: (ms: number): void => void (now += ms) }
}

const bob = { ...ana, id: 'bob' }

describe('notes of legacy sessions', () => {
  test('a session that one gateway binds is bound for all, and for its caller alone', async () => {
    const { one, two } = gateways()
    const session = { id: 's', issuedAt: 1000 }
    expect(await two.isBound(ana, session)).toBe(false)
    await one.bind(ana, session)
    expect(await two.isBound(ana, session)).toBe(true)
    expect(await two.isBound(ana, { id: 't', issuedAt: 1000 })).toBe(false)
    expect(await two.isBound(bob, session)).toBe(false)
  })

  test('gateways that write at the same moment lose no note', async () => {
    const { one, two } = gateways()
    const sessions = Array.from({ length: 20 }, (_, n) => ({ id: `s${n}`, issuedAt: 1000 }))
    await Promise.all(
      sessions.map((session, index) => (index % 2 === 0 ? one : two).bind(ana, session)),
    )
    for (const session of sessions) expect(await one.isBound(ana, session)).toBe(true)
  })

  test('sessions that are bound while a write is under way share the next one', async () => {
    const { one, records } = gateways()
    const sessions = Array.from({ length: 100 }, (_, n) => ({ id: `s${n}`, issuedAt: 1000 }))
    const [first, ...others] = sessions.map((session) => one.bind(ana, session))
    await first
    await Promise.all(others)
    const [record] = records.values()
    expect(record?.version).toBeLessThanOrEqual(2)
    expect(record?.spec.sessions).toHaveLength(100)
  })

  test('the older of many sessions count as bound, and the record stays small', async () => {
    const { one, records } = gateways()
    for (let n = 0; n <= mostNoted; n += 1) await one.bind(ana, { id: `s${n}`, issuedAt: 2000 + n })
    expect(await one.isBound(ana, { id: 'other', issuedAt: 2000 })).toBe(true)
    expect(await one.isBound(ana, { id: 'other', issuedAt: 2000 + mostNoted })).toBe(false)
    expect(await one.isBound(ana, { id: 's0', issuedAt: 2000 })).toBe(true)
    const [record] = records.values()
    expect(record?.spec.sessions.length).toBeLessThan(mostNoted)
  })

  test('sessions whose ids have expired are forgotten', async () => {
    const { one, records, pass } = gateways()
    await one.bind(ana, { id: 's', issuedAt: 1000 })
    pass(20_000)
    await one.bind(ana, { id: 't', issuedAt: 21_000 })
    const [record] = records.values()
    expect(record?.spec.sessions).toEqual([['t', 21_000]])
  })
})
