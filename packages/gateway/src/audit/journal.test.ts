import { describe, expect, test } from 'vitest'
import { chainStart, checkFollows, readLine, type ChainedRecord, type ChainHead } from './chain.ts'
import { Audit } from './audit.ts'
import { Journal, type AuditSink } from './journal.ts'
import type { AuditEvent } from './record.ts'

/** A sink that does as a test says, one write after the other. */
class ScriptedSink implements AuditSink {
  readonly name = 'scripted'
  readonly found = {}
  readonly head: ChainHead
  readonly records: ChainedRecord[] = []
  closed = false
  /** Settles the writes that wait. */
  #gate: Promise<void> | undefined
  failing = false

  constructor(head: ChainHead = chainStart) {
    this.head = head
  }

  async write(lines: readonly string[]): Promise<void> {
    await this.#gate
    if (this.failing) throw new Error('the disk is full')
    this.records.push(...lines.map((line) => readLine(line.trimEnd())))
  }

  hang(): () => void {
    let release: () => void = () => undefined
    this.#gate = new Promise<void>((resolve) => (release = resolve))
    return () => {
      this.#gate = undefined
      release()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true
  }
}

const said: string[] = []
const losses: number[] = []
const journalOf = (
  sink: AuditSink,
  more: { capacity?: number; flushMs?: number; now?: () => Date; monotonicNow?: () => number } = {},
): Journal =>
  new Journal({
    sink,
    capacity: 10,
    now: () => new Date(),
    troubled: () => void said.push('troubled'),
    recovered: (_sink, lost) => void said.push(`recovered ${lost}`),
    losing: (_sink, lost) => void losses.push(lost),
    retry: { firstMs: 1, maxMs: 5 },
    flushMs: 1000,
    ...more,
  })
const event = (action: string): AuditEvent => ({
  action,
  outcome: 'allowed',
  requestId: 'r',
  client: 'c',
})

/** The records follow each other. @throws Error where not */
function checkChain(records: readonly ChainedRecord[], head: ChainHead = chainStart): void {
  let previous = head
  for (const record of records) {
    checkFollows(previous, record)
    previous = { seq: record.seq, hash: record.hash }
  }
}

describe('a journal', () => {
  test('a journal numbers and chains all records, and continues an earlier chain', async () => {
    const sink = new ScriptedSink({ seq: 41, hash: 'f'.repeat(64) })
    {
      await using journal = journalOf(sink, { capacity: 2000 })
      for (let index = 0; index < 1000; index += 1) journal.add(event(`a${index}`))
    }
    expect(sink.records.map((record) => (record as unknown as AuditEvent).action)).toEqual(
      Array.from({ length: 1000 }, (_, index) => `a${index}`),
    )
    expect(sink.records[0]?.seq).toBe(42)
    checkChain(sink.records, sink.head)
    expect(sink.closed).toBe(true)
  })

  test('a journal counts what a hanging sink cannot take, and reports the gap', async () => {
    const sink = new ScriptedSink()
    await using journal = journalOf(sink)
    const release = sink.hang()
    for (let index = 0; index < 25; index += 1) journal.add(event(`a${index}`))
    expect(journal.lost).toBe(15)
    release()
    await expect.poll(() => sink.records.length).toBe(11)
    expect(sink.records.at(-1)).toMatchObject({ type: 'gap', lost: 15, from: 11, to: 25, seq: 26 })
    journal.add(event('after'))
    await expect.poll(() => sink.records.length).toBe(12)
    checkChain(sink.records)
  })

  test('a journal says at once that records are lost, and then once a minute', async () => {
    const sink = new ScriptedSink()
    losses.length = 0
    let minute = 0
    const journal = journalOf(sink, { capacity: 1, monotonicNow: () => minute * 60_000 })
    const release = sink.hang()
    for (; minute < 3; minute += 1)
      for (let index = 0; index < 5; index += 1) journal.add(event('a'))
    expect(losses).toEqual([1, 5, 10])
    release()
    await journal[Symbol.asyncDispose]()
  })

  test('a journal repeats nothing and keeps the order when a sink fails for a while', async () => {
    const sink = new ScriptedSink()
    said.length = 0
    await using journal = journalOf(sink)
    sink.failing = true
    for (let index = 0; index < 12; index += 1) journal.add(event(`a${index}`))
    await expect.poll(() => said).toEqual(['troubled'])
    sink.failing = false
    await expect.poll(() => sink.records.length).toBe(11)
    expect(said).toEqual(['troubled', 'recovered 2'])
    checkChain(sink.records)
  })

  test('a journal puts each of several gaps where it was', async () => {
    const sink = new ScriptedSink()
    await using journal = journalOf(sink, { capacity: 2 })
    for (let round = 0; round < 3; round += 1) {
      const release = sink.hang()
      for (let index = 0; index < 5; index += 1) journal.add(event(`${round}-${index}`))
      release()
      await expect.poll(() => sink.records.length).toBe((round + 1) * 3)
    }
    expect(sink.records.map(({ type }) => type)).toEqual([
      'event',
      'event',
      'gap',
      'event',
      'event',
      'gap',
      'event',
      'event',
      'gap',
    ])
    expect(journal.lost).toBe(9)
    checkChain(sink.records)
  })

  test('a journal ends though a sink hangs, and says that records are lost', async () => {
    const sink = new ScriptedSink()
    said.length = 0
    const journal = journalOf(sink, { flushMs: 20 })
    sink.hang()
    journal.add(event('a'))
    await journal[Symbol.asyncDispose]()
    expect([journal.lost, said, sink.closed]).toEqual([1, ['troubled'], true])
  })

  test('a journal orders by number, whatever the clock does', async () => {
    const sink = new ScriptedSink()
    const times = ['2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z', '1970-01-01T00:00:00Z']
    {
      await using journal = journalOf(sink, { now: () => new Date(times.shift() ?? 0) })
      for (const action of ['first', 'second', 'third']) journal.add(event(action))
    }
    expect(
      sink.records.map((record) => [record.seq, (record as unknown as AuditEvent).action]),
    ).toEqual([
      [1, 'first'],
      [2, 'second'],
      [3, 'third'],
    ])
    checkChain(sink.records)
  })
})

describe('the audit log', () => {
  test('the audit log gathers strangers’ refusals, and records each of known callers', async () => {
    const sink = new ScriptedSink()
    const audit = new Audit({
      journals: [journalOf(sink, { capacity: 1000 })],
      gatherMs: 60_000,
      now: () => 0,
    })
    const denied: AuditEvent = {
      ...event('mcp.request'),
      outcome: 'denied',
      code: 'unauthenticated',
    }
    const principal = { issuer: 'i', id: 'a', name: 'A', method: 'token' }
    for (let index = 0; index < 100; index += 1) audit.record({ ...denied, requestId: `r${index}` })
    audit.record({ ...denied, client: 'other' })
    const nobody = { issuer: 'anonymous', id: '', name: 'anonymous', method: 'anonymous' }
    for (let index = 0; index < 3; index += 1)
      audit.record({ ...denied, client: 'anon', principal: nobody })
    for (let index = 0; index < 3; index += 1) audit.record({ ...denied, principal })
    // A host with IPv6 takes another address for each request.
    for (const last of ['1', '2', '3']) audit.record({ ...denied, client: `2001:db8::${last}` })
    await audit[Symbol.asyncDispose]()
    const told = sink.records.map((record) => record as unknown as AuditEvent & { type: string })
    expect(
      told.map(({ type, client, requestId, repeated }) => [type, client, requestId, repeated]),
    ).toEqual([
      ['event', 'c', 'r0', undefined],
      ['event', 'other', 'r', undefined],
      ['event', 'anon', 'r', undefined],
      ['event', 'c', 'r', undefined],
      ['event', 'c', 'r', undefined],
      ['event', 'c', 'r', undefined],
      ['event', '2001:db8::1', 'r', undefined],
      ['event', 'c', 'r99', 99],
      ['event', 'anon', 'r', 2],
      ['event', '2001:db8::3', 'r', 2],
      ['stop', undefined, undefined, undefined],
    ])
  })

  const reader = { issuer: 'i', id: 'reader', name: 'R', method: 'token' }
  const refusal: AuditEvent = {
    ...event('adapter.patch'),
    outcome: 'denied',
    code: 'forbidden',
    principal: reader,
  }
  const opened = (): { readonly audit: Audit; readonly sink: ScriptedSink } => {
    const sink = new ScriptedSink()
    const journals = [journalOf(sink, { capacity: 1_000_000 })]
    return { audit: new Audit({ journals, gatherMs: 60_000, now: () => 0 }), sink }
  }
  const events = ({ records }: ScriptedSink): AuditEvent[] =>
    (records as unknown as (AuditEvent & { type: string })[]).filter(({ type }) => type === 'event')
  const countOf = (told: readonly AuditEvent[]): number =>
    told.reduce((sum, { repeated = 1 }) => sum + repeated, 0)

  test.each<[string, Partial<AuditEvent>]>([
    ['refused', {}],
    ['failing', { outcome: 'failed', code: 'validation_failed' }],
    ['log-reading', { action: 'adapter.logs', outcome: 'allowed', code: undefined }],
  ])(
    'the audit log gathers a known caller’s surplus %s requests, and counts each',
    async (_, given) => {
      const { audit, sink } = opened()
      for (let index = 0; index < 5000; index += 1) audit.record({ ...refusal, ...given })
      audit.record({ ...refusal, outcome: 'allowed', code: undefined })
      await audit[Symbol.asyncDispose]()
      const told = events(sink)
      expect(told.length).toBeLessThan(250)
      const changes = told.filter(
        ({ action, outcome }) => `${action} ${outcome}` === 'adapter.patch allowed',
      )
      expect(changes).toHaveLength(1)
      expect(countOf(told)).toBe(5001)
      checkChain(sink.records)
    },
  )

  test('the audit log keeps refusals within a share of bytes, and counts each', async () => {
    const { audit, sink } = opened()
    const flood = 30_000
    for (let index = 0; index < flood; index += 1)
      audit.record({
        ...refusal,
        action: `mcp.${'\u202e'.repeat(300)}${index}`,
        principal: { ...reader, id: `reader-${index}` },
        client: `10.0.${index >> 8}.${index & 255}`,
      })
    audit.record({ ...event('adapter.delete'), principal: reader })
    await audit[Symbol.asyncDispose]()
    const told = events(sink)
    expect(Buffer.byteLength(JSON.stringify(told))).toBeLessThan(8 * 1024 * 1024)
    expect(countOf(told)).toBe(flood + 1)
    expect(told.filter(({ action }) => action === 'adapter.delete')).toHaveLength(1)
    expect(told.at(-1)).toMatchObject({ action: 'various', client: 'various', code: 'forbidden' })
    checkChain(sink.records)
  })

  test('the audit log keeps every record of a change while strangers flood it', async () => {
    const { audit, sink } = opened()
    for (let index = 0; index < 2000; index += 1) {
      for (let again = 0; again < 5; again += 1)
        audit.record({ ...refusal, principal: undefined, client: `2001:db8:${index}::${again}` })
      audit.record({ ...event(`change-${index}`), principal: reader })
    }
    await audit[Symbol.asyncDispose]()
    const changes = events(sink).filter(({ outcome }) => outcome !== 'denied')
    expect(new Set(changes.map(({ action }) => action)).size).toBe(2000)
    expect(countOf(events(sink))).toBe(12_000)
  })
})
